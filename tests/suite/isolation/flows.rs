//! Strangers who want all flows: handshakes without end, forged datagrams that are answered, idle
//! connections. Another port's clients notice nothing.

use std::{
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use kit::{
    CLIENT_MAC, Config, Family, Lab, NODE_MAC, Netns, V4, Wire, eventually,
    frame::{Checksum, Frame, Transport, Udp},
    traffic,
};
use nix::{
    errno::Errno,
    libc,
    sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage, sockopt},
};

use serde_json::json;

use crate::{
    flood::flood,
    gateway::{Ground, order},
    scene::{FAMILIES, Scene},
};

const SOON: Duration = Duration::from_secs(20);
/// How long somebody waits for a connection that may be refused by silence.
const MOMENT: Duration = Duration::from_millis(300);
/// The table of the attacked node.
const FLOWS: u64 = 2_048;
/// Who attacks, and how many connections each wants.
const ATTACKERS: std::ops::Range<u8> = 60..66;
const WANTED: usize = 400;
/// Connects of others meanwhile.
const CONNECTS: usize = 200;
/// Where an app listens that says nothing and never closes.
const SILENT: u16 = 9_400;

fn scene(family: Family, more: &str) -> Scene {
    let config = format!("[datapath]\nflows = {FLOWS}\n{more}");
    Scene::on(Lab::routed(), &Config::with(&config)).of(family)
}

/// Begins connections from an address and does not wait for them.
pub(super) fn begin(host: &Netns, from: IpAddr, to: SocketAddr, count: usize) -> Vec<TcpStream> {
    host.enter(|| {
        let begin = |_| {
            let family = match to {
                SocketAddr::V4(_) => AddressFamily::Inet,
                SocketAddr::V6(_) => AddressFamily::Inet6,
            };
            let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
            let socket = socket::socket(family, SockType::Stream, flags, None).unwrap();
            // They leave by a reset, as somebody does who is cut off.
            let at_once = libc::linger {
                l_onoff: 1,
                l_linger: 0,
            };
            socket::setsockopt(&socket, sockopt::Linger, &at_once).unwrap();
            let [from, to] = [SocketAddr::new(from, 0), to].map(SockaddrStorage::from);
            socket::bind(socket.as_raw_fd(), &from).unwrap();
            assert_eq!(
                socket::connect(socket.as_raw_fd(), &to),
                Err(Errno::EINPROGRESS)
            );
            TcpStream::from(socket)
        };
        (0..count).map(begin).collect()
    })
}

/// An app that takes every connection and says nothing.
pub(super) struct Silent {
    pub(super) at: SocketAddr,
    ends: Arc<AtomicBool>,
}

impl Silent {
    pub(super) fn serve(scene: &Scene, family: Family) -> Self {
        let at = SocketAddr::new(scene.lab.app(family, 0), SILENT);
        let listener = scene.lab.apps[0].enter(|| TcpListener::bind(at)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&ends);
        thread::spawn(move || {
            let mut held = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => held.push(stream),
                    Err(_) => thread::sleep(Duration::from_millis(2)),
                }
            }
        });
        Self { at, ends }
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

/// How many flows of any kind the node has.
fn flows(scene: &Scene) -> u64 {
    scene.agent.ctl_json(&["flows", "count"])["flows"]
        .as_u64()
        .unwrap()
}

/// State and text of the flow table's row in `status`.
fn flows_part(scene: &Scene) -> (String, String) {
    let status = scene.agent.ctl_json_whatever(&["status"]);
    ["state", "text"]
        .map(|key| status["flows"][key].as_str().unwrap().to_owned())
        .into()
}

/// What each client keeps at all ports together.
fn kept_by_client(scene: &Scene) -> Vec<u64> {
    let rows = scene.agent.dump("clients");
    let at_all_ports = |row: &&serde_json::Value| row["key"]["frontend"].is_null();
    let rows = rows.iter().filter(at_all_ports);
    rows.map(|row| row["value"]["kept"].as_u64().unwrap())
        .collect()
}

