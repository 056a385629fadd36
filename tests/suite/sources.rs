//! More addresses that backends see: `[datapath].source_addresses`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use kit::{
    APP_MACS, CLIENT_MAC, Config, Family, Lab, NODE_BACKEND_MAC, NODE_MAC,
    frame::{Frame, Tcp, Transport, flag, parse},
    traffic::{self, Live},
    verdict::Prober,
};

use crate::scene::{APP_PORT, FAMILIES, Scene};

/// The smallest range that is taken, and so many flows to one backend that one address cannot do.
const SOURCE_PORTS: &str = "10240-11263";
const FLOWS: u16 = 2_000;

/// Two more addresses of the node on the app hosts' side.
fn more(lab: &Lab, family: Family) -> [IpAddr; 2] {
    [201, 202].map(|host| lab.backend_host(family, host))
}

/// A scene whose node has more addresses, and may leave with them.
fn scene() -> Scene {
    let lab = Lab::routed();
    let mut names = Vec::new();
    for family in FAMILIES {
        for address in more(&lab, family) {
            // Of IPv6 the kernel would prefer the newest, were it not deprecated.
            let (bits, how) = match family {
                Family::V4 => (24, ""),
                Family::V6 => (64, "nodad preferred_lft 0"),
            };
            let device = lab.backend_side();
            lab.node
                .ip(&format!("addr add {address}/{bits} dev {device} {how}"));
            names.push(address.to_string());
        }
    }
    let config =
        format!("[datapath]\nsource_ports = {SOURCE_PORTS:?}\nsource_addresses = {names:?}\n");
    Scene::on(lab, &Config::with(&config))
}

/// The addresses that a port's backends see, and how many flows each.
fn seen(scene: &Scene) -> BTreeMap<IpAddr, usize> {
    let mut seen = BTreeMap::new();
    for flow in scene.agent.items(&["flows", "list"]) {
        let source: SocketAddr = flow["source"].as_str().unwrap().parse().unwrap();
        *seen.entry(source.ip()).or_default() += 1;
    }
    seen
}

#[test]
fn backends_see_every_source_address_and_answers_find_back() {
    for family in FAMILIES {
        let scene = scene().of(family);
        let to = scene.port("web");
        let live = Live::open(&scene.lab.client, to, 60);
        let seen = seen(&scene);
        println!("{family:?}: {seen:?}");
        let [second, third] = more(&scene.lab, family);
        let expected = BTreeSet::from([scene.lab.translation(family), second, third]);
        assert_eq!(seen.keys().copied().collect::<BTreeSet<_>>(), expected);
        let asked = traffic::ask(&scene.lab.client, scene.port("udp-dns"), 60);
        assert_eq!(asked.of("app1"), 60, "{asked:?}");
        live.progress();
        assert_eq!(live.finish().errors, Vec::<String>::new());
    }
}

#[test]
fn flows_to_one_backend_are_not_bounded_by_one_addresses_source_ports() {
    for family in FAMILIES {
        let scene = scene().of(family);
        let app = scene.app(0).to_string();
        let port = scene.agent.create(&["web", "--backend", &app]);
        let to = scene.at(port);
        let sides = [scene.lab.client_side(), scene.lab.backend_side()];
        let [client, backend] = sides.map(|side| Prober::attached(&scene.lab, side));
        let from = scene.lab.client_address(family);
        let mut taken = BTreeSet::new();
        for number in 40_000..40_000 + FLOWS {
            let ports = (number, to.port());
            let opened = segment(CLIENT, (from, to.ip()), ports, flag::SYN);
            let opened = client.run(&opened);
            assert_eq!(opened.verdict, "forward", "flow {number}");
            let opened = parse(&opened.frame).unwrap();
            let source = opened.transport.source;
            assert!(taken.insert((opened.source, source)), "{opened:?}");
            let addresses = (opened.destination, opened.source);
            let flags = flag::SYN | flag::ACK;
            let accepted = segment(APP, addresses, (APP_PORT, source), flags);
            assert_eq!(backend.run(&accepted).verdict, "forward");
            let taken = segment(CLIENT, (from, to.ip()), ports, flag::ACK);
            assert_eq!(client.run(&taken).verdict, "forward");
        }
    }
}

/// Hardware addresses of a frame from the client, and of one from the first app host.
const CLIENT: [[u8; 6]; 2] = [NODE_MAC, CLIENT_MAC];
const APP: [[u8; 6]; 2] = [NODE_BACKEND_MAC, APP_MACS[0]];

/// A segment of a handshake in which both sides begin with the same number.
fn segment(
    hardware: [[u8; 6]; 2],
    addresses: (IpAddr, IpAddr),
    ports: (u16, u16),
    flags: u8,
) -> Vec<u8> {
    let next = |begun: bool| 1_000 + u32::from(begun);
    let segment = Tcp {
        source: ports.0,
        destination: ports.1,
        sequence: next(flags == flag::ACK),
        acknowledgement: if flags == flag::SYN { 0 } else { next(true) },
        flags,
        options: Vec::new(),
        payload: Vec::new(),
    };
    Frame::ip(hardware[0], hardware[1], addresses, Transport::Tcp(segment)).bytes()
}

/// What servers ask for that believe only whoever may have such a number.
#[test]
fn flows_leave_from_below_1024_where_the_operator_says_so() {
    for family in FAMILIES {
        let config = Config::with("[datapath]\nsource_ports = \"512-1023\"\n");
        let scene = Scene::on(Lab::routed(), &config).of(family);
        let to = scene.port("web");
        let live = Live::open(&scene.lab.client, to, 20);
        let flows = scene.agent.items(&["flows", "list"]);
        assert_eq!(flows.len(), 20, "{flows:?}");
        for flow in &flows {
            let source: SocketAddr = flow["source"].as_str().unwrap().parse().unwrap();
            assert!((512..1_024).contains(&source.port()), "{flow}");
        }
        let tally = live.finish();
        assert_eq!(tally.errors, Vec::<String>::new());
    }
}
