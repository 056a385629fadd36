//! What runs out: descriptors, and the patience of senders whose receivers do not read.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use kit::{Config, Lab, Netns, Process, V4, allow_many_descriptors, bound, eventually, traffic};

use crate::{engines::Engine, scene::Scene};

const SOON: Duration = Duration::from_secs(20);
/// How long the agent is watched.
const WATCHED: Duration = Duration::from_secs(3);
/// One port, and clients of one address, may have all that there is.
const UNSHARED: &str =
    "[proxy]\ndescriptors_per_port = \"100%\"\ndescriptors_per_client = \"100%\"\n";
/// What the agent may have, and how many clients come.
const DESCRIPTORS: &str = "--nofile=256";
const CLIENTS: usize = 2_000;
const OLD: usize = 20;
/// Receivers that do not read.
const SLOW: u64 = 1_000;
/// docs/explanation/proxy.md, in KiB: a connection, and a direction whose receiver is slow.
const CONNECTION: u64 = 1;
const ROOM: u64 = 16;
/// What the allocator may keep beside that, and the agent for itself.
const REST: u64 = 4 << 10;

/// The agent does next to nothing: it takes less than a fifth of a core meanwhile.
#[track_caller]
fn is_idle(agent: &Process) {
    let (before, begun) = (agent.cpu(), Instant::now());
    eventually(SOON, || begun.elapsed() >= WATCHED);
    let (used, watched) = (agent.cpu() - before, begun.elapsed());
    println!("idle: {used:?} of {watched:?}");
    assert!(used < watched / 5, "{used:?}");
}

/// Clients that connect one after the other and stay, served or not. One who is turned away may have
/// its reset before it knows of its connection.
fn crowd(host: &Netns, to: SocketAddr, count: usize) -> Vec<io::Result<TcpStream>> {
    let from = SocketAddr::new(kit::Family::of(to.ip()).any(), 0);
    host.enter(|| (0..count).map(|_| bound::dial(from, to)).collect())
}

fn is_greeted(mut stream: &TcpStream) -> io::Result<()> {
    stream.read_exact(&mut [0; "app1\n".len()])
}

fn is_answered(mut stream: &TcpStream) -> io::Result<()> {
    let mut echo = [0; 5];
    stream.write_all(b"still")?;
    stream.read_exact(&mut echo)?;
    assert_eq!(&echo, b"still");
    Ok(())
}

/// Too many clients, of a host that is the node itself or another.
fn too_many_clients(engine: Engine, from: fn(&Lab) -> &Netns) {
    allow_many_descriptors();
    let config = Config {
        wrapper: vec!["prlimit".into(), DESCRIPTORS.into()],
        ..Config::with(UNSHARED)
    };
    let mut scene = engine.on(Lab::routed(), &config);
    let to = scene.port("web");
    let host = from(&scene.lab).clone();
    let old: io::Result<Vec<TcpStream>> = crowd(&host, to, OLD).into_iter().collect();
    let old = old.unwrap();
    for stream in &old {
        is_greeted(stream).unwrap();
    }
    let crowd = crowd(&host, to, CLIENTS);
    let is_served = |client: &&io::Result<TcpStream>| {
        let greeted = client.as_ref().map_err(io::Error::kind);
        let greeted = greeted.and_then(|stream| is_greeted(stream).map_err(|error| error.kind()));
        let is_told = [ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof];
        greeted
            .inspect_err(|kind| assert!(is_told.contains(kind), "{engine:?}: {kind}"))
            .is_ok()
    };
    let served = crowd.iter().filter(is_served).count();
    println!("{engine:?}: {served} of {CLIENTS} beside {OLD} old ones");
    assert!((10..CLIENTS / 2).contains(&served), "{served}");
    is_idle(scene.agent.process());
    for stream in &old {
        is_answered(stream).unwrap();
    }
    let status = scene.agent.ctl_json_whatever(&["status"]);
    let turned_away = format!("{} turned away", CLIENTS - served);
    let text = status["proxy"]["text"].to_string();
    assert!(text.contains(&turned_away), "{turned_away}: {text}");
    drop(crowd);
    eventually(SOON, || traffic::connect(&host, to, 50).errors.is_empty());
    for stream in &old {
        is_answered(stream).unwrap();
    }
}

#[test]
fn two_thousand_clients_and_256_descriptors_with_the_proxy_alone() {
    too_many_clients(Engine::Proxy, |lab| &lab.client);
}

#[test]
fn two_thousand_clients_on_the_node_and_256_descriptors_beside_the_programs() {
    too_many_clients(Engine::Tc, |lab| &lab.node);
}

/// Connections whose receiving ends do not read, until nobody takes a byte more; sender and receiver
/// of each.
fn stalled(scene: &Scene, listener: &TcpListener, to: SocketAddr) -> Vec<(TcpStream, TcpStream)> {
    let pairs = (0..SLOW).map(|_| {
        let client = crowd(&scene.lab.client, to, 1).remove(0).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        (server, client)
    });
    let mut pairs: Vec<(TcpStream, TcpStream)> = pairs.collect();
    let block = vec![7; 1 << 16];
    let mut quiet = 0;
    eventually(Duration::from_secs(60), || {
        let servers = pairs.iter_mut().map(|(server, _)| server.write(&block));
        quiet = match servers.filter(Result::is_ok).count() {
            0 => quiet + 1,
            _ => 0,
        };
        quiet > 20
    });
    pairs
}

#[test]
fn a_thousand_slow_readers_cost_what_is_documented_and_nobody_else_notices() {
    allow_many_descriptors();
    let lab = Lab::routed();
    // The kernel's part, which is not the agent's: small buffers are full soon.
    for host in [&lab.client, &lab.node, &lab.apps[0]] {
        host.set("net/ipv4/tcp_rmem", "4096 65536 65536");
        host.set("net/ipv4/tcp_wmem", "4096 65536 65536");
    }
    let mut scene = Engine::Proxy.on(lab, &Config::with(UNSHARED));
    let at = SocketAddr::new(scene.lab.app(V4, 0), 9_302);
    let listener = scene.lab.apps[0].enter(|| TcpListener::bind(at)).unwrap();
    let number = scene.agent.create(&["bulk", "--backend", &at.to_string()]);
    let (bulk, web) = (scene.at(number), scene.port("web"));
    let live = traffic::Live::open(&scene.lab.client, web, OLD);
    let before = scene.agent.process().memory();
    let pairs = stalled(&scene, &listener, bulk);
    let grown = scene.agent.process().memory().saturating_sub(before);
    println!("{SLOW} slow readers: {grown} KiB of the agent");
    assert!(grown <= SLOW * (CONNECTION + ROOM) + REST, "{grown} KiB");

    live.progress();
    assert_eq!(live.finish().errors, Vec::<String>::new());
    traffic::transfer(&scene.lab.client, web, 5_000_000).unwrap();
    is_idle(scene.agent.process());
    // They were not given up: each gets what was held back, and more.
    for (mut server, mut client) in pairs {
        let mut room = vec![0; 1 << 16];
        client.read_exact(&mut room).unwrap();
        assert!(room.iter().all(|byte| *byte == 7));
        eventually(SOON, || {
            let _ = client.read(&mut room).unwrap();
            server.write(b"7").is_ok()
        });
    }
}
