//! Clients on the node itself: no packet of theirs meets a program, the proxy serves them.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::process::CommandExt as _,
    time::Duration,
};

use kit::{Family, Process, eventually, finish, traffic};

use crate::{
    engines::Engine,
    scene::{FAMILIES, Scene},
};

const SOON: Duration = Duration::from_secs(20);
const ENGINES: [Engine; 2] = [Engine::Tc, Engine::Proxy];

/// Every address by which a client on the node may dial a port.
fn own_addresses(scene: &Scene, family: Family) -> [IpAddr; 3] {
    let loopback: IpAddr = match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    };
    [
        loopback,
        scene.lab.public(family),
        scene.lab.translation(family),
    ]
}

#[test]
fn a_client_on_the_node_reaches_the_nodes_ports_by_every_address() {
    for engine in ENGINES {
        for family in FAMILIES {
            let scene = engine.routed().of(family);
            let port = scene.port("both-web").port();
            for own in own_addresses(&scene, family) {
                let to = SocketAddr::new(own, port);
                let tally = traffic::connect(&scene.lab.node, to, 10);
                let served = (tally.of("app1"), tally.of("app2"), tally.errors.len());
                assert_eq!(served, (5, 5, 0), "{engine:?} {to}: {tally:?}");
                // The answer comes from the address that was asked.
                assert_eq!(traffic::ask(&scene.lab.node, to, 10).of("app1"), 10);
            }
            traffic::transfer(&scene.lab.node, scene.at(port), 5_000_000).unwrap();
        }
    }
}

/// Redis, a name server and a web server on the first app host.
fn servers(scene: &Scene) -> Vec<Process> {
    let (host, folder) = (&scene.lab.apps[0], scene.lab.folder());
    let own = scene.lab.app(kit::V4, 0).to_string();
    let mut redis = host.command("redis-check-rdb");
    redis.arg0("redis-server").current_dir(folder);
    redis.args(["--port", "6379", "--save", "", "--bind", &own]);
    redis.args(["--protected-mode", "no"]);
    let mut dns = host.command("dnsmasq");
    dns.args(["--no-daemon", "--no-resolv", "--no-hosts", "--user=root"]);
    dns.args(["--conf-file=/dev/null", "--bind-interfaces"]);
    dns.arg(format!("--listen-address={own}"));
    dns.arg("--address=/harbor.test/192.0.2.53");
    kit::certify(folder, "harbor", "DNS:harbor.test");
    let mut web = host.command("openssl");
    web.args(["s_server", "-quiet", "-WWW", "-cert", "harbor.crt"]);
    web.args(["-key", "harbor.key", "-accept", &format!("{own}:8443")]);
    web.current_dir(folder);
    vec![
        Process::start(&mut redis, folder, "redis"),
        Process::start(&mut dns, folder, "dns"),
        Process::start(&mut web, folder, "web"),
    ]
}

#[test]
fn curl_redis_cli_and_dig_work_from_the_node_itself() {
    for engine in ENGINES {
        let scene = engine.routed();
        std::fs::write(scene.lab.folder().join("page"), "hello\n").unwrap();
        let _servers = servers(&scene);
        let port = |name: &str, number: u16| {
            let backend = SocketAddr::new(scene.lab.app(kit::V4, 0), number).to_string();
            scene
                .agent
                .create(&[name, "--backend", &backend])
                .to_string()
        };
        let (redis, dns, web) = (port("redis", 6379), port("both-dns", 53), port("web", 8443));
        let host = scene.lab.public(kit::V4).to_string();
        let run = |words: &[&str]| {
            let mut command = scene.lab.node.command(words[0]);
            finish(command.args(&words[1..]).current_dir(scene.lab.folder())).stdout
        };
        let redis = ["redis-cli", "-h", &host, "-p", &redis, "ping"];
        eventually(SOON, || run(&redis) == "PONG\n");
        let server = format!("@{host}");
        for how in ["+notcp", "+tcp"] {
            let dig = ["dig", &server, "-p", &dns, "+short", how, "a.harbor.test"];
            eventually(SOON, || run(&dig) == "192.0.2.53\n");
        }
        let url = format!("https://harbor.test:{web}/page");
        let resolve = format!("harbor.test:{web}:{host}");
        let curl = ["curl", "-s", "--http1.0", "--cacert", "harbor.crt"];
        let curl = [&curl[..], &["--resolve", &resolve, &url]].concat();
        eventually(SOON, || run(&curl) == "hello\n");
    }
}
