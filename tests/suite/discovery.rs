//! App hosts that announce, fall silent, are cut off, and lose their addresses to strangers.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use kit::{
    Agent, Config, Lab, Redis,
    app_host::{self, Instance},
    eventually,
    traffic::{self, Live},
};
use nix::sys::signal::Signal;

/// As long as anything that is to happen at once may take on a loaded machine.
const SOON: Duration = Duration::from_secs(10);

/// Fields are dropped in this order: the agent first, the ground under it last.
struct Ground {
    agent: Agent,
    /// Where ports are kept, if not in a file of the node.
    redis: Option<Redis>,
    lab: Lab,
}

/// Where an agent keeps its ports.
#[derive(Clone, Copy, Debug)]
enum Registry {
    Embedded,
    Redis,
}

impl Ground {
    fn with_lease(lease: &str) -> Self {
        Self::kept(Registry::Embedded, lease)
    }

    fn kept(registry: Registry, lease: &str) -> Self {
        let lab = Lab::routed();
        let mut more = app_host::reachable(&lab, lease);
        let redis = match registry {
            Registry::Embedded => None,
            Registry::Redis => {
                // On the app host that no test cuts off.
                let address = SocketAddr::new(lab.app(kit::V4, 1), 6_379);
                Some(Redis::start(&lab.apps[1], lab.folder(), address))
            }
        };
        more.extend(redis.iter().map(|redis| redis.config("one")));
        Self {
            agent: Agent::start_with(&lab, &Config::with(&more)),
            redis,
            lab,
        }
    }

    fn port(&self, name: &str) -> SocketAddr {
        SocketAddr::new(self.lab.public(kit::V4), self.agent.create(&[name]))
    }

    /// Instances and states of a port's backends, in their order.
    fn backends(&self, name: &str) -> Vec<(String, String)> {
        let items = self.agent.items(&["backends", "list", name]);
        let word = |item: &serde_json::Value, key: &str| item[key].as_str().unwrap().to_owned();
        let both = |item| (word(item, "instance"), word(item, "state"));
        items.iter().map(both).collect()
    }

    fn wait_for(&self, name: &str, instances: &[&str]) {
        eventually(SOON, || {
            let up = self.backends(name);
            let up = up.iter().filter(|(_, state)| state == "up");
            up.map(|(instance, _)| instance).eq(instances)
        });
    }
}

#[test]
fn an_instance_is_announced_once_it_listens_and_withdrawn_when_it_ends() {
    let ground = Ground::with_lease("17s");
    let to = ground.port("both-web");
    let mut one = Instance::start(
        &ground.lab,
        0,
        ("both-web", "one"),
        4_100,
        &["--app", "shop"],
    );
    ground.wait_for("both-web", &["one"]);
    assert_eq!(traffic::connect(&ground.lab.client, to, 3).of("one"), 3);
    assert_eq!(traffic::ask(&ground.lab.client, to, 3).of("one"), 3);
    let mut two = Instance::start(&ground.lab, 1, ("both-web", "two"), 4_100, &[]);
    ground.wait_for("both-web", &["one", "two"]);
    let tally = traffic::connect(&ground.lab.client, to, 10);
    assert_eq!((tally.of("one"), tally.of("two")), (5, 5), "{tally:?}");
    let hosts = ground.agent.items(&["dea", "list"]);
    assert_eq!(hosts.len(), 2, "{hosts:?}");
    assert_eq!(hosts[0]["instances"], 1);

    one.announcer.signal(Signal::SIGTERM);
    assert_eq!(
        one.announcer.wait(SOON),
        143,
        "the command's own end by TERM"
    );
    ground.wait_for("both-web", &["two"]);
    let tally = traffic::connect(&ground.lab.client, to, 10);
    assert_eq!((tally.of("two"), tally.errors.len()), (10, 0), "{tally:?}");
    two.announcer.signal(Signal::SIGTERM);
    two.announcer.wait(SOON);
    ground.wait_for("both-web", &[]);
}

#[test]
fn an_instance_lives_through_the_death_of_the_agent_and_is_known_again() {
    let mut ground = Ground::with_lease("17s");
    let to = ground.port("web");
    let _one = Instance::start(&ground.lab, 0, ("web", "one"), 4_100, &[]);
    ground.wait_for("web", &["one"]);
    let live = Live::open(&ground.lab.client, to, 5);
    ground.agent.kill();
    live.progress();
    // What begins while nobody hears is announced when somebody does.
    let _two = Instance::start(&ground.lab, 1, ("web", "two"), 4_100, &[]);
    ground.agent.restart();
    assert_eq!(ground.backends("web")[0], ("one".into(), "up".into()));
    ground.wait_for("web", &["one", "two"]);
    live.progress();
    assert_eq!(live.finish().errors, Vec::<String>::new());
}

