//! The demonstration: two ports, traffic through them, the table of ports while it runs. Ends by
//! itself without a terminal, on one with q or Ctrl-C; succeeds only if the traffic was right.

use std::{
    io::{self, IsTerminal, Read, Write},
    process::{self, Command, ExitCode, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use kit::{Agent, Lab, Lifetime, Netns, Topology, V4};
use nix::{
    libc,
    sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
};

use crate::servers::Servers;

/// How long the table is shown when nobody watches.
const UNWATCHED: Duration = Duration::from_secs(5);
/// How often the table is shown.
const PERIOD: Duration = Duration::from_secs(1);

static ENDS: AtomicBool = AtomicBool::new(false);

extern "C" fn end(_signal: libc::c_int) {
    ENDS.store(true, Ordering::Relaxed);
}

pub(crate) fn run() -> ExitCode {
    let action = SigAction::new(
        SigHandler::Handler(end),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler only stores to an atomic, which is safe in a signal handler.
        let _ = unsafe { sigaction(signal, &action) };
    }
    let prefix = format!("hbt{}-demo", process::id());
    let lab = Lab::named(&prefix, Topology::Routed, Lifetime::Guard);
    let agent = Agent::start(&lab);
    let servers = Servers::start(&lab, &agent);
    println!(
        "client {}  ->  node {}  ->  app1 {}, app2 {}",
        lab.client_address(V4),
        lab.public(V4),
        lab.app(V4, 0),
        lab.app(V4, 1)
    );
    println!(
        "redis (tcp) at {}, dns (udp) at {}\n",
        servers.redis, servers.dns
    );
    let is_right = check(&lab, &servers);
    show(&lab, &agent, &servers);
    match is_right {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Counts who answers: Redis in turn, DNS always the first.
fn check(lab: &Lab, servers: &Servers) -> bool {
    let redis = servers.ask_redis(lab, 100);
    println!("100 new connections to redis: {redis:?}");
    let dns = servers.ask_dns(lab, 20);
    println!("20 questions to dns: {dns:?}\n");
    let of = |tally: &std::collections::BTreeMap<String, usize>, name| {
        tally.get(name).copied().unwrap_or_default()
    };
    let is_right = (of(&redis, "app1"), of(&redis, "app2"), of(&dns, "app1")) == (50, 50, 20);
    println!(
        "{}",
        if is_right {
            "as it should be: 50 and 50; 20 from the first"
        } else {
            "WRONG"
        }
    );
    is_right
}

/// Shows the table of ports while a load runs.
fn show(lab: &Lab, agent: &Agent, servers: &Servers) {
    let is_watched = io::stdin().is_terminal() && io::stdout().is_terminal();
    let load = Load::start(lab.client.clone(), servers);
    let keys = is_watched.then(Keys::watch);
    let begun = Instant::now();
    while !ENDS.load(Ordering::Relaxed) && (is_watched || begun.elapsed() < UNWATCHED) {
        if is_watched {
            // Home, and clear to the end of the screen.
            print!("\x1b[H\x1b[J");
        }
        println!("{}", agent.ctl(&["ports", "list"]).stdout);
        if is_watched {
            println!("q or Ctrl-C ends");
        }
        let _ = io::stdout().flush();
        let shown = Instant::now();
        while shown.elapsed() < PERIOD && !ENDS.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(50));
        }
    }
    drop(keys);
    load.end();
}

/// redis-benchmark, again and again.
struct Load {
    ends: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl Load {
    fn start(client: Netns, servers: &Servers) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let (flag, to) = (Arc::clone(&ends), servers.redis);
        let thread = thread::spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                let mut benchmark = client.command("redis-benchmark");
                benchmark.args(["-h", &to.ip().to_string(), "-p", &to.port().to_string()]);
                benchmark.args(["-n", "20000", "-t", "set,get", "-q"]);
                let _ = benchmark
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .status();
            }
        });
        Self { ends, thread }
    }

    fn end(self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
    }
}

/// Single keys instead of lines, until dropped.
struct Keys;

impl Keys {
    fn watch() -> Self {
        stty(&["-icanon", "-echo"]);
        thread::spawn(|| {
            for byte in io::stdin().lock().bytes().map_while(Result::ok) {
                if byte == b'q' {
                    ENDS.store(true, Ordering::Relaxed);
                }
            }
        });
        Self
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        stty(&["icanon", "echo"]);
    }
}

fn stty(settings: &[&str]) {
    let _ = Command::new("stty").args(settings).status();
}
