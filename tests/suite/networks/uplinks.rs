//! Where the way back to a client is another one than the way by which its packets come.

use std::net::{IpAddr, SocketAddr};

use kit::{Config, Family, Lab, Netns, V4, V6, traffic};

use super::Ports;
use crate::{engines::Engine, scene::FAMILIES};

/// The node's hardware address on the second wire.
const WIRE_MAC: &str = "02:00:00:00:03:01";

crate::engines::scenarios!(
    a_way_back_with_two_next_hops_loses_nothing,
    rules_for_marked_packets_and_a_default_route_by_another_uplink_lose_nothing,
    twenty_thousand_routes_lose_nothing,
    two_uplinks_with_rules_for_each_source_keep_to_their_own,
    a_way_back_that_changes_keeps_twenty_live_connections,
    an_address_that_stands_on_the_loopback_device_is_public,
);

/// A routed lab whose client lives in a network of its own behind two wires to the node: `eth0` at
/// both ends, and `wire` at both.
fn two_wires() -> Lab {
    let lab = Lab::routed();
    for host in [&lab.client, &lab.node] {
        host.set("net/ipv4/conf/all/rp_filter", "0");
        host.set("net/ipv4/conf/default/rp_filter", "0");
        host.set("net/ipv4/conf/eth0/rp_filter", "0");
    }
    let (client, node) = (lab.client.name(), lab.node.name());
    lab.client.ip(&format!(
        "link add wire netns {client} type veth peer name wire netns {node} address {WIRE_MAC}"
    ));
    for (host, last) in [(&lab.client, 2), (&lab.node, 1)] {
        host.ip(&format!(
            "addr add 10.77.3.{last}/24 dev wire\naddr add fd77:3::{last}/64 dev wire nodad\n\
             link set wire up\naddr add fe80::{last}/64 dev wire nodad"
        ));
    }
    for family in FAMILIES {
        let far = far(family);
        let bits = if family == V4 { 32 } else { 128 };
        lab.client.ip(&format!("addr add {far}/{bits} dev lo"));
    }
    lab
}

/// The client's address in its own network.
fn far(family: Family) -> IpAddr {
    match family {
        V4 => [198, 51, 100, 2].into(),
        V6 => [0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 2].into(),
    }
}

fn far_network(family: Family) -> &'static str {
    match family {
        V4 => "198.51.100.0/24",
        V6 => "2001:db8:99::/64",
    }
}

/// An address of the second wire.
fn on_second(family: Family, last: u8) -> IpAddr {
    match family {
        V4 => [10, 77, 3, last].into(),
        V6 => [0xfd77, 3, 0, 0, 0, 0, 0, last.into()].into(),
    }
}

/// Has the client reach an address of the node with its own network's address, by this wire. Nobody is
/// asked for the node's hardware address: the answer would have to find back too.
fn speak(lab: &Lab, to: IpAddr, by: &str) {
    let family = Family::of(to);
    let (bits, far) = (if family == V4 { 32 } else { 128 }, far(family));
    let mac = if by == "wire" {
        WIRE_MAC
    } else {
        "02:00:00:00:01:01"
    };
    lab.client.ip(&format!(
        "neigh replace {to} dev {by} lladdr {mac} nud permanent\n\
         route replace {to}/{bits} dev {by} src {far}"
    ));
}

fn ip(family: Family) -> &'static str {
    if family == V4 { "-4" } else { "-6" }
}

fn run(host: &Netns, family: Family, words: &str) {
    let mut command = host.command("ip");
    command.arg(ip(family)).args(words.split(' '));
    kit::finish(&mut command).ok();
}

fn a_way_back_with_two_next_hops_loses_nothing(engine: Engine) {
    let scene = engine.on(two_wires(), &Config::default());
    for family in FAMILIES {
        let public = scene.lab.public(family);
        let (first, second) = (scene.lab.client_address(family), on_second(family, 2));
        let network = far_network(family);
        run(
            &scene.lab.node,
            family,
            &format!(
                "route add {network} nexthop via {first} dev eth0 nexthop via {second} dev wire"
            ),
        );
        let ports = Ports::at(&scene, public);
        for by in ["eth0", "wire"] {
            speak(&scene.lab, public, by);
            ports.serve(&scene);
        }
        ports.are_served_by(&scene, engine);
        assert_eq!(ports.explained(&scene, far(family)), "forward");
    }
}

