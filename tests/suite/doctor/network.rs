//! Broken networks, and registries that do not answer.

use std::{fs, net::SocketAddr};

use kit::{Redis, V4, traffic};

use super::Ground;

#[test]
fn interfaces_and_addresses_that_are_not_there_are_found() {
    let ground = Ground::with("[node]\ninterfaces = [\"eth0\", \"eth7\"]\n");
    ground.finds("interfaces", "fault", "no interface eth7");
    ground
        .lab
        .node
        .ip("link add eth7 type veth peer name other7");
    ground.finds("interfaces", "fault", "eth7 is down");
    // Packets of a bridge's port come in by the bridge.
    let bridge = "link add br7 type bridge\nlink set eth7 master br7 up";
    ground.lab.node.ip(bridge);
    ground.finds("interfaces", "fault", "eth7 cannot have the program");
    let ground = Ground::with(
        "[node]\naddresses = [\"10.77.1.1\", \"10.77.1.99\"]\n\
         [datapath]\nsource_addresses = [\"10.77.2.99\"]\n",
    );
    ground.is_well("interfaces");
    ground.finds(
        "addresses",
        "fault",
        "node.addresses: no interface has 10.77.1.99",
    );
    ground.finds(
        "addresses",
        "fault",
        "datapath.source_addresses: no interface has 10.77.2.99",
    );
    ground
        .lab
        .node
        .ip("addr add 10.77.1.99/24 dev eth0\naddr add 10.77.2.99/24 dev eth1");
    ground.is_well("addresses");
    ground.is_well("mtu");
    ground.lab.node.ip("link set eth1 mtu 1000");
    ground.finds("mtu", "warning", "eth1 carries packets of 1000 octets");
    ground.lab.node.ip("link set eth0 down\nlink set eth1 down");
    ground.finds("interfaces", "fault", "no interface is up");
}

#[test]
fn numbers_and_addresses_that_others_have_are_found() {
    let text = "[metrics]\nlisten = \"127.0.0.1:9442\"\n[gateway]\nlisten = \"127.0.0.1:8443\"\n\
                password_file = \"/nowhere\"\n";
    let ground = Ground::with(text);
    let node = &ground.lab.node;
    ground.is_well("listeners");
    ground.is_well("numbers");
    let holder = traffic::hold(
        node,
        ground.lab.folder(),
        &[9_442, 35_100, 35_101, 35_102, 35_103],
    );
    ground.finds(
        "listeners",
        "fault",
        "metrics.listen: 127.0.0.1:9442 is held by pid",
    );
    ground.finds("numbers", "warning", "35100/tcp is held by pid");
    ground.finds("numbers", "warning", "and 1 more");
    drop(holder);
    ground.is_well("numbers");
    let ground = Ground::with("[metrics]\nlisten = \"10.9.9.9:9442\"\n");
    ground.finds("listeners", "fault", "no interface has 10.9.9.9");
}

#[test]
fn numbers_that_are_no_longer_reserved_are_found_and_reserved_again() {
    let mut ground = Ground::with("");
    ground.finds("reserved", "skipped", "");
    ground.agent.restart();
    ground.is_well("reserved");
    let reserved = "net/ipv4/ip_local_reserved_ports";
    ground.lab.node.set(reserved, "9000\n");
    ground.finds("reserved", "fault", "35000-40000 may be taken");
    ground.mends("reserved");
    assert_eq!(ground.lab.node.get(reserved), "9000,35000-40000");
    // The kernel tells a list in one call alone: what does not fit that was lost, and written back so.
    for count in [10_u32, 40, 680] {
        let others: Vec<String> = (0..count).map(|n| (9_000 + 2 * n).to_string()).collect();
        let others = others.join(",");
        ground.lab.node.set(reserved, &format!("{others}\n"));
        ground.finds("reserved", "fault", "35000-40000 may be taken");
        ground.mends("reserved");
        let all = format!("{others},35000-40000");
        assert_eq!(ground.lab.node.get(reserved), all, "{count} numbers");
    }
}

#[test]
fn a_firewall_that_drops_what_it_does_not_know_is_found() {
    let ground = Ground::with("");
    ground.is_well("firewall");
    let node = &ground.lab.node;
    node.nft("add table inet guard");
    node.nft("add chain inet guard input { type filter hook input priority 0; policy drop; }");
    node.nft("add rule inet guard input tcp dport 22 accept");
    ground.finds("firewall", "warning", "inet guard input drops by default");
    let fix = ground.found("firewall")[0]["fix"]
        .as_str()
        .unwrap()
        .to_owned();
    node.nft(fix.strip_prefix("nft ").unwrap());
    ground.is_well("firewall");
}

#[test]
fn a_redis_that_is_away_or_lets_nobody_in_is_found() {
    let ground = Ground::with("");
    let lab = &ground.lab;
    let place = SocketAddr::new(lab.app(V4, 1), 6_379);
    let file = ground.agent.config_file();
    let base = fs::read_to_string(&file).unwrap();
    let password = lab.folder().join("redis.password");
    let of_redis =
        format!("{base}\n[registry]\nurl = \"redis://{place}\"\npassword_file = {password:?}\n");
    fs::write(&file, of_redis).unwrap();
    ground.finds("registry", "fault", "redis.password");
    fs::write(&password, "a-password-that-is-wrong\n").unwrap();
    ground.finds("registry", "fault", "");
    let _redis = Redis::start_with(
        &lab.apps[1],
        lab.folder(),
        place,
        &["--requirepass", "the-password-of-redis"],
    );
    ground.finds("registry", "fault", "");
    fs::write(&password, "the-password-of-redis\n").unwrap();
    ground.finds("registry", "ok", "has 0 of cluster harbor");
}
