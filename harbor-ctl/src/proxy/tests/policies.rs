//! Who gets the next flow: the rules of the datapath.

use std::collections::BTreeMap;

use super::*;
use crate::model::{Failing, Policy, Question};

fn three() -> Vec<SocketAddr> {
    [b'a', b'b', b'c'].map(tcp_server).to_vec()
}

fn counts(port: u16, times: usize) -> BTreeMap<char, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..times {
        *counts.entry(char::from(ask(port))).or_default() += 1;
    }
    counts
}

#[test]
fn round_robin_goes_round_and_by_weight() {
    let port = free_port();
    let mut web = service(port, Protocols::Tcp, &three());
    let proxy = serving(&web);
    let names: Vec<u8> = (0..6).map(|_| ask(port)).collect();
    assert_eq!(names, b"abcabc");
    web.backends[1].weight = 4;
    change(&proxy, &web);
    assert_eq!(
        counts(port, 60),
        BTreeMap::from([('a', 10), ('b', 40), ('c', 10)])
    );
}

#[test]
fn who_is_ejected_gets_no_new_flow_however_heavy_it_is() {
    let port = free_port();
    let mut web = service(port, Protocols::Tcp, &[b'a', b'b'].map(tcp_server));
    web.backends[0].weight = 100;
    let proxy = serving(&web);
    assert_eq!(ask(port), b'a');
    let heavy = suspect(Protocol::Tcp, port, web.backends[0].address);
    proxy.eject(&heavy, Some(Doubt::Silent));
    assert_eq!(counts(port, 40), BTreeMap::from([('b', 40)]));
    proxy.eject(&heavy, None);
    assert!(counts(port, 40)[&'a'] > 30);
}

#[test]
fn the_first_stays_the_first_when_a_flow_fails_or_it_is_ejected() {
    let port = free_port();
    let first = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut web = service(port, Protocols::Tcp, &[first, tcp_server(b'b')]);
    web.settings.policy = Policy::First;
    let proxy = serving(&web);
    assert_eq!(ask(port), b'b', "nobody listens at the first");
    assert_eq!(tcp_server_at(&first.to_string(), b'a'), first);
    let mut live = connect(port);
    assert_eq!(name_of(&mut live).unwrap(), b'a');
    let first = suspect(Protocol::Tcp, port, first);
    proxy.eject(&first, Some(Doubt::Silent));
    assert_eq!(counts(port, 4), BTreeMap::from([('b', 4)]));
    live.write_all(b"x").unwrap();
    assert_eq!(name_of(&mut live).unwrap(), b'x', "live flows stay");
    proxy.eject(&first, None);
    assert_eq!(counts(port, 4), BTreeMap::from([('a', 4)]));
}

#[test]
fn who_is_ejected_before_its_first_flow_is_so_from_the_start() {
    let port = free_port();
    let web = service(port, Protocols::Tcp, &[b'a', b'b'].map(tcp_server));
    let proxy = serving(&web);
    let one = suspect(Protocol::Tcp, port, web.backends[0].address);
    proxy.eject(&one, Some(Doubt::Silent));
    assert_eq!(proxy.frontends(None)[0].backends_reachable, 1);
    assert_eq!(counts(port, 6), BTreeMap::from([('b', 6)]));
    assert!(proxy.backends(None)[0].is_ejected);
}

#[test]
fn the_first_serves_all_and_does_not_take_its_clients_back() {
    let port = free_port();
    let mut web = service(port, Protocols::Tcp, &three());
    web.settings.policy = Policy::First;
    let proxy = serving(&web);
    assert_eq!(counts(port, 4), BTreeMap::from([('a', 4)]));
    let reason = "probe".into();
    web.backends[0].failing = Some(Box::new(Failing { since: 1, reason }));
    change(&proxy, &web);
    assert_eq!(counts(port, 4), BTreeMap::from([('b', 4)]));
    web.backends[0].failing = None;
    change(&proxy, &web);
    assert_eq!(counts(port, 4), BTreeMap::from([('b', 4)]));
    web.backends.remove(1);
    change(&proxy, &web);
    assert_eq!(counts(port, 4), BTreeMap::from([('a', 4)]));
}

#[test]
fn the_clients_address_decides() {
    let port = free_port();
    let mut web = service(port, Protocols::Tcp, &three());
    web.settings.policy = Policy::SourceHash;
    let proxy = serving(&web);
    let from = |last: u8| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        drop(socket);
        let fd = rustix::net::socket(
            rustix::net::AddressFamily::INET,
            rustix::net::SocketType::STREAM,
            None,
        )
        .unwrap();
        rustix::net::bind(&fd, &SocketAddr::from(([127, 0, 1, last], 0))).unwrap();
        rustix::net::connect(&fd, &SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
        name_of(&mut patient(TcpStream::from(fd))).unwrap()
    };
    let before: Vec<u8> = (1..=24).map(from).collect();
    assert_eq!((1..=24).map(from).collect::<Vec<u8>>(), before);
    assert!(
        [b'a', b'b', b'c'].iter().all(|name| before.contains(name)),
        "{before:?}"
    );
    // Who is not at the one that leaves stays where he is, but for a few.
    web.backends.remove(2);
    change(&proxy, &web);
    let after: Vec<u8> = (1..=24).map(from).collect();
    let moved = before
        .iter()
        .zip(&after)
        .filter(|(old, new)| **old != b'c' && old != new);
    assert!(moved.count() <= 3, "{before:?} {after:?}");
}

