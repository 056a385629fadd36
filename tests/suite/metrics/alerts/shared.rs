//! Faults of nodes that share a registry: one that goes, and the registry itself.

use kit::{Config, Lab};

use super::{super::LISTEN, Fault, Ground};
use crate::{
    registry::{other, redis_of},
    scene::Scene,
};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        alerts: &["HarborNodeAway"],
        make: |ground| drop(ground.dies.take().expect("the other node")),
    },
    Fault {
        alerts: &["HarborRegistryUnreachable", "HarborLeasesFrozen"],
        make: |ground| drop(ground.kept.pop().expect("the registry")),
    },
];

#[test]
fn alerts_of_a_shared_registry_fire_by_their_faults_and_not_before() {
    let lab = Lab::routed();
    let redis = redis_of(&lab);
    let config = format!("{}[metrics]\nlisten = \"{LISTEN}\"\n", redis.config("one"));
    let scene = Scene::on(lab, &Config::with(&config));
    scene.port("web");
    let two = other(&scene.lab, &redis.config("two"), "two");
    let mut ground = Ground::new(scene);
    ground.kept.push(Box::new(redis));
    ground.dies = Some(Box::new(two));
    ground.suffer(FAULTS);
}
