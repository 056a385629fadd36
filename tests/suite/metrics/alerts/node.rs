//! Faults of a node that forwards by the programs: what runs out, who does not answer, what is taken away.

use std::{
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use kit::{
    Config, FrozenThread, Lab, Process, V4, allow_many_descriptors, bound, eventually, patient,
    traffic, traffic::Asker,
};

use super::{super::LISTEN, Fault, Ground, SOON};
use crate::scene::{APP_PORT, Scene};

/// More than four of five source ports towards a backend, of the smallest range that is taken; and twice
/// that is more than four of five flows that there is room for.
const FLOWS: usize = 840;
const CONFIG: &str = "[node]\ninterfaces = [\"eth0\", \"eth1\"]\n\
                      [ports]\nrange = \"35000-35011\"\nrest = \"0s\"\n\
                      [datapath]\nflows = 2048\nsource_ports = \"10240-11263\"\n\
                      [limits]\nflows_per_port = 2048\nflows_per_client = 2048\n";
/// More than a hundred a second, whatever is looked back at.
const UNWANTED: usize = 20_000;
/// Longer than the rule wants a change to take.
const SLOW: Duration = Duration::from_millis(2_000);
/// More starts than the rule allows.
const STARTS: usize = 4;

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        alerts: &["HarborSourcePortsNearlyUsedUp"],
        make: |ground| connect(ground, "one"),
    },
    Fault {
        alerts: &["HarborFlowTableNearlyFull"],
        make: |ground| connect(ground, "two"),
    },
    Fault {
        alerts: &["HarborFlowsRefused"],
        make: |ground| {
            let (to, lab) = (at(ground, "udp-few"), &ground.scene.lab);
            for _ in 0..5 {
                Asker::new(&lab.client, V4).send(to, b"let me in");
            }
        },
    },
    Fault {
        alerts: &["HarborPacketsDropped"],
        make: |ground| {
            let asker = Asker::new(&ground.scene.lab.client, V4);
            let to = at(ground, "udp-denied");
            (0..UNWANTED).for_each(|_| asker.send(to, b"let me in"));
        },
    },
    Fault {
        alerts: &["HarborBackendsEjected", "HarborPortDegraded"],
        make: |ground| {
            drop(ground.dies.take().expect("the apps that die"));
            let to = at(ground, "many");
            let done = || traffic::connect(&ground.scene.lab.client, to, 8);
            let ejected = "harbor_port_ejections_total{name=\"many\"} >= 4";
            eventually(patient(SOON), || {
                assert!(done().of("many2") > 0);
                ground.prometheus.value(ejected).is_some()
            });
        },
    },
    Fault {
        alerts: &["HarborPortDown"],
        make: |ground| {
            ground.scene.agent.create(&["lonely"]);
        },
    },
    Fault {
        alerts: &["HarborRangeNearlyUsedUp"],
        make: |ground| {
            let app = ground.scene.app(0).to_string();
            let one_more = |number: usize| {
                let name = format!("more-{number}");
                let words = ["ports", "create", &name, "--backend", &app];
                ground.scene.agent.ctl(&words).code
            };
            assert!((0..12).any(|number| one_more(number) == 5), "all are used");
        },
    },
    Fault {
        alerts: &["HarborReconcileSlow"],
        make: |ground| {
            let halted = FrozenThread::of(ground.scene.agent.process(), "forwarding");
            let (begun, agent) = (Instant::now(), &ground.scene.agent);
            thread::scope(|scope| {
                let change = scope.spawn(|| agent.ctl(&["ports", "set", "many", "drain_s=7"]));
                eventually(SOON, || begun.elapsed() > SLOW);
                drop(halted);
                change.join().unwrap().ok();
            });
        },
    },
    Fault {
        alerts: &["HarborDatapathDown"],
        make: |ground| ground.scene.lab.node.ip("link set eth1 down"),
    },
    Fault {
        alerts: &["HarborAgentDown"],
        make: |ground| {
            ground.scene.lab.node.ip("link set eth1 up");
            assert_eq!(ground.scene.agent.stop(), 0);
        },
    },
    Fault {
        alerts: &["HarborPortConflict"],
        make: |ground| {
            let lab = &ground.scene.lab;
            let held = traffic::hold(&lab.node, lab.folder(), &[MANY]);
            ground.kept.push(Box::new(held));
            ground.scene.agent.restart();
        },
    },
    Fault {
        alerts: &["HarborAgentRestarts"],
        make: |ground| {
            for _ in 0..STARTS {
                let started = ground.prometheus.value("process_start_time_seconds");
                ground.scene.agent.kill();
                ground.scene.agent.restart();
                eventually(SOON, || {
                    let now = ground.prometheus.value("process_start_time_seconds");
                    now.is_some() && now != started
                });
            }
        },
    },
];

/// The number of the port that has many backends.
const MANY: u16 = 35_004;

/// The public address of a port.
fn at(ground: &Ground, name: &str) -> SocketAddr {
    let shown = ground.scene.agent.ctl_json(&["ports", "show", name]);
    ground
        .scene
        .at(u16::try_from(shown["port"].as_u64().unwrap()).unwrap())
}

/// Connections that stay.
fn connect(ground: &mut Ground, name: &str) {
    let (from, to) = (SocketAddr::new(V4.any(), 0), at(ground, name));
    let client = &ground.scene.lab.client;
    let dial = || bound::dial(from, to).unwrap();
    let streams: Vec<TcpStream> = client.enter(|| (0..FLOWS).map(|_| dial()).collect());
    ground.kept.push(Box::new(streams));
}

/// Apps at four more ports of an app host.
fn four(lab: &Lab, host: u8, name: &str) -> (Process, Vec<SocketAddr>) {
    let place = |number| SocketAddr::new(lab.app(V4, host), APP_PORT + 1 + number);
    let places: Vec<SocketAddr> = (0..4).map(place).collect();
    let apps = traffic::serve(&lab.apps[usize::from(host)], lab.folder(), name, &places);
    (apps, places)
}

/// A node all of whose ports are well.
fn ground() -> Ground {
    let metrics = format!("[metrics]\nlisten = \"{LISTEN}\"\n{CONFIG}");
    let scene = Scene::on(Lab::routed(), &Config::with(&metrics));
    let (dies, mut places) = four(&scene.lab, 0, "many1");
    let (stays, more) = four(&scene.lab, 1, "many2");
    places.extend(more);
    let places: Vec<String> = places.iter().map(ToString::to_string).collect();
    let number = MANY.to_string();
    let mut words = vec!["many", "--port", &number];
    words.extend(places.iter().flat_map(|place| ["--backend", place]));
    scene.agent.create(&words);
    let [first, second] = [0, 1].map(|index| scene.app(index).to_string());
    for (name, backend, setting) in [
        ("one", &first, "max_per_client=2048"),
        ("two", &second, "max_per_client=2048"),
        ("udp-few", &first, "max_connections=1"),
        ("udp-denied", &first, "denied_cidrs=0.0.0.0/0"),
    ] {
        scene.agent.create(&[name, "--backend", backend, setting]);
    }
    let mut ground = Ground::new(scene);
    ground.kept.push(Box::new(stays));
    ground.dies = Some(Box::new(dies));
    ground
}

#[test]
fn alerts_of_a_node_fire_by_their_faults_and_not_before() {
    allow_many_descriptors();
    ground().suffer(FAULTS);
}
