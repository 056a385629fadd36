//! Random faults under two whole nodes that share a Redis: it goes back to any earlier state, nodes are cut
//! off, die and start, their disks are full, their journals cut and their clocks wrong, while ports come and
//! go. At the end nothing that was acknowledged is lost, nothing that was deleted is back, and every display
//! agrees with the kernel.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use kit::{Agent, Config, Lab, Redis, SmallDisk, WrongClock, eventually, finish, traffic};
use serde_json::Value;

use super::redis_of;
use crate::{model::random::Random, scene::APP_PORT, soak};

const SETTLED: Duration = Duration::from_secs(60);
const STEPS: usize = 14;
const BYTES: u64 = 12 * 1024 * 1024;
/// A journal is longer than this.
const CUT: usize = 30_000;
const CLOCKS: [i64; 5] = [0, -600, 600, -315_360_000, 315_360_000];
const NAMES: [&str; 2] = ["one", "two"];

/// A node, running or not. Fields are dropped in this order.
struct Node {
    agent: Agent,
    disk: SmallDisk,
    clock: WrongClock,
    is_cut_off: bool,
    is_full: bool,
}

impl Node {
    #[track_caller]
    fn start(lab: &Lab, redis: &Redis, name: &str) -> Self {
        let clock = WrongClock::new(lab.folder(), name);
        let is_first = name == NAMES[0];
        let config = Config {
            name: name.into(),
            bpf: (!is_first).then(|| lab.bpffs().join(name)),
            host: Some(if is_first {
                lab.node.clone()
            } else {
                lab.another()
            }),
            variables: clock.variables(),
            ..Config::with(&redis.config_within(name, "500ms"))
        };
        let mut agent = Agent::configured(lab, &config);
        let disk = SmallDisk::mount(&agent.folder().join("state"), BYTES);
        agent.restart();
        Self {
            agent,
            disk,
            clock,
            is_cut_off: false,
            is_full: false,
        }
    }

    fn registry(&self) -> Value {
        self.agent.ctl_json_whatever(&["status"])["registry"].clone()
    }

    /// Whether what it knows is on its disk.
    fn keeps(&mut self) -> bool {
        let text = |node: &Self| node.registry()["text"].to_string();
        !self.is_full && (!self.agent.is_running() || !text(self).contains("journal"))
    }

    fn journal(&self) -> Option<PathBuf> {
        let state = self.agent.folder().join("state");
        let files = fs::read_dir(state).unwrap().flatten();
        let mut names = files.map(|file| file.path());
        let is_journal = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("journal") && name.ends_with(".redb")
        };
        names.find(is_journal)
    }

    fn cut_off(&mut self, is_cut_off: bool) {
        if std::mem::replace(&mut self.is_cut_off, is_cut_off) == is_cut_off {
            return;
        }
        let rules = match is_cut_off {
            true => {
                "add table inet cut
                 add chain inet cut out { type filter hook output priority 0 ; }
                 add rule inet cut out tcp dport 6379 reject with tcp reset"
            }
            false => "delete table inet cut",
        };
        finish(self.agent.host().command("nft").arg(rules)).ok();
    }

    fn fill(&mut self, is_full: bool) {
        match (std::mem::replace(&mut self.is_full, is_full), is_full) {
            (false, true) => self.disk.fill(),
            (true, false) => self.disk.free(),
            _ => {}
        }
    }
}

/// What was answered.
#[derive(Debug, Default)]
struct Model {
    /// Names, with the node and the number.
    there: BTreeMap<String, (usize, u64)>,
    deleted: BTreeSet<String>,
    unclear: BTreeSet<String>,
}

struct Ground {
    nodes: [Node; 2],
    redis: Redis,
    dumps: Vec<PathBuf>,
    model: Model,
    made: usize,
    told: Vec<String>,
    lab: Lab,
}

impl Ground {
    #[track_caller]
    fn new() -> Self {
        let lab = Lab::routed();
        let redis = redis_of(&lab);
        let nodes = NAMES.map(|name| Node::start(&lab, &redis, name));
        let mut ground = Self {
            nodes,
            redis,
            dumps: Vec::new(),
            model: Model::default(),
            made: 0,
            told: Vec::new(),
            lab,
        };
        ground.dump();
        ground
    }

