//! Strangers who want all of the proxy's descriptors: forged datagrams, connections that nobody closes,
//! handshakes that nobody finishes. Others' TLS ports and live connections notice nothing.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use kit::{
    Config, Lab, V4, Wire,
    app_host::{self, Instance},
    certify, eventually, finish_within, traffic,
};
use nix::sys::socket::{getsockopt, sockopt::SocketError};

use super::flows::{Silent, attacker, begin, questions};
use crate::{engines::Engine, proxy::tls, scene::Scene};

const SOON: Duration = Duration::from_secs(20);
/// What the agent may have: 750 are left for flows, or so.
const DESCRIPTORS: &str = "--nofile=1024";
/// New TLS connections of the victim's clients, each time that they are counted.
const CONNECTS: usize = 50;
/// Connections of others that are in use all the time.
const LIVE: usize = 10;
/// Who attacks: so many that the shares of clients are not what holds.
const ATTACKERS: std::ops::Range<u8> = 60..84;
/// Datagrams that come at once, a hundred times a second.
const AT_ONCE: usize = 30;
/// An app host that is silent for so long has lost its lease.
const LEASE: Duration = Duration::from_secs(17);
/// KiB that the agent may grow by.
const MOST_GROWN: u64 = 64 << 10;

/// A node with a TLS port, connections in use and an app host's lease, before anybody attacks it.
struct Ground {
    live: traffic::Live,
    scene: Scene,
    _leased: Instance,
    tls: u16,
    trusts: PathBuf,
    before: (usize, u64),
    slowest: Duration,
}

impl Ground {
    fn start(engine: Engine, more: &str) -> Self {
        kit::allow_many_descriptors();
        let lab = Lab::routed();
        let folder = lab.folder().join("certificates");
        fs::create_dir(&folder).unwrap();
        // Of every port of this node that ends TLS.
        certify(&folder, "harbor", "DNS:web.test");
        tls::serve(&lab);
        let side = app_host::reachable(&lab, "17s");
        let config = Config {
            wrapper: vec!["prlimit".into(), DESCRIPTORS.into()],
            ..Config::with(&format!("{side}[tls]\nfolder = {folder:?}\n{more}"))
        };
        let mut scene = engine.on(lab, &config);
        let web = SocketAddr::new(scene.lab.app(V4, 0), tls::WEB).to_string();
        let tls = scene.agent.create(&["web-https", "--backend", &web]);
        scene.agent.create(&["leased"]);
        let leased = Instance::start(&scene.lab, 1, ("leased", "one"), 4_100, &[]);
        // Clients on the node itself are the proxy's, whoever serves those on the wire.
        let beside = scene.port("beside");
        let live = traffic::Live::open(&scene.lab.node, beside, LIVE);
        let before = (descriptors(&mut scene), scene.agent.process().memory());
        let trusts = folder.join("harbor.crt");
        let mut ground = Self {
            live,
            scene,
            _leased: leased,
            tls,
            trusts,
            before,
            slowest: Duration::ZERO,
        };
        assert_eq!(ground.connects(), CONNECTS, "before the attack");
        ground.before.1 = ground.scene.agent.process().memory();
        ground
    }

    /// A proxied port whose app takes every connection and never closes one.
    fn attacked(&self, name: &str, silent: &Silent) -> SocketAddr {
        let agent = &self.scene.agent;
        let number = agent.create(&[name, "--backend", &silent.at.to_string()]);
        agent
            .ctl(&["ports", "set", name, "client_ip=proxy-v1"])
            .ok();
        self.scene.at(number)
    }

    fn attackers(&self) -> Vec<IpAddr> {
        ATTACKERS
            .map(|host| attacker(&self.scene, V4, host))
            .collect()
    }

    /// New TLS connections that were answered.
    fn connects(&self) -> usize {
        let (port, to) = (self.tls, self.scene.lab.public(V4));
        let mut curl = self.scene.lab.client.command("curl");
        curl.args(["--silent", "--show-error", "--max-time", "10"]);
        curl.args(["--resolve", &format!("web.test:{port}:{to}")]);
        curl.arg("--cacert").arg(&self.trusts);
        curl.arg(format!("https://web.test:{port}/[1-{CONNECTS}]"));
        let done = finish_within(Duration::from_secs(600), &mut curl);
        let answered = done.stdout.lines().filter(|line| *line == "hello").count();
        if answered < CONNECTS {
            println!("{}", done.stderr.lines().take(3).collect::<String>());
        }
        answered
    }

