//! systemd's store of descriptors: the sockets of numbers outlive the agent, and clients who come while
//! none runs are served by the next one.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use kit::{Config, Lab, ServiceManager, V4, allow_many_descriptors, eventually, traffic};

use crate::{
    engines::Engine,
    proxy::held::{FIRST, fill},
    scene::Scene,
};

const SOON: Duration = Duration::from_secs(20);

/// A proxy alone, under a service manager.
fn managed() -> (ServiceManager, Scene) {
    let lab = Lab::routed();
    let manager = ServiceManager::start(lab.folder());
    let config = Config {
        variables: manager.variables(),
        ..Config::with("[ports]\nrest = \"0s\"\n")
    };
    (manager, Engine::Proxy.on(lab, &config))
}

/// What the manager is to have of these ports.
fn names(ports: &[u16]) -> Vec<String> {
    let mut names: Vec<String> = ports
        .iter()
        .flat_map(|port| [format!("tcp-{port}"), format!("udp-{port}")])
        .collect();
    names.sort();
    names
}

/// Whether somebody else may have the number, in each protocol.
fn is_free(scene: &Scene, port: u16) -> (bool, bool) {
    let any = Ipv4Addr::UNSPECIFIED;
    scene.lab.node.enter(|| {
        let tcp = TcpListener::bind((any, port)).is_ok();
        (tcp, UdpSocket::bind((any, port)).is_ok())
    })
}

/// A client who comes while no agent runs.
struct Early {
    stream: TcpStream,
    socket: UdpSocket,
}

impl Early {
    fn come(scene: &Scene, to: SocketAddr) -> Self {
        scene.lab.client.enter(|| {
            let mut stream = TcpStream::connect_timeout(&to, SOON).unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            stream.write_all(b"early\n").unwrap();
            let socket = UdpSocket::bind((V4.any(), 0)).unwrap();
            socket.set_read_timeout(Some(SOON)).unwrap();
            socket.connect(to).unwrap();
            socket.send(b"early").unwrap();
            Self { stream, socket }
        })
    }

    #[track_caller]
    fn hears(self) {
        let mut lines = BufReader::new(self.stream).lines();
        let app = lines.next().unwrap().unwrap();
        assert!(["app1", "app2"].contains(&app.as_str()), "{app}");
        assert_eq!(lines.next().unwrap().unwrap(), "early");
        let mut answer = [0; 64];
        let length = self.socket.recv(&mut answer).unwrap();
        assert_eq!(&answer[..length], b"app1 early");
    }
}

#[test]
fn who_comes_while_no_agent_runs_waits_and_is_served_by_the_next_one() {
    let (manager, mut scene) = managed();
    let to = scene.port("both-web");
    let all = names(&[to.port()]);
    for is_killed in [true, false] {
        eventually(SOON, || manager.names() == all);
        match is_killed {
            true => scene.agent.kill(),
            false => assert_eq!(scene.agent.stop(), 0),
        }
        assert_eq!(is_free(&scene, to.port()), (false, false));
        let early: Vec<Early> = (0..10).map(|_| Early::come(&scene, to)).collect();
        scene.agent.inherit(manager.kept());
        scene.agent.restart();
        early.into_iter().for_each(Early::hears);
        let tally = traffic::connect(&scene.lab.client, to, 10);
        assert_eq!(tally.errors, Vec::<String>::new());
        assert_eq!(traffic::ask(&scene.lab.client, to, 10).errors.len(), 0);
    }
    let log = scene.agent.log("proxy_connector");
    assert_eq!(log.matches("are taken over").count(), 2, "{log}");
    assert!(!log.contains("kept socket"), "{log}");
    assert_eq!(manager.names(), all);
}

