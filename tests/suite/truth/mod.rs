//! `status` names the part of every fault that the suite can make, and is well again when the cause is
//! gone. A part that no fault is made of fails the test.

mod shown;

use std::{
    collections::BTreeSet,
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    time::Duration,
};

use kit::{Agent, Config, Lab, Redis, SmallDisk, allow_many_descriptors, certify, eventually};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    registry::{other, redis_of},
    scene::Scene,
};

/// It is said, and it is over, within this time; the agent itself looks at some things every few seconds.
const SOON: Duration = Duration::from_secs(20);
const CONTROL: u16 = 9_555;
const CONSOLE: u16 = 9_556;
const METRICS: u16 = 9_557;

/// Something that goes wrong on a node that shares its registry with nobody.
struct Fault {
    /// The part's name in JSON.
    part: &'static str,
    /// What its text says.
    says: &'static str,
    make: fn(&mut Node),
    heal: fn(&mut Node),
}

/// Fields are dropped in this order.
struct Node {
    /// Of the logs.
    disk: SmallDisk,
    scene: Scene,
    streams: Vec<TcpStream>,
    /// Where metrics are to be served.
    taken: Option<TcpListener>,
}

impl Node {
    fn certificates(&self) -> PathBuf {
        certificates(&self.scene.lab)
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.scene.agent.folder().join(name)
    }

    /// Writes the configuration anew.
    fn write(&self, change: impl Fn(String) -> String) {
        let file = self.scene.agent.config_file();
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, change(text)).unwrap();
    }

    /// The same, and has it read.
    fn configure(&mut self, change: impl Fn(String) -> String) {
        self.write(change);
        self.scene.agent.process().signal(Signal::SIGHUP);
    }
}

fn certificates(lab: &Lab) -> PathBuf {
    lab.folder().join("certificates")
}

fn password(lab: &Lab) -> PathBuf {
    lab.folder().join("password")
}

const FAULTS: [Fault; 11] = [
    Fault {
        part: "ports",
        says: "no backend",
        make: |node| {
            node.scene.agent.create(&["lonely"]);
        },
        heal: |node| {
            drop(
                node.scene
                    .agent
                    .ctl(&["ports", "delete", "lonely", "--yes"])
                    .ok(),
            )
        },
    },
    Fault {
        part: "certificates",
        says: "shop-https",
        make: |node| {
            fs::rename(
                node.certificates().join("shop-https.key"),
                node.folder("kept"),
            )
            .unwrap();
            certify(&node.certificates(), "other", "DNS:other.test");
            let key = node.certificates().join("other.key");
            fs::rename(key, node.certificates().join("shop-https.key")).unwrap();
        },
        heal: |node| {
            fs::rename(
                node.folder("kept"),
                node.certificates().join("shop-https.key"),
            )
            .unwrap();
        },
    },
    Fault {
        part: "configuration",
        says: "nonsense",
        make: |node| node.configure(|text| format!("nonsense = 1\n{text}")),
        // Nobody has it read again.
        heal: |node| node.write(|text| text.replace("nonsense = 1\n", "")),
    },
    Fault {
        part: "datapath",
        says: "eth1",
        make: |node| {
            node.scene
                .lab
                .node
                .ip("link set eth1 down\nlink set eth1 name away1")
        },
        heal: |node| {
            node.scene
                .lab
                .node
                .ip("link set away1 name eth1\nlink set eth1 up")
        },
    },
    Fault {
        part: "flows",
        says: "nearly full",
        make: |node| {
            let to = node.scene.at(35_000);
            let open = || TcpStream::connect(to).unwrap();
            let client = &node.scene.lab.client;
            node.streams = client.enter(|| (0..940).map(|_| open()).collect());
        },
        heal: |node| {
            node.streams.clear();
            node.scene
                .agent
                .ctl(&["flows", "kill", "--all", "--yes"])
                .ok();
        },
    },
    Fault {
        part: "health",
        says: "cut off",
        make: |node| each_app(node, "link set eth0 down"),
        heal: |node| each_app(node, "link set eth0 up"),
    },
    Fault {
        part: "agent",
        says: "No space left",
        make: |node| {
            node.disk.fill();
            // The last page of each log takes some more.
            for verb in ["drain", "resume"].repeat(20) {
                node.scene.agent.ctl(&["ports", verb, "web"]).ok();
            }
        },
        heal: |node| node.disk.free(),
    },
    Fault {
        part: "metrics",
        says: "Address already in use",
        make: |node| {
            assert_eq!(node.scene.agent.stop(), 0);
            let bind = || TcpListener::bind(("127.0.0.1", METRICS)).unwrap();
            node.taken = Some(node.scene.lab.node.enter(bind));
            node.scene.agent.restart();
        },
        heal: |node| node.taken = None,
    },
    Fault {
        part: "proxy",
        says: "full: port",
        make: |node| {
            let agent = &node.scene.agent;
            let app = node.scene.app(0).to_string();
            let proxied = ["proxied", "--backend", &app, "client_ip=proxy-v1"];
            let to = node.scene.at(agent.create(&proxied));
            let open = || TcpStream::connect(to).unwrap();
            let client = &node.scene.lab.client;
            node.streams = client.enter(|| (0..8).map(|_| open()).collect());
        },
        heal: |node| {
            node.streams.clear();
            node.scene
                .agent
                .ctl(&["ports", "delete", "proxied", "--yes"])
                .ok();
        },
    },
    Fault {
        part: "registry",
        says: "harbor.redb",
        make: move_state_away,
        heal: move_state_back,
    },
    Fault {
        part: "events",
        says: "not on disk",
        make: |node| {
            move_state_away(node);
            // Something happens.
            node.scene
                .agent
                .ctl(&["flows", "kill", "--all", "--yes"])
                .ok();
        },
        heal: move_state_back,
    },
];