    /// What others see while the attack goes on.
    fn withstands(&mut self, what: &str) {
        assert_eq!(self.connects(), CONNECTS, "{what}");
        self.live.progress();
        for _ in 0..10 {
            let begun = Instant::now();
            let status = self.scene.agent.ctl(&["--timeout", "30s", "status"]);
            assert!([0, 7].contains(&status.code), "{what}: {}", status.stderr);
            self.slowest = self.slowest.max(begun.elapsed());
        }
        let grown = self.scene.agent.process().memory();
        let grown = grown.saturating_sub(self.before.1);
        let (slowest, used) = (self.slowest, descriptors(&mut self.scene));
        println!("{what}: status took {slowest:?} at most; {used} descriptors, {grown} KiB more");
        assert!(grown < MOST_GROWN, "{what}: {grown} KiB");
    }

    /// The text of the proxy's row in `status`.
    fn row(&self) -> String {
        let status = self.scene.agent.ctl_json_whatever(&["status"]);
        status["proxy"].to_string()
    }

    /// The texts of the events of a kind.
    fn told(&self, kind: &str) -> Vec<String> {
        let events = self.scene.agent.items(&["events", "--kind", kind]);
        let text = |event: &serde_json::Value| event["text"].as_str().unwrap().to_owned();
        events.iter().map(text).collect()
    }

    /// Everything is as it was before the attack.
    fn recovers(mut self, what: &str) {
        let before = self.before.0;
        eventually(SOON * 3, || descriptors(&mut self.scene) < before + 30);
        self.withstands(&format!("after {what}"));
        assert_eq!(self.told("lease_ended"), Vec::<String>::new(), "{what}");
        assert_eq!(self.live.finish().errors, Vec::<String>::new(), "{what}");
    }
}

fn descriptors(scene: &mut Scene) -> usize {
    let id = scene.agent.process().id();
    fs::read_dir(format!("/proc/{id}/fd")).unwrap().count()
}

fn hold(ground: &Ground, from: &[IpAddr], to: SocketAddr, each: usize) -> Vec<TcpStream> {
    let client = &ground.scene.lab.client;
    let held = from.iter().flat_map(|from| begin(client, *from, to, each));
    held.collect()
}

/// Waits until every connection stands or was refused.
fn settle(held: &[TcpStream]) {
    let mut left: Vec<&TcpStream> = held.iter().collect();
    eventually(SOON * 3, || {
        // An error is told once.
        let waits = |stream: &&TcpStream| {
            getsockopt(stream, SocketError).unwrap() == 0 && stream.peer_addr().is_err()
        };
        left.retain(waits);
        left.is_empty()
    });
}

/// Ends the flood, whatever becomes of the test.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a client gets of the attacked port.
fn answer(ground: &Ground, to: SocketAddr) -> std::io::Result<usize> {
    let client = &ground.scene.lab.client;
    let socket = client.enter(|| UdpSocket::bind((V4.any(), 0)))?;
    socket.set_read_timeout(Some(SOON))?;
    socket.send_to(b"who", to)?;
    socket.recv(&mut [0; 256])
}

#[test]
fn forged_datagrams_to_a_proxied_port_leave_the_tls_ports_to_others() {
    for engine in [Engine::Tc, Engine::Proxy] {
        let mut ground = Ground::start(engine, "[timeouts]\nudp_single = \"5s\"\n");
        let app = ground.scene.app(0).to_string();
        let agent = &ground.scene.agent;
        let number = agent.create(&["udp-game", "--backend", &app]);
        let proxied = ["ports", "set", "udp-game", "client_ip=proxy-v2"];
        agent.ctl(&proxied).ok();
        let to = ground.scene.at(number);
        // Answers to forged senders leave, and do not wait in the port's socket for a neighbour.
        let known = (3..253).map(|host| {
            let host = ground.scene.lab.client_host(V4, host);
            format!("neigh replace {host} lladdr 02:00:00:00:01:02 dev eth0 nud permanent\n")
        });
        ground.scene.lab.node.ip(&known.collect::<String>());
        let (ends, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        let wire = Wire::open(&ground.scene.lab.client, "eth0");
        let mut frames = questions(&ground.scene, V4, to);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !ends.load(Ordering::Relaxed) {
                    frames
                        .by_ref()
                        .take(AT_ONCE)
                        .for_each(|frame| wire.send(&frame));
                    sent.fetch_add(AT_ONCE as u64, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(10));
                }
            });
            let ending = Ending(&ends);
            let begun = Instant::now();
            while sent.load(Ordering::Relaxed) < 3_000 {
                thread::yield_now();
            }
            while begun.elapsed() < LEASE + LEASE / 2 {
                ground.withstands(&format!("{engine:?}, forged datagrams"));
            }
            let answer = answer(&ground, to);
            drop(ending);
            assert!(answer.is_ok(), "{engine:?}: {answer:?}");
        });
        println!("{engine:?}: {} datagrams", sent.load(Ordering::Relaxed));
        ground.recovers("forged datagrams");
    }
}

