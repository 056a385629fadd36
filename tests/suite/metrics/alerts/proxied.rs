//! Faults of a node whose proxy forwards: descriptors that run out, and certificates that end.

use std::{
    fs,
    io::Read as _,
    net::{SocketAddr, TcpStream},
};

use kit::{Config, Lab, V4, allow_many_descriptors, bound, certify, certify_briefly, eventually};

use super::{
    super::{LISTEN, scrape},
    Fault, Ground, SOON,
};
use crate::engines::Engine;

const CERTIFIED: &str = "web-https";
/// One port, and clients of one address, may have all that there is.
const SHARES: &str =
    "[proxy]\ndescriptors_per_port = \"100%\"\ndescriptors_per_client = \"100%\"\n";
/// Seconds in which a new pair is taken over, though it is about to end.
const BRIEFLY: u32 = 15;
const DESCRIPTORS: &str = "--nofile=512";

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        alerts: &["HarborCertificateExpires"],
        make: |ground| {
            let folder = ground.scene.lab.folder().join("certificates");
            // It is good for three days.
            certify(&folder, CERTIFIED, "DNS:web.example");
            let app = ground.scene.app(0).to_string();
            ground.scene.agent.create(&[CERTIFIED, "--backend", &app]);
        },
    },
    Fault {
        alerts: &["HarborCertificateExpired", "HarborPartDegraded"],
        make: |ground| {
            let folder = ground.scene.lab.folder().join("certificates");
            certify_briefly(&folder, CERTIFIED, "DNS:web.example", BRIEFLY);
        },
    },
    Fault {
        alerts: &["HarborDescriptorsNearlyUsedUp"],
        make: |ground| {
            let to = served(ground);
            let used = |ground: &Ground| {
                let found = scrape(&ground.scene);
                let limit = found.of("harbor_proxy_descriptors_limit", "");
                found.of("harbor_proxy_descriptors", "") / limit
            };
            eventually(SOON, || {
                let is_enough = used(ground) > 0.8;
                if !is_enough {
                    ground.kept.extend(connect(ground, to, 2));
                }
                is_enough
            });
        },
    },
    Fault {
        alerts: &["HarborProxyTurnsAway"],
        make: |ground| {
            let to = served(ground);
            let crowd = connect(ground, to, 200);
            ground.kept.extend(crowd);
        },
    },
];

fn served(ground: &Ground) -> SocketAddr {
    let shown = ground.scene.agent.ctl_json(&["ports", "show", "plain"]);
    ground
        .scene
        .at(u16::try_from(shown["port"].as_u64().unwrap()).unwrap())
}

/// Clients that stay, served or not.
fn connect(ground: &Ground, to: SocketAddr, count: usize) -> Vec<Box<dyn std::any::Any>> {
    let from = SocketAddr::new(V4.any(), 0);
    let dial = || -> Option<TcpStream> {
        let mut stream = bound::dial(from, to).ok()?;
        stream.read_exact(&mut [0; "app1\n".len()]).ok()?;
        Some(stream)
    };
    let client = &ground.scene.lab.client;
    let clients = client.enter(|| (0..count).filter_map(|_| dial()).collect::<Vec<_>>());
    let kept = clients.into_iter();
    kept.map(|stream| Box::new(stream) as Box<dyn std::any::Any>)
        .collect()
}

#[test]
fn alerts_of_a_proxy_fire_by_their_faults_and_not_before() {
    allow_many_descriptors();
    let lab = Lab::routed();
    let folder = lab.folder().join("certificates");
    fs::create_dir(&folder).unwrap();
    let more = format!("[metrics]\nlisten = \"{LISTEN}\"\n[tls]\nfolder = {folder:?}\n{SHARES}");
    let config = Config {
        wrapper: vec!["prlimit".into(), DESCRIPTORS.into()],
        ..Config::with(&more)
    };
    let scene = Engine::Proxy.on(lab, &config);
    scene.port("plain");
    Ground::new(scene).suffer(FAULTS);
}
