//! What strangers send to take backends from others, and what comes of it: nothing.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use kit::{
    CLIENT_MAC, NODE_MAC, Process, Wire, eventually,
    frame::{Checksum, Frame, Icmp, Tcp, Transport, Udp, flag},
    traffic::{self, Asker, Live, Tally},
};
use serde_json::Value;

use super::{SOON, Ward};
use crate::{
    engines::{Engine, scenarios},
    scene::{FAMILIES, Scene},
};

scenarios!(a_dead_one_of_ten_is_out_and_no_client_is_told,);

/// Where the first of the ten listens; the others follow.
const FIRST: u16 = 9_400;
const TEN: u16 = 10;
/// An option that says that the segment is signed (RFC 2385), with a signature that nobody expects.
const SIGNED: [u8; 20] = [19, 18, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 1, 0];

/// Ten apps behind one port, five on each app host.
struct Ten {
    apps: Vec<Process>,
    to: SocketAddr,
    backends: Vec<SocketAddr>,
}

impl Ten {
    fn begin(ward: &Ward) -> Self {
        let family = kit::Family::of(ward.app(0).ip());
        let (mut apps, mut backends) = (Vec::new(), Vec::new());
        for number in 0..TEN {
            let host = (number % 2) as u8;
            let at = SocketAddr::new(ward.lab.app(family, host), FIRST + number);
            let netns = &ward.lab.apps[usize::from(host)];
            let name = format!("ten{number}");
            apps.push(traffic::serve(netns, ward.lab.folder(), &name, &[at]));
            backends.push(at);
        }
        let texts: Vec<String> = backends.iter().map(SocketAddr::to_string).collect();
        let given = texts.iter().flat_map(|text| ["--backend", text.as_str()]);
        let words: Vec<&str> = ["ten"].into_iter().chain(given).collect();
        let to = SocketAddr::new(ward.lab.public(family), ward.agent.create(&words));
        Self { apps, to, backends }
    }
}

fn answered(tally: &Tally) -> usize {
    tally.names.values().sum()
}

fn ejections(ward: &Ward) -> Vec<Value> {
    let events = ward.agent.items(&["events"]);
    let ejected = events
        .into_iter()
        .filter(|event| event["kind"] == "backend_ejected");
    ejected.collect()
}

/// A connection request that no backend answers: its checksum is wrong, or it is signed.
fn poisoned(ward: &Ward, to: SocketAddr, port: u16) -> Vec<u8> {
    let family = kit::Family::of(to.ip());
    let is_signed = port.is_multiple_of(2);
    let syn = Transport::Tcp(Tcp {
        source: port,
        destination: to.port(),
        sequence: 1_000,
        acknowledgement: 0,
        flags: flag::SYN,
        options: if is_signed {
            SIGNED.to_vec()
        } else {
            Vec::new()
        },
        payload: Vec::new(),
    });
    let client = ward.lab.client_host(family, 90);
    let mut frame = Frame::ip(NODE_MAC, CLIENT_MAC, (client, to.ip()), syn).bytes();
    if !is_signed {
        let last = frame.len() - 1;
        // The urgent pointer, which means nothing here.
        frame[last] ^= 1;
    }
    frame
}

#[test]
fn poisoned_requests_take_no_backend_from_others() {
    for family in FAMILIES {
        let ward = Ward::new(family);
        let ten = Ten::begin(&ward);
        let wire = Wire::open(&ward.lab.client, "eth0");
        let mut shares: BTreeMap<String, usize> = BTreeMap::new();
        for round in 0..10_u16 {
            // Twenty new ones a second, and those of a second ago once more.
            for port in 0..20 {
                wire.send(&poisoned(&ward, ten.to, 50_000 + 20 * round + port));
                if round > 0 {
                    wire.send(&poisoned(&ward, ten.to, 50_000 + 20 * (round - 1) + port));
                }
            }
            std::thread::sleep(Duration::from_millis(700));
            let taken = traffic::connect(&ward.lab.client, ten.to, 6);
            assert_eq!(taken.errors, Vec::<String>::new());
            for (name, count) in taken.names {
                *shares.entry(name).or_default() += count;
            }
        }
        for number in 0..TEN {
            let name = format!("ten{number}");
            let share = shares.get(&name).copied().unwrap_or_default();
            assert!(share >= 4, "{name} has {share} of 60: {shares:?}");
        }
        assert_eq!(ejections(&ward), Vec::<Value>::new());
    }
}

fn a_dead_one_of_ten_is_out_and_no_client_is_told(engine: Engine) {
    for family in FAMILIES {
        let ward = Ward::with(family, engine.lines());
        let mut ten = Ten::begin(&ward);
        ten.apps.remove(3);
        let tally = traffic::connect(&ward.lab.client, ten.to, 60);
        assert_eq!((answered(&tally), tally.errors.len()), (60, 0), "{tally:?}");
        eventually(SOON, || !ejections(&ward).is_empty());
        let ejected = ejections(&ward);
        assert_eq!(ejected.len(), 1, "{ejected:?}");
        assert_eq!(ejected[0]["address"], ten.backends[3].to_string());
        let tally = traffic::connect(&ward.lab.client, ten.to, 20);
        assert_eq!((answered(&tally), tally.errors.len()), (20, 0), "{tally:?}");
    }
}