#[test]
fn connections_that_no_app_closes_leave_the_tls_ports_to_others_and_end_after_their_clients() {
    for engine in [Engine::Tc, Engine::Proxy] {
        let mut ground = Ground::start(engine, "[proxy]\nhalf_closed = \"3s\"\n");
        let silent = Silent::serve(&ground.scene, V4);
        let to = ground.attacked("attacked", &silent);
        let from = ground.attackers();
        let held = hold(&ground, &from, to, 50);
        settle(&held);
        ground.withstands(&format!("{engine:?}, connections that nobody closes"));
        let share = format!("port {}/tcp", to.port());
        assert!(ground.row().contains(&share), "{}", ground.row());
        // Told with the next round.
        let is_told = |kind| ground.told(kind).iter().any(|text| text.contains(&share));
        eventually(SOON, || is_told("limit_reached"));
        let shown = ground.scene.agent.ctl(&["ports", "show", "attacked"]).ok();
        assert!(shown.stdout.contains("Full"), "{}", shown.stdout);
        // The clients go, in good order; the app does not.
        for stream in &held {
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
        ground.withstands(&format!("{engine:?}, clients have gone"));
        ground.recovers("connections that nobody closes");
        drop(held);
    }
}

#[test]
fn handshakes_that_nobody_finishes_leave_tls_to_others() {
    for engine in [Engine::Tc, Engine::Proxy] {
        let mut ground = Ground::start(engine, "");
        let web = SocketAddr::new(ground.scene.lab.app(V4, 0), tls::WEB).to_string();
        let names = ["shaken-https", "--backend", &web];
        let (beside, attacked) = (ground.tls, ground.scene.agent.create(&names));
        let to = ground.scene.at(attacked);
        let mut held = hold(&ground, &ground.attackers(), to, 50);
        settle(&held);
        // The head of a record, and most of a greeting that never ends.
        let head = b"\x16\x03\x01\x40\x00\x01\x00\xff\xff\x03\x03";
        let greeting = [&head[..], &[7; 15_000]].concat();
        for stream in &mut held {
            let _ = stream.write(&greeting);
        }
        ground.withstands(&format!("{engine:?}, handshakes"));
        // The attacked port serves as well: who is new takes the place of who says nothing.
        ground.tls = attacked;
        eventually(SOON, || ground.connects() == CONNECTS);
        ground.tls = beside;
        ground.recovers("handshakes");
        drop(held);
    }
}

#[test]
fn silent_connections_at_many_ports_make_room_for_newcomers() {
    for engine in [Engine::Tc, Engine::Proxy] {
        let mut ground = Ground::start(engine, "");
        let silent = Silent::serve(&ground.scene, V4);
        let from = ground.attackers();
        let mut held = Vec::new();
        for number in 0..8 {
            let to = ground.attacked(&format!("attacked-{number}"), &silent);
            held.extend(hold(&ground, &from, to, 4));
        }
        settle(&held);
        ground.withstands(&format!("{engine:?}, many ports"));
        drop(held);
        ground.recovers("silent connections at many ports");
    }
}

#[test]
fn a_port_whose_connections_all_speak_has_its_share_and_takes_none_of_others() {
    for engine in [Engine::Tc, Engine::Proxy] {
        let mut ground = Ground::start(engine, "");
        let silent = Silent::serve(&ground.scene, V4);
        let to = ground.attacked("attacked", &silent);
        let mut held = hold(&ground, &ground.attackers(), to, 50);
        settle(&held);
        for stream in &mut held {
            let _ = stream.write(b"hello");
        }
        ground.withstands(&format!("{engine:?}, connections that speak"));
        drop(held);
        ground.recovers("connections that speak");
    }
}

#[test]
fn a_greeting_that_is_too_long_ends_before_one_that_is_only_late() {
    let ground = Ground::start(Engine::Proxy, "");
    let to = ground.scene.at(ground.tls);
    let connect = || {
        let client = &ground.scene.lab.client;
        let stream = client.enter(|| TcpStream::connect(to)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    };
    let (mut late, mut long) = (connect(), connect());
    late.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
    // Records of one message that the library would wait for.
    let mut record = b"\x16\x03\x01\x0f\xa0\x01\x00\xff\xfb\x03\x03".to_vec();
    record.resize(5 + 4_000, 7);
    for _ in 0..6 {
        let _ = long.write_all(&record);
    }
    let ended = long.read(&mut [0]);
    assert!(matches!(ended, Ok(0)) || ended.is_err_and(|error| is_over(&error)));
    late.set_nonblocking(true).unwrap();
    let waits = late.read(&mut [0]).unwrap_err();
    assert_eq!(waits.kind(), ErrorKind::WouldBlock);
}

fn is_over(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
    )
}
