//! A host behind another one, on a path with a smaller MTU.
//!
//! ```text
//! client, as a router 10.77.1.2 / 10.77.6.1 ---- MTU 1280 ---- 10.77.6.2 a client beyond
//! app1,   as a router 10.77.2.11 / 10.77.7.1 ---- MTU 1280 ---- 10.77.7.2 an app beyond
//! ```
//!
//! A veth's MTU is invisible to super-packets, so both ends of the small link have it, all hosts on
//! the way cut and join segments themselves, and the far host says in its SYN that it takes the
//! segments of an ordinary link: only an ICMP error tells the sender otherwise.

use std::net::IpAddr;

use crate::{
    Family, Lab, Lifetime, Netns,
    lab::{address, hush},
    process::finish,
};

/// The MTU of the link to the far host; IPv6 allows no smaller one.
pub const SMALL_MTU: u16 = 1_280;
/// The segment size of an Ethernet link (RFC 9293 and RFC 8200).
const ADVERTISED: [(Family, u16); 2] = [(Family::V4, 1_460), (Family::V6, 1_440)];

/// A host of a lab that another host routes for.
#[derive(Debug)]
pub struct Beyond {
    /// The far host.
    pub host: Netns,
    net: u8,
}

impl Beyond {
    /// A client behind the lab's client.
    pub fn client(lab: &Lab) -> Self {
        let router = |family| lab.client_address(family);
        Self::new(lab, &lab.client, router, 6)
    }

    /// An app host behind the first app host.
    pub fn app(lab: &Lab) -> Self {
        Self::new(lab, &lab.apps[0], |family| lab.app(family, 0), 7)
    }

    /// Its address.
    pub fn address(&self, family: Family) -> IpAddr {
        address(family, self.net, 2)
    }

    fn new(lab: &Lab, router: &Netns, at: impl Fn(Family) -> IpAddr, net: u8) -> Self {
        let name = format!("{}-beyond", router.name());
        let host = Netns::create(name, Lifetime::Guard);
        hush(&host);
        router.set("net/ipv4/ip_forward", "1");
        router.set("net/ipv6/conf/all/forwarding", "1");
        router.ip(&format!(
            "link add far mtu {SMALL_MTU} type veth peer name eth0 mtu {SMALL_MTU} netns {}",
            host.name()
        ));
        for (netns, interface, number) in [(router, "far", 1), (&host, "eth0", 2)] {
            netns.ip(&format!(
                "addr add {}/24 dev {interface}\naddr add {}/64 dev {interface} nodad\n\
                 link set {interface} up",
                address(Family::V4, net, number),
                address(Family::V6, net, number),
            ));
        }
        // A router asks for its neighbours from an address of the link itself (RFC 4861).
        router.ip("addr add fe80::1/64 dev eth0 nodad\naddr add fe80::1/64 dev far nodad");
        for (family, advertised) in ADVERTISED {
            let (all, bits) = match family {
                Family::V4 => ("0.0.0.0/0", 24),
                Family::V6 => ("::/0", 64),
            };
            let (gateway, network) = (address(family, net, 1), address(family, net, 0));
            host.ip(&format!(
                "route add {all} via {gateway} advmss {advertised}"
            ));
            lab.node
                .ip(&format!("route add {network}/{bits} via {}", at(family)));
        }
        for (netns, interfaces) in [
            (router, &["eth0", "far"][..]),
            (&host, &["eth0"]),
            (&lab.client, &["eth0"]),
            (&lab.apps[0], &["eth0"]),
            (&lab.apps[1], &["eth0"]),
        ] {
            interfaces
                .iter()
                .for_each(|name| without_offloads(netns, name));
        }
        Self { host, net }
    }
}

/// Lets a host cut its segments itself, as over a real wire.
#[track_caller]
pub fn without_offloads(host: &Netns, interface: &str) {
    let mut ethtool = host.command("ethtool");
    ethtool.args(["-K", interface, "tso", "off", "gso", "off", "gro", "off"]);
    finish(&mut ethtool).ok();
}
