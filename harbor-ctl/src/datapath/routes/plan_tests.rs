//! What becomes of the kernel's routes and neighbours.

use super::*;
use crate::datapath::{
    Interface,
    interfaces::Framing,
    routes::policy::{Reach, Then},
};

const TABLE_MAIN: u32 = 254;
const TABLE_LOCAL: u32 = 255;

fn link(index: u32, mtu: u32) -> Interface {
    Interface {
        index,
        name: format!("eth{index}"),
        is_up: true,
        framing: Framing::Ethernet,
        hardware: [2, 0, 0, 0, 0, index as u8],
        mtu,
        ..Interface::default()
    }
}

fn snapshot() -> Snapshot {
    Snapshot {
        interfaces: vec![link(2, 1500), link(3, 9000)],
    }
}

fn hop(gateway: Option<&str>, ifindex: u32) -> Hop {
    Hop {
        gateway: gateway.map(|gateway| gateway.parse().unwrap()),
        ifindex,
        is_down: false,
    }
}

fn route(prefix: &str, gateway: Option<&str>, ifindex: u32) -> KernelRoute {
    KernelRoute {
        prefix: prefix.parse().unwrap(),
        table: TABLE_MAIN,
        metric: 0,
        hops: vec![hop(gateway, ifindex)],
        mtu: 0,
        is_connected: false,
        kind: RouteKind::Unicast,
    }
}

/// The rules that every node has: local, then main.
fn rules() -> Vec<KernelRule> {
    let rule = |priority, table| KernelRule {
        priority,
        source: None,
        destination: None,
        is_inverted: false,
        reach: Reach::Every,
        suppressed: None,
        then: Then::Table(table),
    };
    vec![rule(0, TABLE_LOCAL), rule(32_766, TABLE_MAIN)]
}

fn kernel(routes: Vec<KernelRoute>) -> KernelRoutes {
    KernelRoutes {
        rules: [rules(), rules()],
        routes,
        ..KernelRoutes::default()
    }
}

fn of(routes: Vec<KernelRoute>) -> Ways {
    Ways::of(&kernel(routes), &snapshot())
}

fn found(ways: &Ways, network: &str) -> Option<Route> {
    let (bits, address) = prefix(&network.parse().unwrap());
    ways.routes.get(&(0, bits, address)).copied()
}

#[test]
fn plain_routes_say_interface_gateway_and_mtu() {
    let ways = of(vec![
        route("0.0.0.0/0", Some("10.0.0.1"), 2),
        KernelRoute {
            mtu: 1400,
            ..route("10.9.0.0/16", None, 3)
        },
        route("2001:db8::/64", Some("fe80::1"), 3),
    ]);
    let gateway = |text: &str| Ip::from(text.parse::<IpAddr>().unwrap());
    let expected = Route {
        gateway: gateway("10.0.0.1"),
        ifindex: 2,
        mtu: 1500,
        flags: 0,
    };
    assert_eq!(found(&ways, "0.0.0.0/0"), Some(expected));
    let direct = found(&ways, "10.9.0.0/16").unwrap();
    assert!(direct.gateway.is_unspecified());
    assert_eq!(direct.mtu, 1400);
    let six = found(&ways, "2001:db8::/64").unwrap();
    assert_eq!((six.gateway, six.mtu), (gateway("fe80::1"), 9000));
    assert_eq!(ways.gap, None);
}

#[test]
fn what_leads_nowhere_says_so_and_what_is_not_understood_is_a_gap() {
    let blackhole = KernelRoute {
        kind: RouteKind::Nowhere,
        ..route("10.1.0.0/16", None, 0)
    };
    let own = KernelRoute {
        table: TABLE_LOCAL,
        kind: RouteKind::Own,
        ..route("10.0.0.5/32", None, 2)
    };
    let unknown_link = route("10.2.0.0/16", None, 7);
    let default = route("0.0.0.0/0", None, 2);
    let mut routes = vec![blackhole, own, unknown_link, default];
    let ways = of(routes.clone());
    for network in ["10.1.0.0/16", "10.0.0.5/32", "10.2.0.0/16"] {
        assert_eq!(found(&ways, network), Some(Route::default()), "{network}");
    }
    assert_eq!(ways.gap, None);
    routes.push(KernelRoute {
        kind: RouteKind::Odd,
        ..route("10.3.0.0/16", None, 2)
    });
    let ways = of(routes);
    assert_eq!(found(&ways, "10.3.0.0/16"), Some(Route::default()));
    assert!(ways.gap.unwrap().contains("10.3.0.0/16"));
}

#[test]
fn the_lowest_metric_wins_and_of_several_next_hops_one_that_works() {
    let worse = KernelRoute {
        metric: 100,
        ..route("10.1.0.0/16", None, 2)
    };
    let better = route("10.1.0.0/16", None, 3);
    for routes in [[&worse, &better], [&better, &worse]] {
        let routes = routes.map(Clone::clone).to_vec();
        assert_eq!(found(&of(routes), "10.1.0.0/16").unwrap().ifindex, 3);
    }
    let several = KernelRoute {
        hops: vec![
            Hop {
                is_down: true,
                ..hop(Some("fe80::1"), 2)
            },
            hop(Some("fe80::2"), 2),
            hop(Some("fe80::3"), 3),
        ],
        ..route("::/0", None, 0)
    };
    let mut kernel = kernel(vec![several]);
    let chosen = |kernel: &KernelRoutes| found(&Ways::of(kernel, &snapshot()), "::/0").unwrap();
    assert_eq!(chosen(&kernel).gateway.to_string(), "fe80::2");
    kernel.failed.insert(("fe80::2".parse().unwrap(), 2));
    assert_eq!(chosen(&kernel).gateway.to_string(), "fe80::3");
    kernel.failed.insert(("fe80::3".parse().unwrap(), 3));
    assert_eq!(
        chosen(&kernel).ifindex,
        2,
        "the kernel may be wrong about all"
    );
}