#[test]
fn no_packet_reaches_a_stranger_after_lease_and_sweep_though_every_message_was_lost() {
    for registry in [Registry::Embedded, Registry::Redis] {
        println!(
            "{registry:?}, to the stranger: {}",
            lose_every_message(registry)
        );
    }
}

/// Says what reached the stranger.
fn lose_every_message(registry: Registry) -> String {
    let ground = Ground::kept(registry, "3s");
    let to = ground.port("both-web");
    let mut one = Instance::start(&ground.lab, 0, ("both-web", "one"), 4_100, &[]);
    ground.wait_for("both-web", &["one"]);
    let _two = Instance::start(&ground.lab, 1, ("both-web", "two"), 4_100, &[]);
    ground.wait_for("both-web", &["one", "two"]);
    let host = &ground.lab.apps[0];
    host.nft("add table inet lost");
    host.nft("add chain inet lost out { type filter hook output priority 0; }");
    host.nft("add rule inet lost out tcp dport 8442 drop");
    one.cut();
    let stranger = traffic::serve(host, ground.lab.folder(), "stranger", &[one.address]);
    let before = traffic::connect(&ground.lab.client, to, 20);
    // One lease, and one sweep of a second; the list shows the sweep.
    eventually(Duration::from_secs(3 + 1 + 5), || {
        ground.backends("both-web").len() == 1
    });
    let tcp = traffic::connect(&ground.lab.client, to, 200);
    let udp = traffic::ask(&ground.lab.client, to, 200);
    assert_eq!((tcp.of("two"), tcp.errors.len()), (200, 0), "{tcp:?}");
    assert_eq!((udp.of("two"), udp.errors.len()), (200, 0), "{udp:?}");
    drop(stranger);
    format!(
        "{} of 20 connections before the lease was over, {} of 200 connections and {} of 200 datagrams after",
        before.of("stranger"),
        tcp.of("stranger"),
        udp.of("stranger"),
    )
}

#[test]
fn app_hosts_announce_over_the_redis_that_nodes_share() {
    let ground = Ground::kept(Registry::Redis, "3s");
    let url = ground.redis.as_ref().unwrap().url();
    let to = ground.port("both-web");
    let over = ["--to", url.as_str()];
    let mut one = Instance::start(&ground.lab, 0, ("both-web", "one"), 4_100, &over);
    ground.wait_for("both-web", &["one"]);
    let mut two = Instance::start(&ground.lab, 1, ("both-web", "two"), 4_100, &over);
    ground.wait_for("both-web", &["one", "two"]);
    assert_eq!(traffic::connect(&ground.lab.client, to, 10).of("two"), 5);
    // Nobody answers there, and the lease is renewed all the same.
    let seq = || -> u64 {
        let hosts = ground.agent.items(&["dea", "list"]);
        hosts.iter().map(|host| host["seq"].as_u64().unwrap()).sum()
    };
    let begun = seq();
    eventually(Duration::from_secs(40), || seq() >= begun + 4);
    one.announcer.signal(Signal::SIGTERM);
    one.announcer.wait(SOON);
    ground.wait_for("both-web", &["two"]);
    two.cut();
    eventually(Duration::from_secs(20), || {
        let all = ground.backends("both-web");
        all.iter().all(|(instance, _)| instance != "two")
    });
    // What is no document changes nothing.
    let redis = ground.redis.as_ref().unwrap();
    let stream = "{harbor:harbor}:announce";
    for words in ["", "{", r#"{"v":1,"dea":"x"}"#, "\u{1b}[2J"] {
        redis.say(&["XADD", stream, "*", "m", words]).ok();
    }
    let document = r#"{"v":1,"dea":"dea9","epoch":1,"seq":1,"service":"both-web","instance":"z",
        "ip":"10.77.2.11","port":4100,"state":"up"}"#;
    redis.say(&["XADD", stream, "*", "m", document]).ok();
    ground.wait_for("both-web", &["z"]);
}

