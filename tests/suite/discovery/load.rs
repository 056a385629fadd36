//! Instances that come, go and die under load.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use kit::{
    Lab,
    app_host::Instance,
    traffic::{self, Live},
};
use nix::sys::signal::Signal;

use super::{Ground, SOON};

/// Connects without a pause until told to stop: how often, and what went wrong.
pub(super) struct Load {
    ends: Arc<AtomicBool>,
    thread: thread::JoinHandle<(usize, Vec<String>)>,
}

impl Load {
    pub(super) fn on(lab: &Lab, to: SocketAddr) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let (until, client) = (Arc::clone(&ends), lab.client.clone());
        let thread = thread::spawn(move || {
            let (mut count, mut errors) = (0, Vec::new());
            while !until.load(Ordering::Relaxed) {
                let tally = traffic::connect(&client, to, 20);
                count += tally.names.values().sum::<usize>();
                errors.extend(tally.errors);
            }
            (count, errors)
        });
        Self { ends, thread }
    }

    pub(super) fn finish(self) -> (usize, Vec<String>) {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[test]
fn an_app_is_scaled_up_and_down_under_load_without_an_error() {
    let ground = Ground::with_lease("17s");
    let to = ground.port("web");
    let names = ["i1", "i2", "i3", "i4", "i5"];
    let start = |number: usize| {
        let (host, port) = (number as u8 % 2, 4_100 + number as u16);
        let more = ["--drain", "1s"];
        Instance::start(&ground.lab, host, ("web", names[number]), port, &more)
    };
    let mut running = vec![start(0)];
    ground.wait_for("web", &names[..1]);
    let load = Load::on(&ground.lab, to);
    for number in 1..5 {
        running.push(start(number));
        ground.wait_for("web", &names[..=number]);
    }
    for mut instance in running.drain(2..) {
        instance.announcer.signal(Signal::SIGTERM);
        assert_eq!(instance.announcer.wait(SOON), 143);
    }
    ground.wait_for("web", &names[..2]);
    let (count, errors) = load.finish();
    println!("{count} connections while the app went from 1 to 5 to 2 instances");
    assert_eq!(errors, Vec::<String>::new());
    assert!(count > 100, "{count}");
}

#[test]
fn an_instance_that_is_killed_costs_one_retransmission_at_most_and_is_out() {
    let ground = Ground::with_lease("17s");
    let to = ground.port("web");
    let mut one = Instance::start(&ground.lab, 0, ("web", "one"), 4_100, &[]);
    ground.wait_for("web", &["one"]);
    let _two = Instance::start(&ground.lab, 1, ("web", "two"), 4_100, &[]);
    ground.wait_for("web", &["one", "two"]);
    let load = Load::on(&ground.lab, to);
    one.kill_command();
    assert_eq!(
        one.announcer.wait(SOON),
        137,
        "the command's own end by KILL"
    );
    ground.wait_for("web", &["two"]);
    let (count, errors) = load.finish();
    println!("{count} connections around the end of an instance");
    // A connection that stood at the instance ends with it; none that begins fails.
    let begun = |error: &&String| error.contains("refused") || error.contains("timed out");
    assert_eq!(errors.iter().filter(begun).count(), 0, "{errors:?}");
    let tally = traffic::connect(&ground.lab.client, to, 20);
    assert_eq!((tally.of("two"), tally.errors.len()), (20, 0), "{tally:?}");
}

#[test]
fn an_app_host_that_is_cut_off_is_out_after_its_lease_and_others_do_not_notice() {
    let ground = Ground::with_lease("3s");
    let to = ground.port("web");
    let _one = Instance::start(&ground.lab, 0, ("web", "one"), 4_100, &[]);
    ground.wait_for("web", &["one"]);
    let _two = Instance::start(&ground.lab, 1, ("web", "two"), 4_100, &[]);
    ground.wait_for("web", &["one", "two"]);
    ground.agent.ctl(&["backends", "drain", "web", "one"]).ok();
    let live = Live::open(&ground.lab.client, to, 5);
    ground
        .agent
        .ctl(&["backends", "add", "web", "10.77.2.11:4100"])
        .ok();
    ground.lab.apps[0].ip("link set eth0 down");
    ground.wait_for("web", &["two"]);
    assert_eq!(ground.backends("web").len(), 1);
    live.progress();
    let tally = traffic::connect(&ground.lab.client, to, 20);
    assert_eq!((tally.of("two"), tally.errors.len()), (20, 0), "{tally:?}");
    assert_eq!(live.finish().of("two"), 5);
}