    fn dump(&mut self) {
        self.redis.say(&["save"]).ok();
        let copy = self.lab.folder().join(format!("dump-{}", self.dumps.len()));
        fs::copy(self.lab.folder().join("dump.rdb"), &copy).unwrap();
        self.dumps.push(copy);
    }

    fn roll_back(&mut self, to: usize) {
        self.redis.kill();
        fs::copy(&self.dumps[to], self.lab.folder().join("dump.rdb")).unwrap();
        // What was there after that was never there.
        self.dumps.truncate(to + 1);
        self.redis.restart();
    }

    fn create(&mut self, which: usize) -> String {
        self.made += 1;
        let name = format!("s{}", self.made);
        let app = SocketAddr::new(self.lab.app(kit::V4, 0), APP_PORT).to_string();
        let words = ["ports", "create", &name, "--backend", &app, "-o", "json"];
        let done = self.nodes[which].agent.ctl(&words);
        if done.code == 0 {
            let port = done.json()["port"].as_u64().unwrap();
            self.model.there.insert(name.clone(), (which, port));
        } else {
            self.model.unclear.insert(name.clone());
        }
        format!("creates {name}: {}", done.code)
    }

    fn delete(&mut self, which: usize, random: &mut Random) -> Option<String> {
        let own = self
            .model
            .there
            .iter()
            .filter(|(_, (node, _))| *node == which);
        let own: Vec<String> = own.map(|(name, _)| name.clone()).collect();
        let name = (!own.is_empty()).then(|| random.of(&own))?;
        let words = ["ports", "delete", &name, "--yes"];
        let code = self.nodes[which].agent.ctl(&words).code;
        if code == 0 {
            self.model.there.remove(&name);
            self.model.deleted.insert(name.clone());
        } else {
            self.model.unclear.insert(name.clone());
        }
        Some(format!("deletes {name}: {code}"))
    }

    fn step(&mut self, random: &mut Random) -> Option<String> {
        let which = random.below(2);
        let is_running = self.nodes[which].agent.is_running();
        let what = match random.below(16) {
            0..=4 if is_running => self.create(which),
            5..=6 if is_running => self.delete(which, random)?,
            7 => {
                self.dump();
                "dump".into()
            }
            8 => {
                let to = random.below(self.dumps.len());
                self.roll_back(to);
                format!("back to {to}")
            }
            9..=10 => {
                let is_cut_off = random.once_in(2);
                self.nodes[which].cut_off(is_cut_off);
                format!("is cut off: {is_cut_off}")
            }
            11 if is_running && self.nodes[which].keeps() => {
                self.nodes[which].agent.kill();
                "dies".into()
            }
            12 if !is_running => {
                self.nodes[which].agent.restart();
                "starts".into()
            }
            13 if is_running => {
                let is_full = random.once_in(2);
                self.nodes[which].fill(is_full);
                format!("its disk is full: {is_full}")
            }
            14 => {
                let ahead = random.of(&CLOCKS);
                self.nodes[which].clock.set(ahead);
                format!("its clock is {ahead} s ahead")
            }
            15 if is_running && self.nodes[which].keeps() => {
                let journal = self.nodes[which].journal()?;
                let file = fs::File::options().write(true).open(journal).unwrap();
                file.set_len(random.below(CUT) as u64).unwrap();
                // It is whole again, or another is, before anything else happens to the node.
                let length = |path: PathBuf| fs::metadata(path).map_or(0, |found| found.len());
                let node = &mut self.nodes[which];
                eventually(SETTLED, || {
                    node.journal().is_some_and(|path| length(path) > CUT as u64) && node.keeps()
                });
                "its journal is cut".into()
            }
            _ => return None,
        };
        Some(format!("{}: {what}", NAMES[which]))
    }

    /// Every cause is gone.
    #[track_caller]
    fn settle(&mut self) {
        for node in &mut self.nodes {
            node.cut_off(false);
            node.fill(false);
            node.clock.set(0);
            if !node.agent.is_running() {
                node.agent.restart();
            }
        }
        for node in &self.nodes {
            eventually(SETTLED, || node.registry()["state"] == "ok");
            eventually(SETTLED, || node.agent.ctl(&["state", "check"]).code == 0);
        }
        eventually(SETTLED, || {
            self.wrong().is_none_or(|wrong| {
                println!("{wrong}");
                false
            })
        });
        self.agrees_with_the_kernel();
    }