fn each_app(node: &Node, command: &str) {
    node.scene.lab.apps.iter().for_each(|app| app.ip(command));
}

fn move_state_away(node: &mut Node) {
    fs::rename(node.folder("state"), node.folder("aside")).unwrap();
}

fn move_state_back(node: &mut Node) {
    fs::rename(node.folder("aside"), node.folder("state")).unwrap();
}

fn part(agent: &Agent, name: &str) -> (bool, String) {
    let status = agent.ctl_json_whatever(&["status"]);
    let part = &status[name];
    (
        part["state"] == "ok",
        part["text"].as_str().unwrap_or_default().to_owned(),
    )
}

/// Waits until a part is not well and says so, in the state of the whole and the exit code too.
#[track_caller]
fn is_named(agent: &Agent, name: &str, says: &str) {
    let mut last = String::new();
    let mut is_so = || {
        let (is_ok, text) = part(agent, name);
        last = text;
        !is_ok && last.contains(says)
    };
    println!("{name} shall say {says:?}");
    eventually(SOON, &mut is_so);
    println!("{name} says {last:?}");
    let status = agent.ctl(&["status", "-o", "json"]);
    assert_eq!(status.code, 7, "{}", status.stdout);
    assert_eq!(status.json()["overall"], "degraded");
}

#[track_caller]
fn is_well(agent: &Agent, name: &str) {
    eventually(SOON, || part(agent, name).0);
}