#[test]
fn the_fewest_flows_decide() {
    let port = free_port();
    let mut web = service(port, Protocols::Tcp, &three());
    web.settings.policy = Policy::LeastFlows;
    let proxy = serving(&web);
    // One after the other: two that are accepted at the same moment see the same counts.
    let open = || {
        let mut client = connect(port);
        let name = name_of(&mut client).unwrap();
        (client, name)
    };
    let clients: Vec<_> = (0..6).map(|_| open()).collect();
    let mut sorted: Vec<u8> = clients.iter().map(|(_, name)| *name).collect();
    sorted.sort_unstable();
    assert_eq!(sorted, b"aabbcc");
    // Both of one go: the next two are its.
    let stay: Vec<_> = clients
        .into_iter()
        .filter(|(_, name)| *name != b'b')
        .collect();
    until("they are gone", || proxy.backends(None)[1].flows == 0);
    let next: Vec<_> = (0..2).map(|_| open()).collect();
    assert!(next.iter().all(|(_, name)| *name == b'b'));
    drop(stay);
}

#[test]
fn a_client_keeps_its_backend_for_as_long_as_the_port_says() {
    let port = free_port();
    let mut web = service(port, Protocols::Tcp, &three());
    web.settings.affinity_s = 60;
    let proxy = serving(&web);
    let mine = ask(port);
    assert_eq!(counts(port, 6), BTreeMap::from([(char::from(mine), 6)]));
    let at = web.backends.iter().position(|b| {
        b.address
            == proxy
                .backends(None)
                .iter()
                .find(|r| r.flows_total > 0)
                .unwrap()
                .address
    });
    web.backends[at.unwrap()].state = BackendState::Draining;
    change(&proxy, &web);
    let next = ask(port);
    assert_ne!(next, mine);
    assert_eq!(counts(port, 4), BTreeMap::from([(char::from(next), 4)]));
}

#[test]
fn when_all_fail_the_rule_says_whether_anybody_is_tried() {
    let port = free_port();
    let mut web = service(port, Protocols::Tcp, &three());
    for backend in &mut web.backends {
        let reason = "probe".into();
        backend.failing = Some(Box::new(Failing { since: 1, reason }));
    }
    let proxy = serving(&web);
    assert_eq!(counts(port, 3).len(), 3);
    proxy.apply(vec![web.into()], AllDown::Refuse);
    assert!(is_turned_away(port));
}

#[test]
fn explain_says_what_would_happen_and_changes_nothing() {
    let port = free_port();
    let mut web = service(port, Protocols::Tcp, &three());
    web.settings.denied_cidrs = vec!["192.0.2.0/24".parse().unwrap()];
    let proxy = serving(&web);
    let explain = |from: &str, to: u16, flags| {
        let to = format!("127.0.0.1:{to}");
        let question = Question::read(from, &to, Protocol::Tcp, flags).unwrap();
        proxy.explain(&question, true)
    };
    for _ in 0..2 {
        let found = explain("198.51.100.7:4000", port, vec![]);
        assert_eq!(
            (found.verdict.as_str(), found.name.as_str()),
            ("forward", "forward")
        );
        assert_eq!(found.backend.unwrap().address, web.backends[0].address);
        assert_eq!(found.policy.as_deref(), Some("round-robin"));
        assert_eq!(found.frontend, Some((Protocol::Tcp, port)));
    }
    let denied = explain("192.0.2.7:4000", port, vec![]);
    assert_eq!(
        (denied.verdict.as_str(), denied.name.as_str()),
        ("drop", "denied")
    );
    let other = explain("198.51.100.7:4000", free_port(), vec![]);
    assert_eq!(
        (other.verdict.as_str(), other.name.as_str()),
        ("pass", "not-ours")
    );
    let ack = vec![crate::model::TcpFlag::Ack];
    assert_eq!(
        explain("198.51.100.7:4000", port, ack.clone()).name,
        "no-flow"
    );
    let mut client = connect(port);
    assert_eq!(
        name_of(&mut client).unwrap(),
        b'a',
        "the turn was not moved on"
    );
    let me = client.local_addr().unwrap().to_string();
    let live = explain(&me, port, ack);
    assert_eq!(
        (live.name.as_str(), live.flow.as_deref()),
        ("forward", Some("live"))
    );
    web.backends.clear();
    change(&proxy, &web);
    assert_eq!(
        explain("198.51.100.7:4000", port, vec![]).name,
        "no-backend"
    );
}
