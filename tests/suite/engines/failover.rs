//! Backends that refuse, fall silent or are taken away, and what their clients notice.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use kit::{
    Family, eventually,
    traffic::{self, Asker},
};

use super::Engine;
use crate::scene::{FAMILIES, Scene};

super::scenarios!(
    a_backend_that_refuses_costs_one_retransmission_and_then_nothing,
    a_backend_that_is_silent_costs_one_retransmission_and_then_nothing,
    the_only_backends_refusal_is_the_clients,
    a_client_whose_backend_is_removed_is_reset_with_its_next_packet,
    datagrams_leave_an_unreachable_backend_and_do_not_go_back,
    a_drained_backend_loses_no_connection,
);

/// Connects once; what it took.
fn connect_once(scene: &Scene, to: SocketAddr) -> Duration {
    let begun = Instant::now();
    let tally = traffic::connect(&scene.lab.client, to, 1);
    assert_eq!(tally.errors, Vec::<String>::new());
    begun.elapsed()
}

fn a_backend_that_refuses_costs_one_retransmission_and_then_nothing(engine: Engine) {
    for family in FAMILIES {
        let scene = engine.routed().of(family);
        let closed = SocketAddr::new(scene.lab.app(family, 0), 9_999).to_string();
        let open = scene.app(1).to_string();
        let port = scene
            .agent
            .create(&["web", "--backend", &closed, "--backend", &open]);
        let first = connect_once(&scene, scene.at(port));
        // TCP asks again after one second; what is beside that is this machine's load.
        println!("{family:?}: the first connect took {first:?}");
        let tally = traffic::connect(&scene.lab.client, scene.at(port), 20);
        assert_eq!((tally.of("app2"), tally.errors.len()), (20, 0), "{tally:?}");
        let backends = scene.agent.items(&["backends", "list", "web"]);
        assert_eq!(
            backends.len(),
            2,
            "a suspicion removes nobody: {backends:?}"
        );
    }
}

fn a_backend_that_is_silent_costs_one_retransmission_and_then_nothing(engine: Engine) {
    for family in FAMILIES {
        let scene = engine.routed().of(family);
        let to = scene.port("web");
        assert_eq!(traffic::connect(&scene.lab.client, to, 2).errors.len(), 0);
        scene.lab.apps[0].ip("link set eth0 down");
        for _ in 0..2 {
            let took = connect_once(&scene, to);
            println!("{family:?}: a connect took {took:?}");
        }
        let tally = traffic::connect(&scene.lab.client, to, 10);
        assert_eq!((tally.of("app2"), tally.errors.len()), (10, 0), "{tally:?}");
    }
}

fn the_only_backends_refusal_is_the_clients(engine: Engine) {
    for family in FAMILIES {
        let scene = engine.routed().of(family);
        let closed = SocketAddr::new(scene.lab.app(family, 0), 9_999).to_string();
        let port = scene.agent.create(&["web", "--backend", &closed]);
        let to = scene.at(port);
        let error = scene.lab.client.enter(|| {
            let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
            stream.read(&mut [0])
        });
        // The proxy has taken the connection by the time that it knows.
        let expected = match engine {
            Engine::Tc | Engine::Xdp => ErrorKind::ConnectionRefused,
            Engine::Proxy => ErrorKind::ConnectionReset,
        };
        assert_eq!(error.unwrap_err().kind(), expected);
    }
}

/// A connection that has been greeted, and by whom.
fn greeted(scene: &Scene, to: SocketAddr) -> (TcpStream, String) {
    let mut stream = scene.lab.client.enter(|| TcpStream::connect(to)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut greeting = [0; 5];
    stream.read_exact(&mut greeting).unwrap();
    (stream, String::from_utf8_lossy(&greeting[..4]).into_owned())
}

fn a_client_whose_backend_is_removed_is_reset_with_its_next_packet(engine: Engine) {
    for family in FAMILIES {
        let scene = engine.routed().of(family);
        let to = scene.port("web");
        let (mut stream, _) = greeted(&scene, to);
        for index in [0, 1] {
            let backend = scene.app(index).to_string();
            scene
                .agent
                .ctl(&["backends", "remove", "web", &backend, "--now"])
                .ok();
        }
        // The proxy does not wait for the packet.
        let mut rest = Vec::new();
        let asked = stream.write_all(b"are you there");
        let ended = asked.and_then(|()| stream.read_to_end(&mut rest));
        assert_eq!(
            ended.unwrap_err().kind(),
            ErrorKind::ConnectionReset,
            "{family:?}"
        );
        // The backend's side is reset as soon as it says anything; the app then lets go of it.
        eventually(Duration::from_secs(10), || {
            scene.agent.items(&["flows", "list"]).is_empty()
        });
    }
}

fn datagrams_leave_an_unreachable_backend_and_do_not_go_back(engine: Engine) {
    for family in FAMILIES {
        let scene = engine.routed().of(family);
        let closed = SocketAddr::new(scene.lab.app(family, 0), 9_999).to_string();
        let open = scene.app(1).to_string();
        let port = scene
            .agent
            .create(&["udp-game", "--backend", &closed, "--backend", &open]);
        let asker = Asker::new(&scene.lab.client, family);
        asker.send(scene.at(port), b"who is there");
        // The refusal stays with Harbor: the client asks again, and is answered. (What is asked before
        // the refusal is there is lost, as any datagram may be.)
        eventually(Duration::from_secs(5), || {
            let answer = asker.try_ask(scene.at(port), b"and now", Duration::from_millis(500));
            answer.is_some_and(|name| name == "app2")
        });
        for _ in 0..10 {
            assert_eq!(asker.ask(scene.at(port), b"still").unwrap(), "app2");
        }
        // A client who is new may lose a datagram of its own before it is moved as well.
        for _ in 0..5 {
            let other = Asker::new(&scene.lab.client, family);
            eventually(Duration::from_secs(5), || {
                let answer = other.try_ask(scene.at(port), b"me too", Duration::from_millis(300));
                answer.is_some_and(|name| name == "app2")
            });
        }
    }
}

fn a_drained_backend_loses_no_connection(engine: Engine) {
    for family in Family::BOTH {
        let scene = engine.routed().of(family);
        let to = scene.port("web");
        let live = traffic::Live::open(&scene.lab.client, to, 40);
        let backend = scene.app(0).to_string();
        scene
            .agent
            .ctl(&["backends", "drain", "web", &backend])
            .ok();
        live.progress();
        let tally = traffic::connect(&scene.lab.client, to, 10);
        assert_eq!((tally.of("app2"), tally.errors.len()), (10, 0), "{tally:?}");
        live.progress();
        assert_eq!(live.finish().errors, Vec::<String>::new());
    }
}
