//! Devices that this machine's kernel may lack: `cargo xtask matrix --suite devices` has kernels with
//! all of them.

use std::net::{IpAddr, SocketAddr};

use kit::{Config, Family, Lab, Netns, Process, Tunnel, V4, V6, traffic, verdict::Prober};

use super::Ports;
use crate::scene::{APP_PORT, FAMILIES, Scene};

/// Whether a network is behind the device or the device is in front of the clients.
struct Ends<'a> {
    kind: &'a str,
    scene: Scene,
}

/// The node's address on the device, and the far end's, in both families.
const NODE: [&str; 2] = ["10.78.1.1", "fd78:1::1"];
const FAR: [&str; 2] = ["10.78.1.2", "fd78:1::2"];

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Gives both ends of a device their addresses.
fn number(node: &Netns, far: &Netns, names: [&str; 2]) {
    for (host, name, addresses) in [(node, names[0], NODE), (far, names[1], FAR)] {
        host.ip(&format!(
            "link set {name} up\naddr add {}/24 dev {name}\naddr add {}/64 dev {name} nodad",
            addresses[0], addresses[1]
        ));
    }
}

impl Ends<'_> {
    /// Clients speak to the node's address on the device: plain backends.
    fn of_clients(&self) {
        for node in NODE.map(address) {
            let ports = Ports::at(&self.scene, node);
            ports.serve(&self.scene);
            assert_eq!(ports.paths(&self.scene), ["tc", "tc"], "{}", self.kind);
        }
    }

    /// The only backend is at the far end of the device.
    fn of_backends(&self) {
        for (family, far) in FAMILIES.into_iter().zip(FAR.map(address)) {
            self.of_backend(family, SocketAddr::new(far, APP_PORT + 1));
        }
    }

    fn of_backend(&self, family: Family, backend: SocketAddr) {
        let ports = Ports::with(&self.scene, self.scene.lab.public(family), &[backend]);
        ports.serve(&self.scene);
        assert_eq!(ports.paths(&self.scene), ["tc", "tc"], "{}", self.kind);
    }

    /// An app at the far end.
    fn app(&self) -> Process {
        let lab = &self.scene.lab;
        let at = FAR.map(|far| SocketAddr::new(address(far), APP_PORT + 1));
        traffic::serve(&lab.apps[0], lab.folder(), "far", &at)
    }
}

/// The device is between client and node, then between node and app host; each end is made by a line
/// of `ip`, in which NAME, OWN and PEER stand for the device, and the addresses below it.
fn both_sides(kind: &str, line: &str) {
    for side in ["clients", "backends"] {
        let lab = Lab::routed();
        let (peer, below) = match side {
            "clients" => (&lab.client, "eth0"),
            _ => (&lab.apps[0], "eth1"),
        };
        let family = if line.contains("fd77") || line.contains("ip6") {
            V6
        } else {
            V4
        };
        let ends = match side {
            "clients" => [lab.public(family), lab.client_address(family)],
            _ => [lab.translation(family), lab.app(family, 0)],
        };
        let fill = |own: IpAddr, other: IpAddr, below: &str| {
            line.replace("OWN", &own.to_string())
                .replace("PEER", &other.to_string())
                .replace("BELOW", below)
        };
        lab.node.ip(&fill(ends[0], ends[1], below));
        peer.ip(&fill(ends[1], ends[0], "eth0"));
        number(&lab.node, peer, ["d.5", "d.5"]);
        let ends = Ends {
            kind,
            scene: Scene::on(lab, &Config::default()),
        };
        match side {
            "clients" => ends.of_clients(),
            _ => {
                let _app = ends.app();
                ends.of_backends();
            }
        }
    }
}

