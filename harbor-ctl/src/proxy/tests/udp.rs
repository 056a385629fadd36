//! Datagrams: flows, sizes, addresses, and backends that are not there.

use super::*;
use crate::{model::FlowFilter, proxy::settings::ProxySettings};
#[test]
fn large_datagrams_go_both_ways_and_are_counted() {
    let port = free_port();
    let proxy = serving(&service(port, Protocols::Udp, &[udp_server(b'a')]));
    let client = udp_client("127.0.0.1:0");
    let sizes = [0, 1, 100, 1_472, 1_473, 9_000, 60_000, 65_506];
    for size in sizes {
        let text: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
        assert_eq!(
            exchange(&client, ("127.0.0.1", port), &text),
            b'a',
            "{size}"
        );
    }
    let count = sizes.len() as u64;
    until("all are counted", || {
        proxy.frontends(None)[0].reply_packets == count
    });
    let (report, sum) = (&proxy.frontends(None)[0], sizes.iter().sum::<u64>());
    assert_eq!((report.forward_packets, report.forward_bytes), (8, sum));
    assert_eq!((report.reply_packets, report.reply_bytes), (8, sum + 8));
    assert_eq!((report.flows, report.flows_total), (1, 1));
}

#[test]
fn the_answer_comes_from_the_address_that_was_asked() {
    let port = free_port();
    let proxy = serving(&service(port, Protocols::Udp, &[udp_server(b'a')]));
    for (from, to) in [
        ("127.0.0.1:0", "127.0.0.1"),
        ("127.0.0.1:0", "127.0.0.77"),
        ("127.0.0.9:0", "127.0.0.8"),
        ("[::1]:0", "::1"),
    ] {
        // A connected socket hears its peer and nobody else.
        let client = udp_client(from);
        client.connect((to, port)).unwrap();
        client.send(b"hello").unwrap();
        let mut room = [0; 16];
        assert_eq!(client.recv(&mut room).unwrap(), 6, "{from} {to}");
        let flows = proxy.listed();
        let me = client.local_addr().unwrap();
        let flow = flows.iter().find(|flow| flow.client == me).expect("listed");
        assert_eq!(flow.frontend, client.peer_addr().unwrap());
    }
}

#[test]
fn a_client_that_asks_two_addresses_is_answered_by_both() {
    let port = free_port();
    let _proxy = serving(&service(port, Protocols::Udp, &[udp_server(b'a')]));
    let client = udp_client("127.0.0.1:0");
    for round in 0..20 {
        let to = SocketAddr::from(([127, 0, 0, 1 + round % 2], port));
        client.send_to(&[round], to).unwrap();
        let mut room = [0; 16];
        let (length, from) = client.recv_from(&mut room).unwrap();
        assert_eq!((from, &room[..length]), (to, &[b'a', round][..]));
    }
}

#[test]
fn a_client_stays_with_its_backend_until_that_is_gone() {
    let port = free_port();
    let mut game = service(port, Protocols::Udp, &[udp_server(b'a'), udp_server(b'b')]);
    let proxy = serving(&game);
    let (client, to) = (udp_client("127.0.0.1:0"), ("127.0.0.1", port));
    for _ in 0..5 {
        assert_eq!(exchange(&client, to, b"x"), b'a');
    }
    game.backends[0].state = BackendState::Draining;
    change(&proxy, &game);
    assert_eq!(exchange(&client, to, b"x"), b'a', "its flows live on");
    assert_eq!(exchange(&udp_client("127.0.0.1:0"), to, b"x"), b'b');
    game.backends.remove(0);
    change(&proxy, &game);
    assert_eq!(exchange(&client, to, b"x"), b'b', "with the next datagram");
    assert_eq!(proxy.frontends(None)[0].flows, 2);
}