fn rules_for_marked_packets_and_a_default_route_by_another_uplink_lose_nothing(engine: Engine) {
    let scene = engine.on(two_wires(), &Config::default());
    for family in FAMILIES {
        let (node, public) = (&scene.lab.node, scene.lab.public(family));
        run(
            node,
            family,
            &format!("route add default via {}", on_second(family, 2)),
        );
        let ports = Ports::at(&scene, public);
        speak(&scene.lab, public, "eth0");
        ports.serve(&scene);
        // As Tailscale and wg-quick add them.
        run(node, family, "rule add fwmark 0xca6c lookup 51820");
        ports.serve(&scene);
        run(node, family, "rule del fwmark 0xca6c lookup 51820");
        run(node, family, "rule add not fwmark 0xca6c lookup 51820");
        run(node, family, "rule add lookup main suppress_prefixlength 0");
        run(
            node,
            family,
            &format!("route add default via {} table 51820", on_second(family, 2)),
        );
        ports.serve(&scene);
        ports.are_served_by(&scene, engine);
        assert_eq!(ports.explained(&scene, far(family)), "forward");
    }
}

#[test]
fn clients_behind_a_way_that_is_not_known_are_served_by_the_proxy_and_path_says_so() {
    for (engine, family) in [(Engine::Tc, V4), (Engine::Tc, V6), (Engine::Xdp, V4)] {
        let scene = engine.on(two_wires(), &Config::default());
        let name = engine.name();
        let (node, public) = (&scene.lab.node, scene.lab.public(family));
        let network = far_network(family);
        let back = on_second(family, 2);
        run(node, family, &format!("route add {network} via {back}"));
        let ports = Ports::at(&scene, public);
        speak(&scene.lab, public, "wire");
        ports.are_served_by(&scene, engine);
        ports.serve(&scene);
        // Nothing in a packet's addresses says whether it is so.
        let rule = format!("to {network} ipproto tcp lookup main");
        run(node, family, &format!("rule add {rule}"));
        ports.have_path(&scene, &format!("{name}+proxy(route)"));
        ports.serve(&scene);
        let items = scene.agent.items(&["ports", "list"]);
        let reason = items[0]["path_reason"].as_str().unwrap();
        assert!(
            reason.contains("depends on more than addresses"),
            "{reason}"
        );
        let source = SocketAddr::new(far(family), 40_000).to_string();
        let question = ["explain", "--src", &source, "--dst", &ports.web.to_string()];
        let found = scene.agent.ctl_json(&question);
        assert_eq!(found["stages"][0]["stage"], "pass", "{found}");
        run(node, family, &format!("rule del {rule}"));
        ports.are_served_by(&scene, engine);
        ports.serve(&scene);
        ports.delete(&scene);
    }
}

fn twenty_thousand_routes_lose_nothing(engine: Engine) {
    let scene = engine.on(two_wires(), &Config::default());
    let node = &scene.lab.node;
    run(
        node,
        V4,
        &format!("route add default via {}", on_second(V4, 2)),
    );
    let many = (0..20_000u32).map(|number| {
        let network = std::net::Ipv4Addr::from(0x1e00_0000 + (number << 8));
        format!(
            "route add {network}/24 via {}\n",
            scene.lab.client_address(V4)
        )
    });
    node.ip(&many.collect::<String>());
    let ports = Ports::at(&scene, scene.lab.public(V4));
    speak(&scene.lab, scene.lab.public(V4), "eth0");
    ports.serve(&scene);
    ports.are_served_by(&scene, engine);
    ports.serve(&scene);
    assert_eq!(ports.explained(&scene, far(V4)), "forward");
}

