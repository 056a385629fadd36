//! Resets on the wire, into a connection that talks: forged ones are nobody's, the client's own ends it.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use kit::{
    APP_MACS, CLIENT_MAC, Config, Family, Lab, NODE_BACKEND_MAC, NODE_MAC, Wire, bound, eventually,
    frame::{Frame, Tcp, Transport, flag},
    traffic,
};
use serde_json::Value;

use crate::scene::{FAMILIES, Scene};

const SHORT: &str = "[timeouts]\ntcp_reset = \"4s\"\n";
const FORGED: u32 = 1_000;

/// Sends resets all around the numbers that the receiver expects, none of them near.
fn forge(wire: &Wire, hardware: [[u8; 6]; 2], (from, to): (SocketAddr, SocketAddr), expected: u32) {
    for number in 1..=FORGED {
        let reset = Tcp {
            source: from.port(),
            destination: to.port(),
            sequence: expected.wrapping_add(number * (u32::MAX / (FORGED + 1))),
            acknowledgement: 0,
            flags: flag::RST,
            options: Vec::new(),
            payload: Vec::new(),
        };
        let addresses: (IpAddr, IpAddr) = (from.ip(), to.ip());
        let frame = Frame::ip(hardware[0], hardware[1], addresses, Transport::Tcp(reset));
        wire.send(&frame.bytes());
    }
}

/// What each side of the only flow has acknowledged: the client's side, then the backend's.
fn acknowledged(scene: &Scene, family: Family) -> [u32; 2] {
    let map = ["flows", "flows6"][usize::from(family == Family::V6)];
    let config = scene.agent.config_file();
    let config = ["--config", config.to_str().unwrap()];
    let rows = scene
        .agent
        .items(&[&["datapath", "dump", map], &config[..]].concat());
    ["forward", "reply"].map(|direction| {
        let is_wanted = |row: &&Value| row["value"]["direction"] == direction;
        let row = rows.iter().find(is_wanted).unwrap();
        u32::try_from(row["value"]["acknowledged"].as_u64().unwrap()).unwrap()
    })
}

#[test]
fn forged_resets_from_either_side_do_not_touch_a_live_connection() {
    for family in FAMILIES {
        let scene = Scene::on(Lab::routed(), &Config::with(SHORT)).of(family);
        let to = scene.port("web");
        let live = traffic::Live::open(&scene.lab.client, to, 1);
        let flow = scene.agent.items(&["flows", "list"]).remove(0);
        let at = |end: &str| flow[end].as_str().unwrap().parse::<SocketAddr>().unwrap();
        let [by_client, by_backend] = acknowledged(&scene, family);
        let app = usize::from(at("backend") == scene.app(1));
        let wire = Wire::open(&scene.lab.client, "eth0");
        forge(
            &wire,
            [NODE_MAC, CLIENT_MAC],
            (at("client"), to),
            by_backend,
        );
        live.progress();
        let wire = Wire::open(&scene.lab.apps[app], "eth0");
        let hardware = [NODE_BACKEND_MAC, APP_MACS[app]];
        forge(&wire, hardware, (at("backend"), at("source")), by_client);
        live.progress();
        let flows = scene.agent.items(&["flows", "list"]);
        assert_eq!((flows.len(), &flows[0]["state"]), (1, &"live".into()));
        assert_eq!(live.finish().errors, Vec::<String>::new());
    }
}

#[test]
fn the_clients_own_reset_ends_the_flow_soon() {
    for family in FAMILIES {
        let scene = Scene::on(Lab::routed(), &Config::with(SHORT)).of(family);
        let to = scene.port("web");
        let from = SocketAddr::new(scene.lab.client_address(family), 50_000);
        let stream = scene.lab.client.enter(|| bound::dial(from, to)).unwrap();
        let state = || {
            let flows = scene.agent.items(&["flows", "list"]);
            flows.first().map(|flow| flow["state"].clone())
        };
        assert_eq!(state(), Some("live".into()));
        bound::reset(&stream).unwrap();
        assert_eq!(state(), Some("closed".into()));
        eventually(Duration::from_secs(12), || state().is_none());
    }
}
