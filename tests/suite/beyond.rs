//! A router with a small link behind it, on the clients' side and on the app hosts': its errors find
//! their way to whoever sends too much, so that what is sent arrives.

use std::net::SocketAddr;

use kit::{Beyond, SMALL_MTU, finish, traffic};

use crate::scene::{APP_PORT, FAMILIES, Scene};

const BYTES: usize = 2_000_000;

/// The size of packets that a host sends an address after it was told of a small link.
fn path(host: &kit::Netns, to: SocketAddr) -> String {
    let mut ip = host.command("ip");
    let listed = finish(ip.args(["route", "get", &to.ip().to_string()])).ok();
    listed.stdout
}

#[test]
fn a_client_behind_a_small_link_sends_and_receives_whole() {
    let scene = Scene::routed();
    let far = Beyond::client(&scene.lab);
    for family in FAMILIES {
        let app = SocketAddr::new(scene.lab.app(family, 0), APP_PORT).to_string();
        let name = format!("web-{family:?}");
        let port = scene.agent.create(&[&name, "--backend", &app]);
        let to = SocketAddr::new(scene.lab.public(family), port);
        // An echo: every byte goes both ways.
        traffic::transfer(&far.host, to, BYTES)
            .unwrap_or_else(|error| panic!("{family:?}: {error}"));
        let node = SocketAddr::new(scene.lab.translation(family), 0);
        let learnt = path(&scene.lab.apps[0], node);
        assert!(learnt.contains(&format!("mtu {SMALL_MTU}")), "{learnt}");
    }
}

#[test]
fn an_app_behind_a_small_link_sends_and_receives_whole() {
    let scene = Scene::routed();
    let far = Beyond::app(&scene.lab);
    let apps = FAMILIES.map(|family| SocketAddr::new(far.address(family), APP_PORT));
    let _app = traffic::serve(&far.host, scene.lab.folder(), "far", &apps);
    for (family, app) in FAMILIES.into_iter().zip(apps) {
        let name = format!("web-{family:?}");
        let port = scene.agent.create(&[&name, "--backend", &app.to_string()]);
        let to = SocketAddr::new(scene.lab.public(family), port);
        traffic::transfer(&scene.lab.client, to, BYTES)
            .unwrap_or_else(|error| panic!("{family:?}: {error}"));
        let learnt = path(&scene.lab.client, to);
        assert!(learnt.contains(&format!("mtu {SMALL_MTU}")), "{learnt}");
    }
}