fn two_uplinks_with_rules_for_each_source_keep_to_their_own(engine: Engine) {
    let scene = engine.on(two_wires(), &Config::default());
    for family in FAMILIES {
        let (node, client) = (&scene.lab.node, &scene.lab.client);
        let ends = [
            (
                scene.lab.public(family),
                scene.lab.client_address(family),
                "eth0",
                101,
            ),
            (on_second(family, 1), on_second(family, 2), "wire", 102),
        ];
        for (public, gateway, by, table) in ends {
            run(
                node,
                family,
                &format!("route add default via {gateway} dev {by} table {table}"),
            );
            run(
                node,
                family,
                &format!("rule add from {public} lookup {table} pref {table}"),
            );
            // Each provider's router lets its own addresses through, and no others.
            let name = format!("f{table}{}", if family == V4 { "v4" } else { "v6" });
            let ip = if family == V4 { "ip" } else { "ip6" };
            client.nft(&format!("add table inet {name}"));
            client.nft(&format!(
                "add chain inet {name} c {{ type filter hook prerouting priority -300; }}"
            ));
            client.nft(&format!(
                "add rule inet {name} c {ip} saddr {public} iifname != \"{by}\" drop"
            ));
        }
        for (public, _, by, _) in ends {
            let ports = Ports::at(&scene, public);
            speak(&scene.lab, public, by);
            ports.serve(&scene);
            ports.are_served_by(&scene, engine);
            ports.delete(&scene);
        }
    }
}

fn a_way_back_that_changes_keeps_twenty_live_connections(engine: Engine) {
    let scene = engine.on(two_wires(), &Config::default());
    for family in FAMILIES {
        let (node, public) = (&scene.lab.node, scene.lab.public(family));
        run(
            node,
            family,
            &format!("route add default via {}", scene.lab.client_address(family)),
        );
        let ports = Ports::at(&scene, public);
        speak(&scene.lab, public, "eth0");
        let live = traffic::Live::open(&scene.lab.client, ports.web, 20);
        for gateway in [
            on_second(family, 2),
            scene.lab.client_address(family),
            on_second(family, 2),
        ] {
            run(
                node,
                family,
                &format!("route replace default via {gateway}"),
            );
            live.progress();
        }
        ports.serve(&scene);
        assert_eq!(live.finish().errors, Vec::<String>::new());
    }
}

#[test]
fn connections_outlive_a_way_back_that_is_lost_while_no_agent_lives() {
    for (engine, family) in [(Engine::Tc, V4), (Engine::Tc, V6), (Engine::Xdp, V4)] {
        let mut scene = engine.on(two_wires(), &Config::default());
        let public = scene.lab.public(family);
        let node = scene.lab.node.clone();
        run(
            &node,
            family,
            &format!("route add default via {}", on_second(family, 2)),
        );
        let ports = Ports::at(&scene, public);
        speak(&scene.lab, public, "eth0");
        let live = traffic::Live::open(&scene.lab.client, ports.web, 20);
        scene.agent.kill();
        let killed = std::time::Instant::now();
        kit::eventually(std::time::Duration::from_secs(20), || {
            live.progress();
            killed.elapsed() > std::time::Duration::from_secs(7)
        });
        // Nobody tells the programs of it until there is an agent again.
        node.ip("link set wire down");
        run(
            &node,
            family,
            &format!(
                "route replace default via {}",
                scene.lab.client_address(family)
            ),
        );
        scene.agent.restart();
        live.progress();
        ports.serve(&scene);
        assert_eq!(live.finish().errors, Vec::<String>::new());
    }
}

fn an_address_that_stands_on_the_loopback_device_is_public(engine: Engine) {
    let scene = engine.on(Lab::routed(), &Config::default());
    for (family, address) in [
        (V4, IpAddr::from([203, 0, 113, 7])),
        (V6, IpAddr::from([0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 7])),
    ] {
        let bits = if family == V4 { 32 } else { 128 };
        scene
            .lab
            .node
            .ip(&format!("addr add {address}/{bits} dev lo"));
        scene.lab.client.ip(&format!(
            "route add {address}/{bits} via {}",
            scene.lab.public(family)
        ));
        let ports = Ports::at(&scene, address);
        let client = scene.lab.client_address(family);
        kit::eventually(std::time::Duration::from_secs(5), || {
            ports.explained(&scene, client) == "forward"
        });
        ports.serve(&scene);
    }
}