    /// What is not so of what the nodes list.
    fn wrong(&self) -> Option<String> {
        let Model {
            there,
            deleted,
            unclear,
        } = &self.model;
        let mut listed = Vec::new();
        for node in &self.nodes {
            let ports = node.agent.items(&["ports", "list"]);
            let names = ports
                .iter()
                .map(|port| port["name"].as_str().unwrap().to_owned());
            let names: BTreeSet<String> = names.collect();
            let is_clear = |name: &&String| !unclear.contains(*name);
            let lost = there
                .keys()
                .filter(is_clear)
                .find(|name| !names.contains(*name));
            if let Some(name) = lost {
                return Some(format!("{name} is lost"));
            }
            if let Some(name) = deleted
                .iter()
                .filter(is_clear)
                .find(|name| names.contains(*name))
            {
                return Some(format!("{name} is back"));
            }
            listed.push(names);
        }
        (listed[0] != listed[1]).then(|| format!("two truths: {listed:?}"))
    }

    /// The first node's own ports, which are those that the client reaches: list, each one's page, its
    /// backends, the document, what the kernel holds, and what a client meets.
    #[track_caller]
    fn agrees_with_the_kernel(&self) {
        let agent = &self.nodes[0].agent;
        let ports = agent.items(&["ports", "list"]);
        let own = ports.iter().filter(|port| port["node"] == NAMES[0]);
        let own: BTreeMap<u64, &Value> = own
            .map(|port| (port["port"].as_u64().unwrap(), port))
            .collect();
        let document = agent.ctl_json(&["state", "export"]);
        let exported = document["services"].as_array().unwrap();
        for (number, port) in &own {
            let (name, id) = (port["name"].as_str().unwrap(), &port["id"]);
            assert_eq!(&agent.ctl_json(&["ports", "show", name])["id"], id);
            assert!(exported.iter().any(|service| service["id"] == *id));
            assert_eq!(agent.items(&["backends", "list", name]).len(), 1);
            eventually(SETTLED, || {
                agent.ctl_json(&["ports", "show", name])["state"] == "up"
            });
            let to = SocketAddr::new(self.lab.public(kit::V4), *number as u16);
            assert_eq!(
                traffic::connect(&self.lab.client, to, 2).of("app"),
                2,
                "{name}"
            );
        }
        let config = agent.config_file();
        let words = ["datapath", "dump", "frontends", "--config"];
        let kernel = agent.items(&[&words[..], &[config.to_str().unwrap()]].concat());
        let kernel: BTreeSet<u64> = kernel
            .iter()
            .map(|row| row["value"]["port"].as_u64().unwrap())
            .collect();
        assert_eq!(
            kernel,
            own.keys().copied().collect(),
            "what the kernel serves"
        );
    }
}

/// Runs sequences until there were so many, or so much time is over.
fn run(seeds: std::ops::Range<u64>, time: Duration) -> usize {
    let begun = std::time::Instant::now();
    let mut done = 0;
    let mut ground = Ground::new();
    let apps = ground.lab.app_ports(0, APP_PORT);
    let _app = traffic::serve(&ground.lab.apps[0], ground.lab.folder(), "app", &apps);
    for seed in seeds {
        let mut random = Random(seed);
        println!("sequence {seed}");
        for _ in 0..STEPS {
            if let Some(what) = ground.step(&mut random) {
                println!("  {what}");
                ground.told.push(what);
            }
        }
        ground.settle();
        done += 1;
        if begun.elapsed() > time {
            break;
        }
    }
    done
}

#[test]
fn after_any_sequence_of_faults_every_display_agrees_with_the_kernel() {
    run(0..4, Duration::MAX);
}

/// `cargo xtask soak registry`
#[test]
#[ignore = "runs for minutes"]
fn soak_registry_sequences_of_whole_nodes() {
    println!("{} sequences", run(100..u64::MAX, soak::duration()));
}