/// One more address of the clients' host; of IPv6, with a network of its own.
pub(super) fn attacker(scene: &Scene, family: Family, host: u8) -> IpAddr {
    let (from, bits) = match family {
        V4 => (scene.lab.client_host(family, host), 24),
        Family::V6 => {
            let segments = [0xfd77, 0xa, 0, host.into(), 0, 0, 0, host.into()];
            (IpAddr::from(segments), 64)
        }
    };
    let add = format!("addr add {from}/{bits} dev eth0 nodad");
    scene.lab.client.ip(&add);
    if from.is_ipv6() {
        let via = scene.lab.client_address(family);
        scene.lab.node.ip(&format!("route add {from}/64 via {via}"));
    }
    from
}

#[test]
fn six_clients_that_want_every_flow_leave_other_ports_alone() {
    kit::allow_many_descriptors();
    for family in FAMILIES {
        let scene = scene(family, "");
        let silent = Silent::serve(&scene, family);
        let number = scene
            .agent
            .create(&["attacked", "--backend", &silent.at.to_string()]);
        let (attacked, beside) = (scene.at(number), scene.port("web"));
        let live = traffic::Live::open(&scene.lab.client, beside, 20);

        let kept = || kept_by_client(&scene);
        let told = |kind: &str, name: &str| {
            let events = scene.agent.items(&["events", "--kind", kind]);
            let mut texts = events.iter().map(|event| event["text"].to_string());
            texts.any(|text| text.contains("flows") && text.contains(name))
        };
        // Shown while it is so, and kept as an event.
        let is_named = |name: &str, wanted: &str| {
            eventually(SOON, || {
                let (state, text) = flows_part(&scene);
                state == wanted && text.contains(name)
            });
            eventually(SOON, || told("limit_reached", name));
        };
        let mut held = Vec::new();
        for host in ATTACKERS {
            let from = attacker(&scene, family, host);
            held.push((from, begin(&scene.lab.client, from, attacked, WANTED)));
            if host == ATTACKERS.start {
                // No client keeps more than a sixteenth of the table, and the port no more than a quarter:
                // among six each has less than that sixteenth.
                eventually(SOON * 2, || kept().iter().any(|kept| *kept >= FLOWS / 16));
                // A client at its limit harms nobody else.
                is_named("client ", "ok");
            }
        }
        eventually(SOON * 2, || kept().iter().sum::<u64>() >= FLOWS / 4);
        let tally = traffic::connect(&scene.lab.client, beside, CONNECTS);
        assert_eq!(tally.errors, Vec::<String>::new(), "{family:?}");
        // While a handshake is under way it counts for nobody: some more than the share may come through.
        let all: u64 = kept().iter().sum();
        assert!(all <= FLOWS / 4 * 3 / 2 + 100, "{family:?}: {all}");
        // What is full takes turns with what waits to come in, so a packet may find room at one moment.
        let (first, ..) = &held[0];
        let (source, to) = (
            SocketAddr::new(*first, 50_000).to_string(),
            attacked.to_string(),
        );
        eventually(SOON, || {
            let words = ["explain", "--src", &source, "--dst", &to];
            let said = scene.agent.ctl_json_whatever(&words).to_string();
            said.contains("client-quota") || said.contains("flow-ceiling")
        });
        let full = format!("port {number}/tcp");
        is_named(&full, "degraded");
        eventually(SOON, || {
            let shown = scene.agent.ctl_json(&["ports", "show", "attacked"]);
            shown["full"].to_string().contains(&full)
        });
        live.progress();
        drop(held);
        // Of so many resets at once some are lost: the app's own ends are answered until all are over.
        drop(silent);
        eventually(SOON * 2, || kept().iter().sum::<u64>() <= 20);
        eventually(SOON * 3, || told("limit_left", &full));
        assert_eq!(live.finish().errors, Vec::<String>::new(), "{family:?}");
    }
}

