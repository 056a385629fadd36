//! Sockets of numbers: held, refused, given up.

use std::net::{TcpListener, TcpStream, UdpSocket};

use super::*;
use crate::proxy::ports::unheld::Unheld;
#[test]
fn a_number_is_held_in_both_families_until_it_is_let_go() {
    let (proxy, port) = (proxy(), free_port());
    proxy.hold(Protocols::Both, port).unwrap();
    proxy.hold(Protocols::Both, port).unwrap();
    for host in ["127.0.0.1", "::1", "0.0.0.0", "::"] {
        assert!(TcpListener::bind((host, port)).is_err(), "{host}");
        assert!(UdpSocket::bind((host, port)).is_err(), "{host}");
    }
    assert!(is_turned_away(port), "no service, no answer");
    assert_eq!(proxy.report().held, 2);
    proxy.let_go(Protocols::Both, port);
    // At once: whoever asked for it may bind now.
    drop(TcpListener::bind(("::", port)).unwrap());
    drop(UdpSocket::bind(("::", port)).unwrap());
    assert_eq!(proxy.report().held, 0);
}

#[test]
fn a_taken_number_is_refused_whole_and_held_once_it_is_free() {
    let (proxy, port) = (proxy(), free_port());
    let thief = UdpSocket::bind(("127.0.0.1", port)).unwrap();
    let refused = proxy.hold(Protocols::Both, port).unwrap_err();
    assert_eq!(refused, (Protocol::Udp, Unheld::Taken));
    assert_eq!(proxy.report().held, 0);
    drop(TcpListener::bind(("::", port)).unwrap());

    let echo = udp_server(b'u');
    proxy.apply(
        vec![service(port, Protocols::Both, &[echo]).into()],
        AllDown::UseLast,
    );
    assert_eq!(
        proxy.unheld().get(&(Protocol::Udp, port)),
        Some(&Unheld::Taken)
    );
    assert_eq!(proxy.report().held, 1);
    assert!(proxy.retry_unheld().is_empty());
    drop(thief);
    assert_eq!(proxy.retry_unheld(), [(Protocol::Udp, port)]);
    assert!(proxy.unheld().is_empty() && proxy.retry_unheld().is_empty());
    assert_eq!(
        exchange(&udp_client("127.0.0.1:0"), ("127.0.0.1", port), b"x"),
        b'u'
    );
}

#[test]
fn a_services_end_frees_its_number_and_a_narrower_one_half_of_it() {
    let port = free_port();
    let mut web = service(port, Protocols::Both, &[tcp_server(b'a')]);
    let proxy = serving(&web);
    proxy.let_go(Protocols::Both, port);
    assert_eq!(proxy.report().held, 2, "the service has it");
    web.protocols = Protocols::Tcp;
    change(&proxy, &web);
    drop(UdpSocket::bind(("::", port)).unwrap());
    assert_eq!(ask(port), b'a');
    proxy.change(vec![(web.id.clone(), None)]);
    drop(TcpListener::bind(("::", port)).unwrap());
    assert!(proxy.frontends(None).is_empty());
}

#[test]
fn a_number_passes_from_one_service_to_another_in_one_change() {
    let port = free_port();
    let old = service(port, Protocols::Tcp, &[tcp_server(b'a')]);
    let proxy = serving(&old);
    let mut new = service(port, Protocols::Tcp, &[tcp_server(b'b')]);
    new.id = "another".into();
    let mut client = connect(port);
    assert_eq!(name_of(&mut client).unwrap(), b'a');
    proxy.apply(vec![new.into()], AllDown::UseLast);
    assert!(
        is_reset(&client.read(&mut [0]).unwrap_err()),
        "the old service has ended"
    );
    assert_eq!(ask(port), b'b');
    assert_eq!(proxy.report().held, 1);
}

#[test]
fn connections_that_linger_do_not_keep_a_number_from_being_bound_again() {
    let port = free_port();
    let web = service(port, Protocols::Tcp, &[tcp_server(b'a')]);
    let proxy = serving(&web);
    for _ in 0..8 {
        // The proxy closes first, so that the lingering end is its own.
        let mut client = connect(port);
        assert_eq!(name_of(&mut client).unwrap(), b'a');
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
    proxy.stop();
    let again = serving(&web);
    assert_eq!(ask(port), b'a');
    drop(again);
}

#[test]
fn numbers_beyond_the_descriptors_are_refused_as_scarce() {
    // Bell, epoll and a spare for each worker; then room for two sockets.
    let workers = thread::available_parallelism().unwrap().get().min(4) as u64;
    let proxy = Proxy::start_within(settings(), Ledger::new(3 * workers + 2)).unwrap();
    let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
    proxy.hold(Protocols::Tcp, ports[0]).unwrap();
    let refused = proxy.hold(Protocols::Both, ports[1]).unwrap_err();
    assert_eq!(refused, (Protocol::Udp, Unheld::Scarce));
    proxy.hold(Protocols::Udp, ports[1]).unwrap();
    let services = ports.iter().map(|port| service(*port, Protocols::Tcp, &[]));
    proxy.apply(services.map(Into::into).collect(), AllDown::UseLast);
    let unheld = proxy.report().unheld;
    assert_eq!(unheld.len(), 2, "{unheld:?}");
    assert!(unheld.iter().all(|(_, why)| *why == Unheld::Scarce));
    assert!(TcpStream::connect(("127.0.0.1", ports[0])).is_ok());
}

#[test]
fn ten_thousand_sockets_are_held_and_cost_nothing_at_rest() {
    let proxy = proxy();
    let room = proxy.report().descriptor_limit;
    let count = 5_001.min((room / 2).saturating_sub(100)) as u16;
    let ports = (0..count).map(|step| 20_001 + step);
    let services = ports
        .clone()
        .map(|port| service(port, Protocols::Both, &[]));
    proxy.apply(services.map(Into::into).collect(), AllDown::UseLast);
    let report = proxy.report();
    assert_eq!(report.held + report.unheld.len(), 2 * usize::from(count));
    // Other tests and programs of this host have a few of them.
    let scarce = report
        .unheld
        .iter()
        .filter(|(_, why)| *why == Unheld::Scarce);
    assert_eq!(scarce.count(), 0);
    let held = ports.filter(|port| !proxy.unheld().contains_key(&(Protocol::Tcp, *port)));
    for port in held.step_by(700) {
        assert!(is_turned_away(port), "{port}");
    }
    proxy.apply(Vec::new(), AllDown::UseLast);
    assert_eq!(proxy.report().held, 0);
}

#[test]
fn a_number_that_a_service_lacked_is_served_once_it_is_held() {
    let (proxy, port) = (proxy(), free_port());
    let thief = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let web = service(port, Protocols::Tcp, &[tcp_server(b'a')]);
    proxy.apply(vec![web.into()], AllDown::UseLast);
    assert_eq!(
        proxy.hold(Protocols::Tcp, port),
        Err((Protocol::Tcp, Unheld::Taken))
    );
    drop(thief);
    proxy.hold(Protocols::Tcp, port).unwrap();
    assert!(proxy.unheld().is_empty());
    assert_eq!(ask(port), b'a');
}
