//! What Harbor is to its host: a program that leaves the host's own business alone, says what it
//! does, and works with either of the kernel's hooks.

use std::{
    fs::{self, Permissions},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::Duration,
};

use kit::{Config, Lab, V4, bound, eventually, finish, traffic, until};

use crate::scene::{APP_PORT, FAMILIES, Scene};

#[test]
fn the_hosts_firewall_does_not_see_what_harbor_forwards_and_sees_all_else() {
    let scene = Scene::routed();
    let to = scene.port("web");
    let own = traffic::serve(
        &scene.lab.node,
        scene.lab.folder(),
        "own",
        &[SocketAddr::new(scene.lab.public(V4), 9100)],
    );
    let beside = SocketAddr::new(scene.lab.public(V4), 9100);
    assert_eq!(traffic::connect(&scene.lab.client, beside, 1).of("own"), 1);
    let rules = "table inet t { chain c { type filter hook prerouting priority -300; \
                 ip saddr 10.77.0.0/16 counter drop; }; }";
    finish(scene.lab.node.command("nft").arg(rules)).ok();
    let tally = traffic::connect(&scene.lab.client, to, 10);
    assert_eq!(
        (tally.of("app1"), tally.of("app2"), tally.errors.len()),
        (5, 5, 0),
        "{tally:?}"
    );
    let listed = finish(scene.lab.node.command("nft").args(["list", "ruleset"]))
        .ok()
        .stdout;
    assert!(listed.contains("packets 0 bytes 0"), "{listed}");
    let blocked = scene.lab.client.enter(|| {
        std::net::TcpStream::connect_timeout(&beside, Duration::from_millis(300)).is_err()
    });
    assert!(blocked, "what is not Harbor's is the firewall's");
    drop(own);
}

#[test]
fn the_nodes_own_connections_and_servers_are_left_alone() {
    let lab = Lab::routed();
    // The kernel would choose from the translation range too, were its numbers not reserved.
    lab.node.set("net/ipv4/ip_local_port_range", "10240 60999");
    lab.node.set("net/ipv4/tcp_tw_reuse", "1");
    let scene = Scene::on(lab, &Config::default());
    for family in FAMILIES {
        let name = format!("web-{family:?}");
        let own = SocketAddr::new(scene.lab.public(family), 9_100);
        let _own = traffic::serve(&scene.lab.node, scene.lab.folder(), &name, &[own]);
        let backend = SocketAddr::new(scene.lab.app(family, 1), APP_PORT);
        let port = scene
            .agent
            .create(&[&name, "--backend", &backend.to_string()]);
        let to = SocketAddr::new(scene.lab.public(family), port);
        let live = traffic::Live::open(&scene.lab.client, to, 20);
        let tally = traffic::connect(&scene.lab.node, backend, 4_000);
        let served = (tally.of("app2"), tally.errors.len());
        assert_eq!(served, (4_000, 0), "{tally:?}");
        assert_eq!(traffic::connect(&scene.lab.client, own, 50).of(&name), 50);
        assert_eq!(live.finish().errors, Vec::<String>::new());
    }
}

#[test]
fn the_nodes_own_connections_may_come_from_the_translation_range() {
    for family in FAMILIES {
        let scene = Scene::routed().of(family);
        let live = traffic::Live::open(&scene.lab.client, scene.port("web"), 20);
        // On the host of a backend, but no backend itself.
        let beside = SocketAddr::new(scene.lab.app(family, 0), 9_100);
        let _other = traffic::serve(&scene.lab.apps[0], scene.lab.folder(), "other", &[beside]);
        scene.lab.node.enter(|| {
            for number in 10_240..12_240 {
                let from = SocketAddr::new(scene.lab.translation(family), number);
                let name = bound::greeting(from, beside, bound::End::Order);
                assert_eq!(name.unwrap(), "other", "from {from}");
            }
        });
        live.progress();
        assert_eq!(live.finish().errors, Vec::<String>::new());
    }
}

#[test]
fn drops_are_logged_by_name_when_the_datapath_is_told_to_speak() {
    let scene = Scene::on(
        Lab::routed(),
        &Config::with("[log]\ndatapath = \"debug\"\n"),
    );
    let port = scene.agent.create(&["udp-empty"]);
    traffic::Asker::new(&scene.lab.client, V4).send(scene.at(port), b"anybody");
    eventually(Duration::from_secs(10), || {
        scene.agent.log("node").contains("no-backend")
    });
}