#[test]
fn forged_questions_that_are_answered_leave_room_for_others() {
    /// A table in which a flow of one question may wait for its answer as long as in one of the usual
    /// size.
    const MANY: u64 = 65_536;
    for family in FAMILIES {
        let config = Config::with(&format!("[datapath]\nflows = {MANY}\n"));
        let scene = Scene::on(Lab::routed(), &config).of(family);
        let (asked, beside) = (scene.port("udp-game"), scene.port("web"));
        let one = traffic::Asker::new(&scene.lab.client, family);
        one.ask(asked, b"who").unwrap();
        // The client has spoken again: its flow stays.
        one.ask(asked, b"who").unwrap();
        let live = traffic::Live::open(&scene.lab.client, beside, 20);
        let (ends, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        let (tally, answer) = thread::scope(|scope| {
            let frames = questions(&scene, family, asked);
            scope.spawn(|| flood(&scene, frames, &ends, &sent));
            while sent.load(Ordering::Relaxed) < 2 * MANY {
                thread::yield_now();
            }
            let tally = traffic::connect(&scene.lab.client, beside, CONNECTS / 2);
            // The flooded app itself may lose a question; a table without room would lose each.
            let answer = (0..10).find_map(|_| {
                let other = traffic::Asker::new(&scene.lab.client, family);
                other.try_ask(asked, b"who", Duration::from_secs(1))
            });
            ends.store(true, Ordering::Relaxed);
            (tally, answer)
        });
        assert_eq!(tally.errors, Vec::<String>::new(), "{family:?}");
        assert!(answer.is_some(), "{family:?}");
        let left = flows(&scene);
        assert!(left <= MANY / 2, "{family:?}: {left} of {MANY}");
        one.ask(asked, b"who").unwrap();
        live.progress();
        assert_eq!(live.finish().errors, Vec::<String>::new(), "{family:?}");
    }
}

/// Datagrams from all over the clients' network, each from another port.
pub(super) fn questions(
    scene: &Scene,
    family: Family,
    to: SocketAddr,
) -> impl Iterator<Item = Vec<u8>> + Send + use<> {
    let hosts: Vec<IpAddr> = (3..253)
        .map(|host| scene.lab.client_host(family, host))
        .collect();
    (0u32..).map(move |number| {
        let datagram = Udp {
            source: 1_024 + (number % 60_000) as u16,
            destination: to.port(),
            checksum: Checksum::Full,
            payload: b"who".to_vec(),
        };
        let from = hosts[number as usize % hosts.len()];
        let addresses = (from, to.ip());
        Frame::ip(NODE_MAC, CLIENT_MAC, addresses, Transport::Udp(datagram)).bytes()
    })
}

#[test]
fn connections_that_carry_nothing_make_room_and_those_in_use_stay() {
    kit::allow_many_descriptors();
    for family in FAMILIES {
        // As if a thousand addresses had a few connections each.
        let limits = format!("[limits]\nflows_per_port = {FLOWS}\nflows_per_client = {FLOWS}\n");
        let scene = scene(family, &limits);
        let silent = Silent::serve(&scene, family);
        let number = scene
            .agent
            .create(&["attacked", "--backend", &silent.at.to_string()]);
        let (attacked, beside) = (scene.at(number), scene.port("web"));
        let live = traffic::Live::open(&scene.lab.client, beside, 20);
        // Said something once, and silent since.
        let rested = scene
            .lab
            .client
            .enter(|| TcpStream::connect(beside).unwrap());
        let from = scene.lab.client_address(family);
        let mut held = Vec::new();
        // Few at a time: of half-open ones only some have room.
        eventually(SOON * 3, || {
            held.extend(begin(&scene.lab.client, from, attacked, 64));
            flows(&scene) > FLOWS * 9 / 10
        });
        eventually(SOON, || flows_part(&scene).0 == "degraded");
        eventually(SOON * 3, || flows(&scene) < FLOWS * 8 / 10);
        let tally = traffic::connect(&scene.lab.client, beside, CONNECTS / 4);
        assert_eq!(tally.errors, Vec::<String>::new(), "{family:?}");
        live.progress();
        assert_eq!(live.finish().errors, Vec::<String>::new(), "{family:?}");
        drop(held);
        let list = scene.agent.items(&["flows", "list", "-p", "web"]);
        let own = rested.local_addr().unwrap().to_string();
        assert!(
            list.iter().any(|flow| flow["client"] == own),
            "{family:?}: {list:?}"
        );
    }
}

#[test]
fn a_stream_to_a_client_that_asked_once_outlives_a_flood_of_questions() {
    for family in FAMILIES {
        let scene = scene(family, "");
        let at = SocketAddr::new(scene.lab.app(family, 0), 9_401);
        let app = scene.lab.apps[0].enter(|| UdpSocket::bind(at)).unwrap();
        let number = scene
            .agent
            .create(&["udp-feed", "--backend", &at.to_string()]);
        let to = scene.at(number);
        let from = SocketAddr::new(scene.lab.client_address(family), 40_000);
        let client = scene.lab.client.enter(|| UdpSocket::bind(from).unwrap());
        client.set_read_timeout(Some(SOON)).unwrap();
        client.send_to(b"more", to).unwrap();
        app.set_read_timeout(Some(SOON)).unwrap();
        let (_, asker) = app.recv_from(&mut [0; 64]).unwrap();
        let feed = |count: u32| {
            for _ in 0..count {
                app.send_to(b"news", asker).unwrap();
                let (_, sender) = client.recv_from(&mut [0; 64]).unwrap();
                assert_eq!(sender, to);
            }
        };
        feed(10);
        let wire = Wire::open(&scene.lab.client, "eth0");
        for (sent, frame) in (1..=4 * FLOWS).zip(questions(&scene, family, to)) {
            wire.send(&frame);
            if sent % 64 == 0 {
                feed(1);
            }
        }
        feed(10);
    }
}

#[test]
fn an_organization_that_keeps_all_that_it_may_opens_no_more_and_others_do() {
    const MOST: usize = 6;
    let mut ground = Ground::start(&format!("[limits]\nflows_per_organization = {MOST}\n"));
    let app = SocketAddr::new(ground.lab.app(V4, 0), 9_402);
    let _app = traffic::serve(&ground.lab.apps[0], ground.lab.folder(), "app", &[app]);
    let mut port = |name: &str, organization: &str| {
        let mut asked = order(name, &json!({}));
        asked["organization_guid"] = organization.into();
        assert_eq!(ground.platform.provision(name, &asked).0, 201);
        let backend = ["backends", "add", name, &app.to_string()];
        ground.agent.ctl(&backend).ok();
        let shown = ground.agent.ctl_json(&["ports", "show", name]);
        let number = shown["port"].as_u64().unwrap();
        SocketAddr::new(ground.lab.public(V4), u16::try_from(number).unwrap())
    };
    let (one, two) = (port("one", "full"), port("two", "full"));
    let other = port("other", "another");
    let client = &ground.lab.client;
    let live = [one, two].map(|to| traffic::Live::open(client, to, MOST / 2));
    // The agent counts once a second, and says it to both of the organization's ports.
    let opens = |to| client.enter(|| TcpStream::connect_timeout(&to, MOMENT).is_ok());
    eventually(SOON, || !opens(one) && !opens(two));
    assert_eq!(
        traffic::connect(client, other, 10).errors,
        Vec::<String>::new()
    );
    eventually(SOON, || {
        let status = ground.agent.ctl_json_whatever(&["status"]);
        let said = status["flows"]["text"].as_str().unwrap();
        said.contains("organization full")
    });
    for live in live {
        assert_eq!(live.finish().errors, Vec::<String>::new());
    }
    eventually(SOON, || opens(one) && opens(two));
}
