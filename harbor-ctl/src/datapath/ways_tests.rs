//! What becomes of the kernel's routes and neighbours.

use super::*;
use crate::datapath::Interface;

fn link(index: u32, mtu: u32) -> Interface {
    Interface {
        index,
        name: format!("eth{index}"),
        is_up: true,
        is_ethernet: true,
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

fn route(prefix: &str, gateway: Option<&str>, ifindex: u32) -> KernelRoute {
    KernelRoute {
        prefix: prefix.parse().unwrap(),
        table: TABLE_MAIN,
        metric: 0,
        gateway: gateway.map(|gateway| gateway.parse().unwrap()),
        ifindex,
        mtu: 0,
        is_plain: true,
    }
}

fn of(routes: Vec<KernelRoute>) -> Ways {
    let kernel = KernelWays {
        routes,
        ..KernelWays::default()
    };
    Ways::of(&kernel, &snapshot())
}

fn found(ways: &Ways, network: &str) -> Option<Route> {
    ways.routes.get(&prefix(&network.parse().unwrap())).copied()
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
    };
    assert_eq!(found(&ways, "0.0.0.0/0"), Some(expected));
    let direct = found(&ways, "10.9.0.0/16").unwrap();
    assert!(direct.gateway.is_unspecified());
    assert_eq!(direct.mtu, 1400);
    let six = found(&ways, "2001:db8::/64").unwrap();
    assert_eq!((six.gateway, six.mtu), (gateway("fe80::1"), 9000));
}

#[test]
fn what_is_not_plain_is_left_to_the_kernel() {
    let blackhole = KernelRoute {
        is_plain: false,
        ..route("10.1.0.0/16", None, 0)
    };
    let own = KernelRoute {
        table: TABLE_LOCAL,
        ..route("10.0.0.5/32", None, 2)
    };
    let unknown_link = route("10.2.0.0/16", None, 7);
    let ways = of(vec![blackhole, own, unknown_link]);
    for network in ["10.1.0.0/16", "10.0.0.5/32", "10.2.0.0/16"] {
        assert_eq!(found(&ways, network), Some(Route::default()), "{network}");
    }
}

#[test]
fn the_lowest_metric_wins_and_a_tie_is_left_to_the_kernel() {
    let worse = KernelRoute {
        metric: 100,
        ..route("10.1.0.0/16", None, 2)
    };
    let better = route("10.1.0.0/16", None, 3);
    for routes in [vec![worse, better], vec![better, worse]] {
        assert_eq!(found(&of(routes), "10.1.0.0/16").unwrap().ifindex, 3);
    }
    let tie = of(vec![better, route("10.1.0.0/16", None, 2)]);
    assert_eq!(found(&tie, "10.1.0.0/16"), Some(Route::default()));
}

#[test]
fn a_wide_local_network_shadows_what_main_says_of_its_parts() {
    let local = KernelRoute {
        table: TABLE_LOCAL,
        is_plain: false,
        ..route("10.1.0.0/16", None, 2)
    };
    let ways = of(vec![local, route("10.1.2.0/24", None, 3)]);
    assert_eq!(found(&ways, "10.1.2.0/24"), Some(Route::default()));
}

#[test]
fn no_ipv6_route_answers_for_ipv4() {
    let ways = of(vec![route("::/0", Some("fe80::1"), 2)]);
    assert_eq!(found(&ways, "0.0.0.0/0"), Some(Route::default()));
    assert_eq!(found(&ways, "::/0").unwrap().ifindex, 2);
}

#[test]
fn rules_of_the_operators_and_too_many_routes_leave_all_to_the_kernel() {
    let mut kernel = KernelWays {
        has_own_rules: [true, false],
        routes: vec![route("10.1.0.0/16", None, 2), route("::/0", None, 2)],
        ..KernelWays::default()
    };
    let ways = Ways::of(&kernel, &snapshot());
    assert_eq!(found(&ways, "10.1.0.0/16"), None);
    assert_eq!(found(&ways, "::/0").unwrap().ifindex, 2);

    kernel.has_own_rules = [false; 2];
    let many = (0..=ROUTE_SLOTS as u32).map(|n| {
        let address = Ipv4Addr::from(0x0b00_0000 + (n << 8));
        route(&format!("{address}/24"), None, 2)
    });
    kernel.routes = many.collect();
    assert!(Ways::of(&kernel, &snapshot()).routes.is_empty());
}

#[test]
fn a_neighbour_counts_on_an_ethernet_interface_that_is_up() {
    let neighbour = |ifindex| KernelNeighbour {
        address: "10.0.0.9".parse().unwrap(),
        ifindex,
        hardware: [6; 6],
    };
    let kernel = KernelWays {
        neighbours: vec![neighbour(2), neighbour(3), neighbour(9)],
        ..KernelWays::default()
    };
    let mut snapshot = snapshot();
    snapshot.interfaces[1].is_up = false;
    let ways = Ways::of(&kernel, &snapshot);
    let hardware: Vec<_> = ways.neighbours.values().collect();
    assert_eq!(hardware, [&[6, 6, 6, 6, 6, 6, 2, 0, 0, 0, 0, 2]]);
}

#[test]
fn only_what_differs_is_written() {
    let before = of(vec![
        route("10.1.0.0/16", None, 2),
        route("10.2.0.0/16", None, 2),
    ]);
    assert!(WayPlan::between(&before, &before).is_empty());
    let mut after = of(vec![route("10.1.0.0/16", None, 3)]);
    let key = Neighbour::default();
    after.neighbours.insert(key, [1; 12]);
    let plan = WayPlan::between(&before, &after);
    assert_eq!(plan.routes.len(), 1);
    assert_eq!(
        plan.forget_routes,
        [prefix(&"10.2.0.0/16".parse().unwrap())]
    );
    assert_eq!(plan.neighbours, [(key, [1; 12])]);
    let back = WayPlan::between(&after, &before);
    assert_eq!(back.forget_neighbours, [key]);
}