#[test]
fn a_wide_local_network_shadows_what_main_says_of_its_parts() {
    let local = KernelRoute {
        table: TABLE_LOCAL,
        kind: RouteKind::Own,
        ..route("10.1.0.0/16", None, 2)
    };
    let default = route("0.0.0.0/0", None, 3);
    let ways = of(vec![local, default, route("10.1.2.0/24", None, 3)]);
    assert_eq!(found(&ways, "10.1.0.0/16"), Some(Route::default()));
    assert_eq!(found(&ways, "10.1.2.0/24"), None, "said by the wider one");
}

#[test]
fn no_ipv6_route_answers_for_ipv4() {
    let ways = of(vec![route("::/0", Some("fe80::1"), 2)]);
    assert_eq!(found(&ways, "0.0.0.0/0"), Some(Route::default()));
    assert_eq!(found(&ways, "::/0").unwrap().ifindex, 2);
}

#[test]
fn twenty_thousand_routes_by_one_gateway_are_one() {
    let many = |count: u32, hops: [u32; 2]| {
        let route = move |n: u32| {
            let address = std::net::Ipv4Addr::from(0x0b00_0000 + (n << 8));
            let gateway = format!("10.0.0.{}", n % 2);
            route(
                &format!("{address}/24"),
                Some(&gateway),
                hops[(n % 2) as usize],
            )
        };
        (0..count).map(route)
    };
    let one = |n: u32| KernelRoute {
        hops: vec![hop(Some("10.0.0.1"), 2)],
        ..route(
            &format!("{}/24", std::net::Ipv4Addr::from(0x0b00_0000 + (n << 8))),
            None,
            2,
        )
    };
    let default = route("0.0.0.0/0", Some("10.0.0.1"), 2);
    let routes = (0..20_000).map(one).chain([default]).collect();
    let ways = of(routes);
    assert_eq!(
        ways.routes.len(),
        2,
        "one of IPv4, and that there is none of IPv6"
    );
    let ways = of(many(2 * ROUTE_SLOTS as u32, [2, 3]).collect());
    assert!(ways.routes.is_empty());
    assert!(ways.gap.unwrap().contains("more than"));
}

#[test]
fn rules_that_could_not_be_read_make_everything_a_gap() {
    let ways = Ways::of(&KernelRoutes::default(), &snapshot());
    assert!(ways.routes.is_empty() && ways.gap.is_some());
}

#[test]
fn a_host_is_found_by_the_longest_prefix_of_its_sources_view() {
    let mut kernel = kernel(vec![
        route("0.0.0.0/0", Some("10.0.0.1"), 2),
        KernelRoute {
            table: 7,
            ..route("0.0.0.0/0", Some("10.0.1.1"), 3)
        },
        route("10.9.0.0/16", None, 2),
    ]);
    let second: IpAddr = "192.0.2.2".parse().unwrap();
    let of_second = KernelRule {
        source: Some(IpNet::from(second)),
        then: Then::Table(7),
        ..rules()[0].clone()
    };
    kernel.rules[0].insert(1, of_second);
    let mut snapshot = snapshot();
    snapshot.interfaces[1].addresses.insert(second);
    let ways = Ways::of(&kernel, &snapshot);
    let to = |source: IpAddr, host: &str| {
        ways.find(source, host.parse().unwrap())
            .map(|route| route.ifindex)
    };
    assert_eq!(ways.views[&second], 1);
    assert_eq!(to("192.0.2.1".parse().unwrap(), "10.9.1.1"), Some(2));
    assert_eq!(to(second, "10.9.1.1"), Some(3));
    assert_eq!(to(second, "198.51.100.1"), Some(3));
    assert_eq!(to(second, "2001:db8::1"), None);
}

#[test]
fn a_neighbour_counts_on_an_ethernet_interface_that_is_up() {
    let neighbour = |ifindex| KernelNeighbour {
        address: "10.0.0.9".parse().unwrap(),
        ifindex,
        hardware: [6; 6],
    };
    let kernel = KernelRoutes {
        neighbours: vec![neighbour(2), neighbour(3), neighbour(9)],
        ..kernel(Vec::new())
    };
    let mut snapshot = snapshot();
    snapshot.interfaces[1].is_up = false;
    let ways = Ways::of(&kernel, &snapshot);
    let hardware: Vec<_> = ways.neighbours.values().collect();
    assert_eq!(hardware, [&[6, 6, 6, 6, 6, 6, 2, 0, 0, 0, 0, 2]]);
}

#[test]
fn only_what_differs_is_written() {
    let routes = ["10.1.0.0/16", "10.2.0.0/16"].map(|network| route(network, None, 2));
    let before = of(routes.to_vec());
    assert!(WayPlan::between(&before, &before).is_empty());
    let mut after = of(vec![route("10.1.0.0/16", None, 3)]);
    let key = Neighbour::default();
    after.neighbours.insert(key, [1; 12]);
    let plan = WayPlan::between(&before, &after);
    assert_eq!(plan.routes.len(), 1);
    let (bits, address) = prefix(&"10.2.0.0/16".parse().unwrap());
    assert_eq!(plan.forget_routes, [(0, bits, address)]);
    assert_eq!(plan.neighbours, [(key, [1; 12])]);
    let back = WayPlan::between(&after, &before);
    assert_eq!(back.forget_neighbours, [key]);
}
