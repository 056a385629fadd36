//! App hosts that announce, fall silent, are cut off, and lose their addresses to strangers.

mod doors;
mod load;
mod lost;
mod names;

use std::{net::SocketAddr, time::Duration};

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
        Self::with_lines(registry, lease, |_| String::new())
    }

    /// With more lines of configuration.
    fn with_lines(registry: Registry, lease: &str, lines: impl FnOnce(&Lab) -> String) -> Self {
        let lab = Lab::routed();
        let mut more = app_host::reachable(&lab, lease);
        more.push_str(&lines(&lab));
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