#[test]
fn clsact_serves_where_tcx_is_not_to_be_had() {
    let config = Config::with("[datapath]\nhook = \"clsact\"\n");
    let mut scene = Scene::on(Lab::routed(), &config);
    let to = scene.port("both-sip");
    let filters = || {
        let mut tc = scene.lab.node.command("tc");
        tc.args(["filter", "show", "dev", "eth0", "ingress"]);
        finish(&mut tc).ok().stdout
    };
    assert!(filters().contains("harbor"), "{}", filters());
    let live = traffic::Live::open(&scene.lab.client, to, 20);
    scene.agent.kill();
    let tally = traffic::connect(&scene.lab.client, to, 10);
    assert_eq!(
        (tally.of("app1"), tally.of("app2"), tally.errors.len()),
        (5, 5, 0),
        "{tally:?}"
    );
    scene.agent.restart();
    live.progress();
    assert_eq!(live.finish().errors, Vec::<String>::new());
    assert_eq!(traffic::ask(&scene.lab.client, to, 10).of("app1"), 10);
    scene.agent.stop();
    let file = scene.agent.config_file();
    let detach = [
        "datapath",
        "detach",
        "--yes",
        "--config",
        file.to_str().unwrap(),
    ];
    scene.agent.ctl(&detach).ok();
    let mut tc = scene.lab.node.command("tc");
    tc.args(["filter", "show", "dev", "eth0", "ingress"]);
    assert!(!finish(&mut tc).ok().stdout.contains("harbor"));
}

#[test]
fn a_backend_that_returns_to_the_wire_with_another_hardware_address_is_found_again() {
    let scene = Scene::routed();
    let to = scene.port("web");
    assert_eq!(traffic::connect(&scene.lab.client, to, 4).errors.len(), 0);
    scene.lab.apps[0].ip("link set eth0 address 02:00:00:00:99:99");
    scene.lab.node.ip("neigh flush all");
    // Meanwhile the other backend serves, and nobody is refused.
    until(Duration::from_secs(20), || {
        let tally = traffic::connect(&scene.lab.client, to, 10);
        assert_eq!(tally.errors, Vec::<String>::new());
        ((tally.of("app1"), tally.of("app2")) == (5, 5)).then_some(())
    });
    assert_eq!(APP_PORT, scene.app(0).port());
}

#[test]
fn others_can_neither_reach_the_socket_nor_the_pins_nor_the_state() {
    let scene = Scene::routed();
    let mode = |path: PathBuf| {
        let metadata = fs::metadata(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode(scene.agent.socket()), 0o660);
    assert_eq!(mode(scene.agent.folder().join("state")), 0o700);
    for pins in [
        scene.lab.bpf(),
        scene.lab.maps(),
        scene
            .lab
            .bpf()
            .join(format!("v{}/links", harbor_common::maps::LAYOUT)),
    ] {
        assert_eq!(mode(pins), 0o700);
    }
}

#[test]
fn pins_that_others_could_have_planted_are_refused() {
    let lab = Lab::routed();
    fs::create_dir_all(lab.maps()).unwrap();
    fs::set_permissions(lab.bpf(), Permissions::from_mode(0o777)).unwrap();
    let agent = kit::Agent::start(&lab);
    let status = agent.ctl(&["status"]);
    assert_eq!(status.code, 7, "{}", status.stdout);
    assert!(
        status.stdout.contains(lab.bpf().to_str().unwrap()),
        "{}",
        status.stdout
    );
    assert_eq!(
        fs::read_dir(lab.maps()).unwrap().count(),
        0,
        "nothing was pinned there"
    );
}

#[test]
fn a_datapath_that_is_attached_to_nothing_is_not_well_and_says_what_to_do() {
    let lab = Lab::routed();
    let agent = kit::Agent::start_with(&lab, &Config::with("[node]\ninterfaces = [\"eth9\"]\n"));
    let status = agent.ctl_json_whatever(&["status"]);
    let datapath = &status["datapath"];
    assert_ne!(datapath["state"], "ok", "{datapath}");
    assert!(
        datapath["fix"].to_string().contains("node.interfaces"),
        "{datapath}"
    );
}