macro_rules! devices {
    ($($(#[$meta:meta])* $name:ident: $line:expr;)*) => {$(
        #[test]
        #[ignore = "needs a kernel that has the device: cargo xtask matrix"]
        fn $name() {
            both_sides(stringify!($name), $line);
        }
    )*};
}

devices! {
    a_vlan_device_loses_nothing: "link add link BELOW name d.5 type vlan id 5";
    gre_loses_nothing: "link add d.5 type gre local OWN remote PEER ttl 64";
    sit_loses_nothing: "link add d.5 type sit mode any local OWN remote PEER ttl 64";
    geneve_loses_nothing: "link add d.5 type geneve id 5 remote PEER";
}

#[test]
#[ignore = "needs a kernel that has the device: cargo xtask matrix"]
fn ipip_loses_nothing() {
    // It carries IPv4 alone.
    let lab = Lab::routed();
    let (own, other) = (lab.translation(V4), lab.app(V4, 0));
    let end = |host: &Netns, own: IpAddr, other: IpAddr, address: &str| {
        host.ip(&format!(
            "link add d.5 type ipip local {own} remote {other} ttl 64\nlink set d.5 up\n\
             addr add {address}/24 dev d.5"
        ));
    };
    end(&lab.node, own, other, NODE[0]);
    end(&lab.apps[0], other, own, FAR[0]);
    let ends = Ends {
        kind: "ipip",
        scene: Scene::on(lab, &Config::default()),
    };
    let at = SocketAddr::new(address(FAR[0]), APP_PORT + 1);
    let lab = &ends.scene.lab;
    let _app = traffic::serve(&lab.apps[0], lab.folder(), "far", &[at]);
    ends.of_backend(V4, at);
}

/// Here too, because this machine's kernel has it; no packet on it has an Ethernet header.
#[test]
fn a_tun_device_loses_nothing() {
    let lab = Lab::routed();
    let tunnel = Tunnel::between([&lab.node, &lab.apps[0]], "d.5");
    number(&lab.node, &lab.apps[0], ["d.5", "d.5"]);
    let ends = Ends {
        kind: "tun",
        scene: Scene::on(lab, &Config::default()),
    };
    let app = ends.app();
    ends.of_backends();
    drop(app);
    drop(ends);
    drop(tunnel);
}

/// Here too, because this machine's kernel has it.
#[test]
fn a_virtual_routers_hardware_address_is_served_by_the_kernel() {
    let lab = Lab::routed();
    lab.node.ip(
        "link add vrrp.51 link eth0 address 00:00:5e:00:01:33 type macvlan mode private\n\
         link set vrrp.51 up\naddr add fe80::1/64 dev eth0 nodad",
    );
    for family in FAMILIES {
        let (shared, bits) = (
            lab.client_host(family, 51),
            if family == V4 { 32 } else { 128 },
        );
        let nodad = if family == V4 { "" } else { " nodad" };
        let line = format!("addr add {shared}/{bits} dev vrrp.51{nodad}");
        lab.node.ip(&line);
        // As keepalived does: no other interface answers for it.
        lab.client.ip(&format!(
            "neigh replace {shared} dev eth0 lladdr 00:00:5e:00:01:33 nud permanent"
        ));
    }
    let scene = Scene::on(lab, &Config::default());
    for family in FAMILIES {
        let ports = Ports::at(&scene, scene.lab.client_host(family, 51));
        let forwarded = || {
            let totals = Prober::attached(&scene.lab, "vrrp.51").totals();
            totals.get("forward").copied().unwrap_or_default()
        };
        let before = forwarded();
        ports.serve(&scene);
        assert_eq!(ports.paths(&scene), ["tc", "tc"]);
        assert!(
            forwarded() - before >= 2 * super::COUNT as u64,
            "by the programs"
        );
    }
}

#[test]
#[ignore = "needs a kernel that has the device: cargo xtask matrix"]
fn backends_in_a_vrf_lose_nothing() {
    let lab = Lab::routed();
    lab.node
        .ip("link add red type vrf table 10\nlink set red up\nlink set eth1 master red");
    lab.node.ip(&format!(
        "addr replace {}/64 dev eth1 nodad",
        lab.translation(V6)
    ));
    // What the host sends from outside the VRF finds the app hosts by a route that leaves by the device.
    for family in FAMILIES {
        let (network, bits) = (
            lab.backend_host(family, 0),
            if family == V4 { 24 } else { 64 },
        );
        lab.node
            .ip(&format!("route replace {network}/{bits} dev eth1"));
    }
    let scene = Scene::on(lab, &Config::default());
    for family in FAMILIES {
        let ports = Ports::at(&scene, scene.lab.public(family));
        ports.serve(&scene);
        assert_eq!(ports.paths(&scene), ["tc", "tc"], "{family:?}");
    }
}

/// Here too, because this machine's kernel has it.
#[test]
fn vxlan_loses_nothing() {
    both_sides(
        "vxlan",
        "link add d.5 type vxlan id 5 dstport 4789 local OWN remote PEER",
    );
}

#[test]
#[ignore = "needs a kernel that has the device: cargo xtask matrix"]
fn a_bond_loses_nothing() {
    for mode in ["active-backup", "802.3ad"] {
        let lab = Lab::routed();
        lab.node.ip(&format!(
            "link add b0 type bond mode {mode} miimon 100\nlink set eth0 down\naddr flush dev eth0\nlink set eth0 master b0\n\
             link set b0 up"
        ));
        for family in FAMILIES {
            let bits = if family == V4 { 24 } else { 64 };
            let nodad = if family == V4 { "" } else { " nodad" };
            lab.node.ip(&format!(
                "addr add {}/{bits} dev b0{nodad}",
                lab.public(family)
            ));
        }
        // The bond takes the hardware address of its first port.
        lab.client.ip("neigh flush all");
        let scene = Scene::on(lab, &Config::default());
        for family in FAMILIES {
            let ports = Ports::at(&scene, scene.lab.public(family));
            ports.serve(&scene);
            assert_eq!(ports.paths(&scene), ["tc", "tc"], "{mode}");
        }
    }
}

#[test]
#[ignore = "needs a kernel that has the device: cargo xtask matrix"]
fn clients_in_a_vrf_lose_nothing() {
    let lab = Lab::routed();
    lab.node
        .ip("link add red type vrf table 10\nlink set red up\nlink set eth0 master red");
    // IPv6 addresses leave with the change of tables.
    lab.node.ip(&format!(
        "addr replace {}/64 dev eth0 nodad",
        lab.public(V6)
    ));
    let scene = Scene::on(lab, &Config::default());
    for family in FAMILIES {
        let ports = Ports::at(&scene, scene.lab.public(family));
        ports.serve(&scene);
        assert_eq!(ports.paths(&scene), ["tc", "tc"]);
    }
}

#[test]
#[ignore = "needs a kernel that has the device: cargo xtask matrix"]
fn wireguard_loses_nothing() {
    let lab = Lab::routed();
    let key = |host: &Netns, name: &str| {
        let path = lab.folder().join(name);
        let generate = format!(
            "umask 077; wg genkey > {0} && wg pubkey < {0}",
            path.display()
        );
        let made = kit::finish(host.command("sh").args(["-c", &generate])).ok();
        (path, made.stdout.trim().to_owned())
    };
    let (node, app) = (&lab.node, &lab.apps[0]);
    let keys = [key(node, "node.wg"), key(app, "app.wg")];
    for (place, host) in [node, app].into_iter().enumerate() {
        host.ip("link add d.5 type wireguard");
        let (own, other) = (&keys[place], &keys[1 - place]);
        let far = [lab.app(V4, 0), lab.translation(V4)][place];
        let mut wg = host.command("wg");
        wg.args(["set", "d.5", "listen-port", "51820", "private-key"])
            .arg(&own.0);
        wg.args(["peer", &other.1, "endpoint", &format!("{far}:51820")]);
        kit::finish(wg.args(["allowed-ips", "0.0.0.0/0,::/0"])).ok();
    }
    number(node, app, ["d.5", "d.5"]);
    let ends = Ends {
        kind: "wireguard",
        scene: Scene::on(lab, &Config::default()),
    };
    let _app = ends.app();
    ends.of_backends();
}

#[test]
#[ignore = "needs a kernel that has the device: cargo xtask matrix"]
fn twenty_megabytes_survive_delay_loss_reordering_and_duplicates() {
    let scene = Scene::routed();
    let mut tc = scene.lab.client.command("tc");
    tc.args([
        "qdisc", "add", "dev", "eth0", "root", "netem", "delay", "100ms", "10ms",
    ]);
    tc.args([
        "loss",
        "1%",
        "reorder",
        "5%",
        "duplicate",
        "1%",
        "limit",
        "10000",
    ]);
    kit::finish(&mut tc).ok();
    for family in FAMILIES {
        let ports = Ports::at(&scene, scene.lab.public(family));
        traffic::transfer(&scene.lab.client, ports.web, 20_000_000).unwrap();
    }
}