#[test]
fn sprayed_errors_move_no_flow_and_narrow_no_path() {
    for family in FAMILIES {
        let ward = Ward::new(family);
        let (web, game) = (ward.port("web", &[]), ward.port("udp-game", &[]));
        let live = Live::open(&ward.lab.client, web, 4);
        let asker = Asker::new(&ward.lab.client, family);
        assert_eq!(asker.ask(game, b"who").unwrap(), "app1");
        let wire = Wire::open(&ward.lab.client, "eth0");
        let (node, app) = (ward.lab.translation(family), ward.app(0));
        // Port by port, from the backend's own address, by the clients' side.
        for source in 10_240..=32_767 {
            let datagram = Transport::Udp(Udp {
                source,
                destination: app.port(),
                checksum: Checksum::Full,
                payload: b"who".to_vec(),
            });
            let segment = Transport::Tcp(Tcp {
                source,
                destination: app.port(),
                sequence: 1,
                acknowledgement: 1,
                flags: flag::ACK,
                options: Vec::new(),
                payload: vec![7; 32],
            });
            let quoted = |transport| {
                Frame::ip(NODE_MAC, CLIENT_MAC, (node, app.ip()), transport).bytes()[14..].to_vec()
            };
            for message in [
                Icmp::no_port(family, &quoted(datagram)),
                Icmp::too_big(family, 552, &quoted(segment)),
            ] {
                let message = Transport::Icmp(message);
                let frame = Frame::ip(NODE_MAC, CLIENT_MAC, (app.ip(), node), message);
                wire.send(&frame.bytes());
            }
        }
        assert_eq!(asker.ask(game, b"still").unwrap(), "app1");
        live.progress();
        assert_eq!(live.finish().errors, Vec::<String>::new());
        // Nobody's is narrower, to whatever number.
        for (host, to) in [
            (&ward.lab.client, web.ip()),
            (&ward.lab.node, app.ip()),
            (&ward.lab.apps[0], node),
        ] {
            let route = kit::finish(host.command("ip").args(["route", "get", &to.to_string()]));
            let route = route.ok().stdout;
            assert!(!route.contains("mtu"), "{route}");
        }
        assert_eq!(ejections(&ward), Vec::<Value>::new());
    }
}

#[test]
fn a_routers_word_on_the_clients_own_link_ejects_nobody() {
    for family in FAMILIES {
        let scene = Scene::bridged().of(family);
        let (to, app) = (scene.port("udp-game"), scene.app(0));
        let lab = &scene.lab;
        let client = &lab.client;
        let hosts = [2, 90].map(|host| lab.client_host(family, host));
        let length = if hosts[1].is_ipv4() { 24 } else { 64 };
        client.ip(&format!("addr add {}/{length} dev eth0", hosts[1]));
        // In the translation range, so that the port stays what it is: whoever spoofs can count on that.
        let sockets = [20_000, 20_001].map(|source| {
            let from = SocketAddr::new(hosts[usize::from(source % 2)], source);
            let socket = eventually_ok(|| client.enter(|| UdpSocket::bind(from)));
            socket.set_read_timeout(Some(SOON)).unwrap();
            socket.send_to(b"who", to).unwrap();
            socket.recv(&mut [0; 16]).unwrap();
            (source, socket)
        });
        let wire = Wire::open(client, "eth0");
        for (source, _) in &sockets {
            let datagram = Transport::Udp(Udp {
                source: *source,
                destination: app.port(),
                checksum: Checksum::Full,
                payload: b"who".to_vec(),
            });
            let (node, router) = (lab.translation(family), lab.client_host(family, 91));
            let sent = Frame::ip(NODE_MAC, CLIENT_MAC, (node, app.ip()), datagram);
            let error = Transport::Icmp(Icmp::no_host(family, &sent.bytes()[14..]));
            let error = Frame::ip(NODE_MAC, CLIENT_MAC, (router, node), error);
            wire.send(&error.bytes());
            // Two that come together would count as one.
            std::thread::sleep(Duration::from_millis(400));
        }
        for (_, socket) in &sockets {
            // The flow itself moves: it was an error about it.
            socket.send_to(b"who", to).unwrap();
            let mut name = [0; 16];
            let read = socket.recv(&mut name).unwrap();
            assert!(name[..read].starts_with(b"app2"), "{name:?}");
        }
        std::thread::sleep(Duration::from_millis(500));
        let stranger = Asker::new(client, family);
        assert_eq!(stranger.ask(to, b"who").unwrap(), "app1");
        let events = scene.agent.items(&["events"]);
        assert!(
            events
                .iter()
                .all(|event| event["kind"] != "backend_ejected"),
            "{events:?}"
        );
    }
}

/// What can be had once the address has been taken in.
fn eventually_ok<T>(mut attempt: impl FnMut() -> std::io::Result<T>) -> T {
    let mut had = None;
    eventually(SOON, || {
        had = attempt().ok();
        had.is_some()
    });
    had.unwrap()
}

#[test]
fn a_host_that_nobody_answers_for_is_out_for_datagrams_too() {
    for family in FAMILIES {
        let ward = Ward::new(family);
        let to = ward.port("udp-game", &[]);
        let asker = Asker::new(&ward.lab.client, family);
        assert_eq!(asker.ask(to, b"who").unwrap(), "app1");
        ward.lab.apps[0].ip("link set eth0 down");
        // The kernel asks for its address once more before it gives up.
        eventually(Duration::from_secs(60), || {
            let stranger = Asker::new(&ward.lab.client, family);
            let answer = stranger.try_ask(to, b"and now", Duration::from_millis(300));
            answer.is_some_and(|name| name == "app2")
        });
        // Whoever was there already goes, too.
        eventually(SOON, || {
            let answer = asker.try_ask(to, b"still", Duration::from_millis(300));
            answer.is_some_and(|name| name == "app2")
        });
        let ejected = ejections(&ward);
        assert_eq!(ejected[0]["address"], ward.app(0).to_string());
        let text = ejected[0]["text"].to_string();
        assert!(text.contains("nobody on its link answers"), "{text}");
    }
}