#[test]
fn datagrams_of_an_unhealthy_backend_move_while_another_is_well() {
    let port = free_port();
    let mut game = service(port, Protocols::Udp, &[udp_server(b'a'), udp_server(b'b')]);
    let proxy = serving(&game);
    let (client, to) = (udp_client("127.0.0.1:0"), ("127.0.0.1", port));
    assert_eq!(exchange(&client, to, b"x"), b'a');
    let reason = "no answer".into();
    game.backends[0].failing = Some(Box::new(crate::model::Failing { since: 1, reason }));
    change(&proxy, &game);
    assert_eq!(exchange(&client, to, b"x"), b'b');
    game.backends[0].failing = None;
    change(&proxy, &game);
    assert_eq!(exchange(&client, to, b"x"), b'b', "nobody is taken back");
}

#[test]
fn an_unreachable_backend_loses_the_flow_to_the_next_one() {
    let port = free_port();
    let dead = {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap()
    };
    let mut game = service(port, Protocols::Udp, &[dead, udp_server(b'b')]);
    let proxy = serving(&game);
    let (client, to) = (udp_client("127.0.0.1:0"), ("127.0.0.1", port));
    client.send_to(b"lost", to).unwrap();
    until("the refusal is heard", || {
        sights(&proxy) == [(dead, Err(Doubt::Unreachable))]
    });
    for _ in 0..3 {
        assert_eq!(exchange(&client, to, b"x"), b'b', "it does not go back");
    }
    assert!(!proxy.backends(None)[0].is_ejected, "one flow's word");
    proxy.eject(
        &suspect(Protocol::Udp, port, dead),
        Some(Doubt::Unreachable),
    );
    assert_eq!(exchange(&udp_client("127.0.0.1:0"), to, b"x"), b'b');
    // Alone it keeps the flow: it may come back.
    game.backends.remove(1);
    change(&proxy, &game);
    client.send_to(b"lost too", to).unwrap();
    serve_udp(UdpSocket::bind(dead).unwrap(), b'a');
    let mut room = [0; 16];
    client
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    until("it is heard again", || {
        client.send_to(b"x", to).is_ok() && client.recv(&mut room).is_ok_and(|_| room[0] == b'a')
    });
}

#[test]
fn silent_flows_are_forgotten_and_ended_ones_too() {
    let port = free_port();
    let proxy = Proxy::start(ProxySettings {
        timeouts: Timeouts {
            udp_single: Duration::from_millis(300),
            ..settings().timeouts
        },
        ..settings()
    })
    .unwrap();
    let game = service(port, Protocols::Udp, &[udp_server(b'a')]);
    proxy.apply(vec![game.into()], AllDown::UseLast);
    let (client, to) = (udp_client("127.0.0.1:0"), ("127.0.0.1", port));
    for _ in 0..2 {
        assert_eq!(exchange(&client, to, b"x"), b'a');
    }
    let before = proxy.report().descriptors;
    assert_eq!(exchange(&udp_client("127.0.0.1:0"), to, b"once"), b'a');
    until("the flow of one datagram is forgotten", || {
        flows_of(&proxy, Protocol::Udp) == 1
    });
    assert_eq!(proxy.report().descriptors, before);
    assert_eq!(
        proxy.end_flows(&FlowFilter::default()),
        Ok(1),
        "the stream was kept"
    );
    assert_eq!(flows_of(&proxy, Protocol::Udp), 0);
    assert_eq!(exchange(&client, to, b"x"), b'a');
}

#[test]
fn bursts_of_many_clients_arrive_in_order_and_whole() {
    let port = free_port();
    let proxy = serving(&service(port, Protocols::Udp, &[udp_server(b'a')]));
    let clients: Vec<UdpSocket> = (0..32).map(|_| udp_client("127.0.0.1:0")).collect();
    for round in 0..8u8 {
        for client in &clients {
            for number in 0..4 {
                client
                    .send_to(&[round, number], ("127.0.0.1", port))
                    .unwrap();
            }
        }
        for client in &clients {
            for number in 0..4 {
                let mut room = [0; 16];
                let length = client.recv(&mut room).unwrap();
                assert_eq!(&room[..length], &[b'a', round, number]);
            }
        }
    }
    assert_eq!(proxy.frontends(None)[0].flows, 32);
}
