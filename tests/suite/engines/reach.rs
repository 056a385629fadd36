//! Who reaches a port, and what of it: the other family, the apps themselves, many ports, limits.

use std::{
    io::{self, Read as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use kit::{Family, V4, V6, eventually, traffic};

use super::Engine;
use crate::scene::{APP_PORT, FAMILIES, Scene};

super::scenarios!(
    clients_of_one_family_reach_backends_of_the_other,
    an_app_reaches_its_own_port,
    big_transfers_arrive_whole,
    fifty_ports_of_both_protocols_serve_side_by_side,
    a_port_takes_no_more_connections_than_its_limit,
    a_draining_port_keeps_its_connections_and_takes_no_new_ones,
);

const SOON: Duration = Duration::from_secs(5);

fn other(family: Family) -> Family {
    match family {
        V4 => V6,
        V6 => V4,
    }
}

fn clients_of_one_family_reach_backends_of_the_other(engine: Engine) {
    let scene = engine.routed();
    for family in FAMILIES {
        let apps = [0, 1].map(|index| SocketAddr::new(scene.lab.app(family, index), APP_PORT));
        let [one, two] = apps.map(|app| app.to_string());
        let name = format!("both-{family:?}");
        let port = scene
            .agent
            .create(&[&name, "--backend", &one, "--backend", &two]);
        let to = SocketAddr::new(scene.lab.public(other(family)), port);
        let tally = traffic::connect(&scene.lab.client, to, 20);
        let served = (tally.of("app1"), tally.of("app2"), tally.errors.len());
        assert_eq!(served, (10, 10, 0), "{family:?}: {tally:?}");
        let tally = traffic::ask(&scene.lab.client, to, 20);
        assert_eq!((tally.of("app1"), tally.errors.len()), (20, 0), "{tally:?}");
        traffic::transfer(&scene.lab.client, to, 5_000_000).unwrap();
        // Those of the backends' own family are served beside them.
        let own = SocketAddr::new(scene.lab.public(family), port);
        assert_eq!(traffic::connect(&scene.lab.client, own, 4).errors.len(), 0);
        assert_eq!(traffic::ask(&scene.lab.client, own, 4).of("app1"), 4);
    }
}

fn an_app_reaches_its_own_port(engine: Engine) {
    for family in FAMILIES {
        let scene = engine.routed().of(family);
        let port = scene.port("both-own").port();
        let to = SocketAddr::new(scene.lab.translation(family), port);
        for app in &scene.lab.apps {
            let tally = traffic::connect(app, to, 10);
            let served = (tally.of("app1"), tally.of("app2"), tally.errors.len());
            assert_eq!(served, (5, 5, 0), "{family:?}: {tally:?}");
            assert_eq!(traffic::ask(app, to, 10).of("app1"), 10);
        }
    }
}

fn big_transfers_arrive_whole(engine: Engine) {
    for family in FAMILIES {
        let scene = engine.routed().of(family);
        let to = scene.port("web");
        std::thread::scope(|scope| {
            let transfer = || traffic::transfer(&scene.lab.client, to, 20_000_000).unwrap();
            let all: Vec<_> = (0..4).map(|_| scope.spawn(transfer)).collect();
            all.into_iter().for_each(|one| one.join().unwrap());
        });
    }
}

fn fifty_ports_of_both_protocols_serve_side_by_side(engine: Engine) {
    let scene = engine.routed();
    let ports: Vec<SocketAddr> = (0..50)
        .map(|number| scene.port(&format!("both-{number}")))
        .collect();
    for to in &ports {
        let tally = traffic::connect(&scene.lab.client, *to, 2);
        assert_eq!((tally.of("app1"), tally.of("app2")), (1, 1), "{tally:?}");
        assert_eq!(traffic::ask(&scene.lab.client, *to, 1).of("app1"), 1);
    }
}

/// Connects and waits for the app's greeting; the connection, if it is served.
fn served(scene: &Scene, to: SocketAddr) -> io::Result<TcpStream> {
    scene.lab.client.enter(|| {
        // A network that has just been made may lose the first question for a neighbour.
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(3))?;
        stream.set_read_timeout(Some(SOON))?;
        stream.read_exact(&mut [0; 5])?;
        Ok(stream)
    })
}

fn a_port_takes_no_more_connections_than_its_limit(engine: Engine) {
    for family in FAMILIES {
        let scene = engine.routed().of(family);
        let to = scene.port("web");
        scene
            .agent
            .ctl(&["ports", "set", "web", "max_connections=3"])
            .ok();
        let mut held: Vec<TcpStream> = (0..3).map(|_| served(&scene, to).unwrap()).collect();
        assert!(served(&scene, to).is_err(), "{family:?}: a fourth");
        let counted = scene.agent.ctl_json(&["ports", "show", "web"]);
        assert_ne!(counted["counters"][0]["refused"], 0, "{counted}");
        // One that is reset makes room; the others go on.
        kit::bound::reset(&held.remove(0)).unwrap();
        drop(held.pop());
        eventually(Duration::from_secs(20), || match served(&scene, to) {
            Ok(stream) => {
                held.push(stream);
                true
            }
            Err(_) => false,
        });
    }
}

fn a_draining_port_keeps_its_connections_and_takes_no_new_ones(engine: Engine) {
    let scene = engine.routed().of(V4);
    let to = scene.port("web");
    let live = traffic::Live::open(&scene.lab.client, to, 6);
    scene.agent.ctl(&["ports", "drain", "web"]).ok();
    assert!(served(&scene, to).is_err());
    live.progress();
    scene.agent.ctl(&["ports", "resume", "web"]).ok();
    assert_eq!(traffic::connect(&scene.lab.client, to, 4).errors.len(), 0);
    assert_eq!(live.finish().errors, Vec::<String>::new());
}
