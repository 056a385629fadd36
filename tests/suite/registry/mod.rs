//! Ports in a file of the node's own, and in a Redis that several nodes share: real disks, a real
//! server, faults of every kind, real traffic.

mod churn;
mod clocks;
mod disk;
mod doors;
mod faults;
mod lost;
mod malformed;
mod nodes;
mod sentinels;
mod sequences;
mod state;

pub(crate) use nodes::other;

use std::net::SocketAddr;

use kit::{Config, Lab, Redis};

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
