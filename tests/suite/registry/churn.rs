//! An agent that is killed all the time while ports come and go: in the end everything is as a model
//! of it says that it must be.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use kit::{Agent, eventually, traffic};

use super::Shared;
use crate::{model::random::Random, scene::Scene};

const KILLS: usize = 50;
const SOAK_KILLS: usize = 1_000;
const NAMES: usize = 12;
/// An agent is there again within this time.
const BACK: Duration = Duration::from_secs(30);

/// What a service should be: the last octets of its backends.
type Model = BTreeMap<String, BTreeSet<u8>>;

/// One thing that is asked for.
#[derive(Clone, Debug)]
enum Wish {
    Create(String),
    Delete(String),
    Add(String, u8),
    Remove(String, u8),
}

impl Wish {
    fn any(random: &mut Random) -> Self {
        let name = format!("svc{}", random.below(NAMES));
        let host = 20 + random.below(20) as u8;
        match random.below(6) {
            0 | 1 => Self::Create(name),
            2 => Self::Delete(name),
            3 => Self::Remove(name, host),
            _ => Self::Add(name, host),
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Create(name)
            | Self::Delete(name)
            | Self::Add(name, _)
            | Self::Remove(name, _) => name,
        }
    }

    /// Says it to the agent; its exit code.
    fn say(&self, agent: &AgentAt) -> i32 {
        let address = |host: &u8| format!("10.77.2.{host}:9001");
        match self {
            Self::Create(name) => agent.ctl(&["ports", "create", name]),
            Self::Delete(name) => agent.ctl(&["ports", "delete", name, "--yes"]),
            Self::Add(name, host) => agent.ctl(&["backends", "add", name, &address(host)]),
            Self::Remove(name, host) => {
                agent.ctl(&["backends", "remove", name, &address(host), "--now", "--yes"])
            }
        }
    }

    /// The service as this makes it of what it was; `None`: there is none.
    fn after(&self, before: Option<BTreeSet<u8>>) -> Option<BTreeSet<u8>> {
        match (self, before) {
            (Self::Create(_), None) => Some(BTreeSet::new()),
            (Self::Delete(_), _) => None,
            (Self::Add(_, host), Some(mut hosts)) => {
                hosts.insert(*host);
                Some(hosts)
            }
            (Self::Remove(_, host), Some(mut hosts)) => {
                hosts.remove(host);
                Some(hosts)
            }
            (_, before) => before,
        }
    }
}

/// An agent's command line, for a thread that does not own the agent.
struct AgentAt {
    socket: String,
    node: kit::Netns,
}

impl AgentAt {
    fn of(scene: &Scene) -> Self {
        Self {
            socket: scene.agent.socket().display().to_string(),
            node: scene.lab.node.clone(),
        }
    }

    fn ctl(&self, words: &[&str]) -> i32 {
        self.finished(words).code
    }

    fn finished(&self, words: &[&str]) -> kit::Finished {
        let mut command = self.node.command(kit::binary("harbor-ctl"));
        command.args(["--socket", &self.socket]).args(words);
        kit::finish(&mut command)
    }

    /// What it says now of every service; waits until it is there.
    fn state(&self) -> Model {
        let mut state = None;
        eventually(BACK, || {
            let done = self.finished(&["state", "export"]);
            state = (done.code == 0).then(|| done.json());
            state.is_some()
        });
        model_of(&state.unwrap_or_default())
    }
}

fn model_of(document: &serde_json::Value) -> Model {
    let host = |backend: &serde_json::Value| -> u8 {
        let address = backend["address"].as_str().unwrap();
        let ip = address.split(':').next().unwrap();
        ip.rsplit('.').next().unwrap().parse().unwrap()
    };
    let service = |service: &serde_json::Value| {
        let backends = service["backends"].as_array().unwrap();
        (
            service["name"].as_str().unwrap().to_owned(),
            backends.iter().map(host).collect(),
        )
    };
    document["services"]
        .as_array()
        .unwrap()
        .iter()
        .map(service)
        .collect()
}

/// Asks for things until told to end; what was acknowledged is so, and what was not is so or is not.
fn churn(agent: &AgentAt, ends: &AtomicBool, done: &AtomicUsize, seed: u64) -> Model {
    let (mut model, mut random) = (Model::new(), Random(seed));
    while !ends.load(Ordering::Relaxed) {
        let wish = Wish::any(&mut random);
        let before = model.get(wish.name()).cloned();
        let after = wish.after(before.clone());
        let code = wish.say(agent);
        done.fetch_add(1, Ordering::Relaxed);
        let now = match code {
            0 => after,
            // Refused for what it is: it exists, or does not.
            4 | 5 => before,
            _ => {
                let found = agent.state().get(wish.name()).cloned();
                assert!(
                    found == before || found == after,
                    "{wish:?} ({code}): {found:?}"
                );
                found
            }
        };
        match now {
            Some(hosts) => drop(model.insert(wish.name().to_owned(), hosts)),
            None => drop(model.remove(wish.name())),
        }
    }
    model
}

/// Kills the agent so often while ports come and go; what to say of it.
fn kill_during_churn(scene: &mut Scene, kills: usize) -> String {
    let web = scene.port("web");
    let live = traffic::Live::open(&scene.lab.client, web, 20);
    let (ends, done, at) = (
        AtomicBool::new(false),
        AtomicUsize::new(0),
        AgentAt::of(scene),
    );
    let mut random = Random(3);
    let mut model = thread::scope(|scope| {
        let asking = scope.spawn(|| churn(&at, &ends, &done, 5));
        for _ in 0..kills {
            let goal = done.load(Ordering::Relaxed) + 1 + random.below(6);
            eventually(BACK, || {
                done.load(Ordering::Relaxed) >= goal || asking.is_finished()
            });
            scene.agent.kill();
            scene.agent.restart();
        }
        ends.store(true, Ordering::Relaxed);
        asking.join().unwrap()
    });
    model.insert("web".into(), BTreeSet::from([11, 12]));
    let found = |agent: &Agent| model_of(&agent.ctl_json(&["state", "export"]));
    assert_eq!(found(&scene.agent), model);
    let check = scene.agent.ctl(&["state", "check"]);
    assert_eq!(check.code, 0, "{}", check.stdout);
    assert_eq!(live.finish().errors, Vec::<String>::new());
    format!(
        "{kills} kills, {} wishes, {} services left",
        done.load(Ordering::Relaxed),
        model.len()
    )
}

#[test]
fn an_agent_killed_fifty_times_during_churn_ends_as_the_model_says() {
    let Shared { mut scene, redis } = Shared::start();
    println!("{}", kill_during_churn(&mut scene, KILLS));
    let count = redis.say(&["hlen", "{harbor:harbor}:services"]).stdout;
    let listed = scene.agent.items(&["ports", "list"]).len();
    assert_eq!(count.trim(), listed.to_string());
}

/// `cargo xtask soak kills`; over the embedded registry with `HARBOR_SOAK_EMBEDDED` set, and as often as
/// `HARBOR_SOAK_KILLS` says.
#[test]
#[ignore = "runs for minutes"]
fn soak_kills_during_churn() {
    let kills = env::var("HARBOR_SOAK_KILLS").ok();
    let kills = kills.and_then(|text| text.parse().ok());
    let kills = kills.unwrap_or(SOAK_KILLS);
    let said = match env::var_os("HARBOR_SOAK_EMBEDDED") {
        Some(_) => kill_during_churn(&mut Scene::routed(), kills),
        None => kill_during_churn(&mut Shared::start().scene, kills),
    };
    println!("{said}");
}
