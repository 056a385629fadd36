//! UDP through a port: to the first backend, and to the next when that one is gone.

use kit::{
    V4,
    traffic::{self, Asker},
};

use super::Engine;
use crate::scene::Scene;

super::scenarios!(
    datagrams_go_to_the_first_backend,
    a_client_stays_with_the_first_backend_until_it_is_removed_and_then_goes_to_the_next,
    a_backend_that_joins_later_queues_behind_the_first,
    both_protocols_share_one_number,
    datagrams_of_every_size_that_fits_the_wire_arrive_whole,
);

fn datagrams_go_to_the_first_backend(engine: Engine) {
    for scene in [engine.routed(), engine.bridged()] {
        let tally = traffic::ask(&scene.lab.client, scene.port("udp-game"), 50);
        assert_eq!((tally.of("app1"), tally.errors.len()), (50, 0), "{tally:?}");
    }
}

fn a_client_stays_with_the_first_backend_until_it_is_removed_and_then_goes_to_the_next(
    engine: Engine,
) {
    let scene = engine.routed();
    let to = scene.port("udp-game");
    let asker = Asker::new(&scene.lab.client, V4);
    for _ in 0..20 {
        assert_eq!(asker.ask(to, b"who is there").unwrap(), "app1");
    }
    scene
        .agent
        .ctl(&[
            "backends",
            "remove",
            "udp-game",
            &scene.app(0).to_string(),
            "--now",
        ])
        .ok();
    for _ in 0..20 {
        assert_eq!(asker.ask(to, b"and now").unwrap(), "app2");
    }
    assert_eq!(traffic::ask(&scene.lab.client, to, 10).of("app2"), 10);
}

fn a_backend_that_joins_later_queues_behind_the_first(engine: Engine) {
    let scene = engine.routed();
    let port = scene
        .agent
        .create(&["udp-game", "--backend", &scene.app(1).to_string()]);
    scene
        .agent
        .ctl(&["backends", "add", "udp-game", &scene.app(0).to_string()])
        .ok();
    assert_eq!(
        traffic::ask(&scene.lab.client, scene.at(port), 10).of("app2"),
        10
    );
}

fn both_protocols_share_one_number(engine: Engine) {
    let scene = engine.routed();
    let to = scene.port("both-sip");
    let tcp = traffic::connect(&scene.lab.client, to, 10);
    assert_eq!(
        (tcp.of("app1"), tcp.of("app2"), tcp.errors.len()),
        (5, 5, 0),
        "{tcp:?}"
    );
    assert_eq!(traffic::ask(&scene.lab.client, to, 10).of("app1"), 10);
}

fn datagrams_of_every_size_that_fits_the_wire_arrive_whole(engine: Engine) {
    let scene = engine.routed();
    let to = scene.port("udp-game");
    let asker = Asker::new(&scene.lab.client, V4);
    // The answer carries the app's name and a space on top.
    for size in [0, 1, 2, 3, 511, 512, 1400, 1466, 1467] {
        let question: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
        assert_eq!(asker.ask(to, &question).unwrap(), "app1", "{size} bytes");
    }
}

#[test]
fn a_client_learns_at_once_that_nobody_listens_behind_the_port() {
    let scene = Scene::routed();
    let silent = std::net::SocketAddr::new(scene.lab.app(V4, 0), 9_999);
    let port = scene
        .agent
        .create(&["udp-silent", "--backend", &silent.to_string()]);
    let to = scene.at(port);
    let refusal = scene.lab.client.enter(|| {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        socket
            .set_read_timeout(Some(std::time::Duration::from_secs(5)))
            .unwrap();
        socket.connect(to).unwrap();
        socket.send(b"is anybody there").unwrap();
        socket.recv(&mut [0; 64]).unwrap_err()
    });
    assert_eq!(refusal.kind(), std::io::ErrorKind::ConnectionRefused);
}