#[test]
fn what_was_lost_is_made_good_by_the_next_digest() {
    let ground = Ground::with_lease("17s");
    ground.port("web");
    let bearer = "Authorization: Bearer a-token-of-app-hosts";
    let say = |path: &str, document: &str| {
        let url = format!("http://{}/v1/{path}", app_host::CONTROL);
        let (code, body) = app_host::ask(&ground.lab, &["-H", bearer, "-d", document, &url]);
        (
            code,
            serde_json::from_str::<serde_json::Value>(&body).unwrap(),
        )
    };
    let instance = |name: &str, last: u8, head: &str| {
        format!(
            r#"{{{head}"service":"web","instance":"{name}","ip":"10.77.2.{last}","port":4100,"state":"up"}}"#
        )
    };
    let head = |seq: u32| format!(r#""v":1,"dea":"dea1","epoch":5,"seq":{seq},"#);
    for (seq, (name, last)) in [("a", 11), ("b", 12)].into_iter().enumerate() {
        let (code, _) = say("announce", &instance(name, last, &head(seq as u32 + 1)));
        assert_eq!(code, 200);
    }
    ground.wait_for("web", &["a", "b"]);
    // printf 'web a 10.77.2.11:4100 up\n' | sha256sum
    let mut digest = ground.lab.apps[0].command("sh");
    digest.args([
        "-c",
        r"printf 'web a 10.77.2.11:4100 up\n' | sha256sum | cut -c1-64",
    ]);
    let digest = kit::finish(&mut digest).ok().stdout;
    let beat = |seq| format!(r#"{{{}"digest":"{}"}}"#, head(seq), digest.trim());
    let (_, heard) = say("heartbeat", &beat(3));
    assert_eq!(
        heard["announce"], true,
        "b was withdrawn, and nobody heard it"
    );
    let all = format!(r#"{{{}"instances":[{}]}}"#, head(4), instance("a", 11, ""));
    let (code, heard) = say("announce", &all);
    assert_eq!((code, &heard["applied"]), (200, &true.into()), "{heard}");
    ground.wait_for("web", &["a"]);
    assert_eq!(say("heartbeat", &beat(5)).1["announce"], false);

    // Said before, said by an older announcer, and said by nobody who may.
    let (_, repeated) = say("announce", &instance("c", 12, &head(4)));
    assert_eq!(repeated["applied"], false);
    let older = instance("c", 12, &head(9).replace("\"epoch\":5", "\"epoch\":4"));
    assert_eq!(say("announce", &older).0, 409);
    assert_eq!(
        say("announce", &instance("c", 1, &head(6))).0,
        400,
        "an address of the node"
    );
    ground.wait_for("web", &["a"]);
}

#[test]
fn tokens_open_what_they_are_for() {
    let ground = Ground::with_lease("17s");
    let url = |path: &str| format!("http://{}{path}", app_host::CONTROL);
    let right = "Authorization: Bearer a-token-of-app-hosts";
    let wrong = "Authorization: Bearer a-token-of-app-hostz";
    let get = |header: &str, path: &str| app_host::ask(&ground.lab, &["-H", header, &url(path)]).0;
    assert_eq!(get("X: y", "/healthz"), 200);
    assert_eq!(get("X: y", "/v1/ports"), 401);
    assert_eq!(get(wrong, "/v1/ports"), 401);
    assert_eq!(get(right, "/v1/ports"), 403);
    let post = |header: &str| {
        app_host::ask(
            &ground.lab,
            &["-H", header, "-d", "{}", &url("/v1/announce")],
        )
        .0
    };
    assert_eq!((post(wrong), post(right)), (401, 400));
    let create = ["-H", right, "-d", r#"{"name":"web"}"#, &url("/v1/ports")];
    assert_eq!(app_host::ask(&ground.lab, &create).0, 403);
    assert_eq!(ground.agent.items(&["ports", "list"]).len(), 0);
    let log = ground.agent.log("node");
    assert!(!log.contains("a-token-of-app"), "a token stands in the log");
}

#[test]
fn an_operator_s_word_holds_against_an_app_host_s() {
    let ground = Ground::with_lease("3s");
    ground.port("web");
    let _one = Instance::start(&ground.lab, 0, ("web", "one"), 4_100, &[]);
    let _two = Instance::start(&ground.lab, 1, ("web", "two"), 4_100, &[]);
    eventually(SOON, || ground.backends("web").len() == 2);
    ground.agent.ctl(&["backends", "drain", "web", "one"]).ok();
    ground
        .agent
        .ctl(&["backends", "remove", "web", "two", "--now"])
        .ok();
    let settled = || {
        let mut found = ground.backends("web");
        found.sort();
        found
            == [
                ("one".into(), "draining".into()),
                ("two".into(), "removed".into()),
            ]
    };
    assert!(settled(), "{:?}", ground.backends("web"));
    // Two leases' worth of heartbeats change nothing.
    let beats = || -> u64 {
        let hosts = ground.agent.items(&["dea", "list"]);
        hosts.iter().map(|host| host["seq"].as_u64().unwrap()).sum()
    };
    let begun = beats();
    eventually(Duration::from_secs(20), || beats() >= begun + 12);
    assert!(settled(), "{:?}", ground.backends("web"));
    ground
        .agent
        .ctl(&["backends", "add", "web", "10.77.2.12:4100"])
        .ok();
    ground.wait_for("web", &["two"]);
}

/// Connects without a pause until told to stop: how often, and what went wrong.
struct Load {
    ends: Arc<AtomicBool>,
    thread: thread::JoinHandle<(usize, Vec<String>)>,
}

impl Load {
    fn on(lab: &Lab, to: SocketAddr) -> Self {
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

    fn finish(self) -> (usize, Vec<String>) {
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