#[test]
fn a_number_that_is_given_up_leaves_the_store_before_the_command_returns() {
    let (manager, mut scene) = managed();
    let (stays, goes) = (
        scene.port("both-stays").port(),
        scene.port("both-goes").port(),
    );
    eventually(SOON, || manager.names() == names(&[stays, goes]));
    let delete = |scene: &Scene, name: &str| {
        scene.agent.ctl(&["ports", "delete", name, "--yes"]).ok();
    };
    delete(&scene, "both-goes");
    assert_eq!(manager.names(), names(&[stays]));
    assert_eq!(is_free(&scene, goes), (true, true));
    // Of an agent that has inherited it as well.
    scene.agent.kill();
    scene.agent.inherit(manager.kept());
    scene.agent.restart();
    delete(&scene, "both-stays");
    assert_eq!(manager.names(), Vec::<String>::new());
    assert_eq!(is_free(&scene, stays), (true, true));
}

#[test]
fn what_does_not_fit_its_name_or_has_no_port_is_closed_and_said() {
    let (manager, mut scene) = managed();
    let to = scene.port("both-web");
    eventually(SOON, || manager.names() == names(&[to.port()]));
    scene.agent.kill();
    let [tcp, udp] = ["tcp", "udp"].map(|protocol| format!("{protocol}-{}", to.port()));
    let any = Ipv4Addr::UNSPECIFIED;
    let node = &scene.lab.node;
    let listener = |port: u16| node.enter(|| TcpListener::bind((any, port)).unwrap());
    let own = SocketAddr::new(scene.lab.public(V4), 39_003);
    let narrow = node.enter(|| TcpListener::bind(own).unwrap());
    // The port's own two are away: strange ones have their names.
    manager.clear();
    manager.put(&tcp, listener(39_001));
    manager.put(&udp, listener(39_002));
    manager.put("tcp-39003", narrow);
    manager.put("tcp-39004", std::fs::File::open("/dev/null").unwrap());
    manager.put("stored", listener(39_005));
    // As it should be, but nobody's any more; and a second one of its name.
    let orphan = listener(39_006);
    manager.put("tcp-39006", orphan.try_clone().unwrap());
    manager.put("tcp-39006", orphan);
    scene.agent.inherit(manager.kept());
    scene.agent.restart();

    let log = scene.agent.log("proxy_connector");
    for (name, why) in [
        (tcp.as_str(), "it is bound to 0.0.0.0:39001"),
        (&udp, "it does not speak udp"),
        ("tcp-39003", "it is bound to 10.77.1.1:39003"),
        ("tcp-39004", "Socket operation on non-socket"),
        ("stored", "its name is no number's"),
        ("tcp-39006", "there is another one of that name"),
    ] {
        let named = |line: &str| line.contains(why) && line.contains(name);
        assert!(log.lines().any(named), "{name}, {why}: {log}");
    }
    assert!(
        log.contains("kept sockets without a port are closed"),
        "{log}"
    );
    eventually(SOON, || manager.names() == names(&[to.port()]));
    for port in 39_001..=39_006 {
        assert_eq!(is_free(&scene, port), (true, true), "{port}");
    }
    let tally = traffic::connect(&scene.lab.client, to, 10);
    assert_eq!(tally.errors, Vec::<String>::new());
    assert_eq!(traffic::ask(&scene.lab.client, to, 10).errors.len(), 0);
}

#[test]
fn a_thousand_sockets_are_kept_and_taken_over_at_once() {
    const COUNT: u16 = 501;
    allow_many_descriptors();
    let (manager, mut scene) = managed();
    fill(&scene, COUNT);
    let all: Vec<u16> = (FIRST..FIRST + COUNT).collect();
    let all = names(&all);
    eventually(SOON, || manager.names() == all);
    scene.agent.kill();
    let last = scene.at(FIRST + COUNT - 1);
    let early = Early::come(&scene, last);
    scene.agent.inherit(manager.kept());
    scene.agent.restart();
    early.hears();
    let log = scene.agent.log("proxy_connector");
    assert!(log.contains("sockets=1002"), "{log}");
    assert_eq!(manager.names(), all);
    let status = scene.agent.ctl_json(&["status"]);
    let text = status["proxy"]["text"].to_string();
    assert!(text.contains("1002 numbers held"), "{text}");
}