fn node() -> Node {
    allow_many_descriptors();
    let lab = Lab::routed();
    fs::create_dir(certificates(&lab)).unwrap();
    certify(&certificates(&lab), "shop-https", "DNS:shop.test");
    let text = format!(
        "[node]\ninterfaces = [\"eth0\", \"eth1\"]\n[datapath]\nflows = 1024\n[limits]\nflows_per_port = 2048\nflows_per_client = 2048\n[tls]\nfolder = {:?}\n\
         [control]\nlisten = \"127.0.0.1:{CONTROL}\"\ntoken_file = {:?}\n[gateway]\npassword_file = {:?}\n\
         [console]\nlisten = \"127.0.0.1:{CONSOLE}\"\ntoken_file = {:?}\n\
         [health]\ninterval = \"1s\"\n[log]\nlevel = \"info\"\n[proxy]\ndescriptors_per_port = \"1%\"\n\
         [metrics]\nlisten = \"127.0.0.1:{METRICS}\"\n",
        certificates(&lab),
        password(&lab),
        password(&lab),
        password(&lab),
    );
    let config = Config {
        wrapper: vec!["prlimit".into(), "--nofile=1024".into()],
        ..Config::with(&text)
    };
    let disk = SmallDisk::mount(&lab.folder().join(&config.name).join("log"), 4 << 20);
    let scene = Scene::on(lab, &config);
    let app = scene.app(0).to_string();
    let web = ["web", "--port", "35000", "--backend", &app];
    let more = ["--backend", &scene.app(1).to_string(), "health=tcp"];
    scene.agent.create(&[&web[..], &more].concat());
    // Silence of fewer ports would be the backends' own.
    for name in ["two", "three"] {
        scene
            .agent
            .create(&[name, "--backend", &app, more[0], more[1], more[2]]);
    }
    scene.agent.create(&["shop-https", "--backend", &app]);
    Node {
        disk,
        scene,
        taken: None,
        streams: Vec::new(),
    }
}

#[test]
fn every_fault_is_named_by_its_part_and_over_when_its_cause_is() {
    let mut node = node();
    // Nobody could read the password when the agent started.
    for api in ["control", "console", "gateway"] {
        is_named(&node.scene.agent, api, "does not run");
    }
    let file = password(&node.scene.lab);
    fs::write(&file, "a-password-of-platforms\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    for api in ["control", "console", "gateway"] {
        is_well(&node.scene.agent, api);
    }
    eventually(SOON, || node.scene.agent.ctl(&["status"]).code == 0);
    for fault in &FAULTS {
        let begun = std::time::Instant::now();
        (fault.make)(&mut node);
        is_named(&node.scene.agent, fault.part, fault.says);
        let named = begun.elapsed();
        (fault.heal)(&mut node);
        is_well(&node.scene.agent, fault.part);
        println!(
            "{}: named after {named:.1?}, well after {:.1?}",
            fault.part,
            begun.elapsed()
        );
        eventually(SOON, || node.scene.agent.ctl(&["status"]).code == 0);
    }
    let known = ["control", "console", "gateway"].into_iter().chain(SHARED);
    let known = known.chain(FAULTS.iter().map(|fault| fault.part));
    let known: BTreeSet<&str> = known.collect();
    assert_eq!(
        parts(&node.scene.agent),
        known.into_iter().map(str::to_owned).collect()
    );
}

/// Every part that `status` has.
fn parts(agent: &Agent) -> BTreeSet<String> {
    let status = agent.ctl_json_whatever(&["status"]);
    let is_part = |value: &Value| value["state"].is_string() && value["text"].is_string();
    let all = status.as_object().unwrap().iter();
    all.filter(|(_, value)| is_part(value))
        .map(|(name, _)| name.clone())
        .collect()
}

/// Parts of which faults are made where nodes share a registry.
const SHARED: [&str; 2] = ["nodes", "discovery"];

#[test]
fn nodes_that_share_a_registry_name_what_is_away() {
    let lab = Lab::routed();
    let mut redis: Redis = redis_of(&lab);
    let one = other(&lab, &redis.config("one"), "one");
    let mut two = other(&lab, &redis.config("two"), "two");
    eventually(SOON, || part(&one, "nodes").1.contains("2 nodes"));
    // A drain is meant.
    one.ctl(&["node", "drain", "two"]).ok();
    eventually(SOON, || part(&one, "nodes").1.contains("drained: two"));
    assert!(part(&one, "nodes").0);
    one.ctl(&["node", "resume", "two"]).ok();
    two.kill();
    is_named(&one, "nodes", "away: two");
    two.restart();
    is_well(&one, "nodes");
    redis.kill();
    is_named(&one, "registry", "away for");
    is_named(&one, "discovery", "frozen");
    redis.restart();
    for part in ["registry", "discovery", "nodes"] {
        is_well(&one, part);
    }
}
