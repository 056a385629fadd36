//! Ports in a file of the node's own, and in a Redis that several nodes share: real disks, a real
//! server, faults of every kind, real traffic.

mod churn;
mod clocks;
mod disk;
mod doors;
mod elsewhere;
mod faults;
mod forgotten;
mod lost;
mod malformed;
mod nameless;
mod nodes;
mod sentinels;
mod sequences;
mod state;
mod thousand;

pub(crate) use nodes::other;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use kit::{Agent, Config, Lab, Redis, until};
use serde_json::Value;

use crate::scene::Scene;

/// The port of Redis.
const REDIS: u16 = 6379;

/// A scene whose agent keeps its ports in a Redis on the second app host.
struct Shared {
    scene: Scene,
    redis: Redis,
}

impl Shared {
    #[track_caller]
    fn start() -> Self {
        Self::within("5s")
    }

    /// With an agent that waits so long for an answer.
    #[track_caller]
    fn within(timeout: &str) -> Self {
        let lab = Lab::routed();
        let redis = redis_of(&lab);
        let config = Config::with(&redis.config_within("one", timeout));
        let scene = Scene::on(lab, &config);
        Self { scene, redis }
    }
}

/// A server on the lab's second app host.
#[track_caller]
pub(crate) fn redis_of(lab: &Lab) -> Redis {
    let address = SocketAddr::new(lab.app(kit::V4, 1), REDIS);
    Redis::start(&lab.apps[1], lab.folder(), address)
}

/// What is promised to be shown within 2 s, and to be well 5 s after its cause is gone, is waited for as long
/// as this: how long it took is printed, and depends on the machine.
const LONGEST: Duration = Duration::from_secs(60);

/// Waits until the registry's row in `status` and the exit code of `status` show a fault; the row.
#[track_caller]
fn is_noticed(agent: &Agent, fault: &str, is_meant: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    let row = until(LONGEST, || {
        let (row, code) = shown(agent);
        (row["state"] != "ok" && code == 7 && is_meant(&row)).then_some(row)
    });
    let (took, state, text) = (begun.elapsed(), &row["state"], &row["text"]);
    println!("{fault}: shown after {took:.2?}: {state} {text}");
    row
}

/// Waits until neither shows one any more.
#[track_caller]
fn is_healed(agent: &Agent, fault: &str) -> Duration {
    let begun = Instant::now();
    until(LONGEST, || {
        let (row, code) = shown(agent);
        (row["state"] == "ok" && code == 0).then_some(())
    });
    let took = begun.elapsed();
    println!("{fault}: well {took:.2?} after its cause was gone");
    took
}

/// The registry's row, and the exit code.
#[track_caller]
fn shown(agent: &Agent) -> (Value, i32) {
    let status = agent.ctl(&["status", "-o", "json"]);
    (status.json()["registry"].clone(), status.code)
}
