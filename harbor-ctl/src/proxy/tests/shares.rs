//! Ports and clients that want more of the proxy than their share.

use super::{limited::overhead, *};
use crate::{
    model::{Question, TcpFlag},
    proxy::settings::ProxySettings,
};

/// Descriptors that are left for flows.
const LEFT: u64 = 160;

/// A proxy that serves these ports, TCP and UDP, and has few descriptors.
fn short_of_descriptors(settings: ProxySettings, ports: &[u16]) -> Proxy {
    let ledger = Ledger::new(overhead() + 2 * ports.len() as u64 + LEFT * 16 / 15);
    let proxy = Proxy::start_within(settings, ledger).unwrap();
    let app = tcp_server(b'a');
    serve_udp(UdpSocket::bind(app).unwrap(), b'a');
    let one = |port: &u16| service(*port, Protocols::Both, &[app]).into();
    proxy.apply(ports.iter().map(one).collect(), AllDown::UseLast);
    proxy
}

/// One client of this host may have as much as a port.
fn one_client() -> ProxySettings {
    ProxySettings {
        client_share: 100,
        ..settings()
    }
}

#[test]
fn questions_make_room_for_one_another_and_a_client_that_goes_on_stays() {
    let [port, other] = [free_port(), free_port()];
    let proxy = short_of_descriptors(one_client(), &[port, other]);
    let to = ("127.0.0.1", port);
    let talks = udp_client("127.0.0.1:0");
    for _ in 0..2 {
        assert_eq!(exchange(&talks, to, b"x"), b'a');
    }
    for _ in 0..2 * LEFT {
        assert_eq!(exchange(&udp_client("127.0.0.1:0"), to, b"x"), b'a');
    }
    let flows = flows_of(&proxy, Protocol::Udp);
    assert!((16..=LEFT / 4).contains(&flows), "{flows}");
    let talked = talks.local_addr().unwrap();
    let is_there = |flow: FlowRecord| flow.client == talked;
    assert!(proxy.listed().into_iter().any(is_there));
    let report = proxy.report();
    assert!(report.shares.ended >= LEFT, "{report:?}");
    assert_eq!(report.shed, 0);
    assert_eq!(ask(other), b'a');
}

#[test]
fn connections_in_use_keep_their_share_and_others_have_theirs() {
    let [port, other] = [free_port(), free_port()];
    let proxy = short_of_descriptors(one_client(), &[port, other]);
    let (mut held, mut turned_away) = (Vec::new(), 0);
    for _ in 0..LEFT {
        let greeted = dial(port).and_then(|mut client| name_of(&mut client).map(|_| client));
        match greeted {
            Ok(client) => held.push(client),
            Err(error) => turned_away += u64::from(is_reset(&error)),
        }
    }
    assert_eq!(held.len() as u64 + turned_away, LEFT);
    assert!(
        (8..=LEFT / 8).contains(&(held.len() as u64)),
        "{}",
        held.len()
    );
    let share = proxy.share_of(Protocol::Tcp, port);
    assert!(
        share.is_full() && share.used == 2 * held.len() as u64,
        "{share}"
    );
    let named = proxy.report().shares.full;
    assert!(named.contains(&share), "{named:?}");
    assert_eq!(ask(other), b'a');
    for client in &mut held {
        client.write_all(b"x").unwrap();
        assert_eq!(name_of(client).unwrap(), b'x');
    }
    let question = Question {
        source: ([127, 0, 0, 1], 4).into(),
        destination: ([127, 0, 0, 1], port).into(),
        protocol: Protocol::Tcp,
        flags: vec![TcpFlag::Syn],
    };
    assert_eq!(proxy.explain(&question, true).name, "flow-ceiling");
    drop(held);
    until("there is room again", || {
        proxy.share_of(Protocol::Tcp, port).used == 0
    });
    assert_eq!(proxy.report().shares.full, []);
}

#[test]
fn a_client_has_its_share_at_all_ports_together() {
    let ports: Vec<u16> = (0..8).map(|_| free_port()).collect();
    let proxy = short_of_descriptors(settings(), &ports);
    let mut held = Vec::new();
    for port in ports.iter().cycle().take(40) {
        held.extend(dial(*port).and_then(|mut one| name_of(&mut one).map(|_| one)));
    }
    assert_eq!(held.len(), 8, "a tenth, and 16 at least");
    let mut beside = patient(TcpStream::connect(("::1", ports[0])).unwrap());
    assert_eq!(name_of(&mut beside).unwrap(), b'a');
    let full = proxy.report().shares.full;
    assert!(full.iter().any(|one| one.what == "client"), "{full:?}");
}

#[test]
fn a_share_that_is_changed_holds_at_once() {
    let port = free_port();
    let proxy = short_of_descriptors(one_client(), &[port]);
    let wider = ProxySettings {
        port_share: 100,
        ..one_client()
    };
    let before = proxy.share_of(Protocol::Tcp, port).room;
    proxy.set_terms(&wider);
    let after = proxy.share_of(Protocol::Tcp, port).room;
    assert!(after > 3 * before, "{before} {after}");
}

#[test]
fn a_connection_of_which_one_side_has_ended_ends_when_nothing_moves_and_not_before() {
    // It takes all and never closes.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free_port();
    let web = service(port, Protocols::Tcp, &[listener.local_addr().unwrap()]);
    let proxy = Proxy::start(ProxySettings {
        half_closed: Duration::from_secs(2),
        ..settings()
    })
    .unwrap();
    proxy.apply(vec![web.into()], AllDown::UseLast);
    let (silent, mut told) = (connect(port), connect(port));
    let mut apps = [listener.accept().unwrap().0, listener.accept().unwrap().0];
    let from = apps.iter().map(|app| app.peer_addr().unwrap());
    let flows = proxy.listed();
    let of = |source| {
        flows
            .iter()
            .find(|flow| flow.source == source)
            .unwrap()
            .client
    };
    let clients: Vec<SocketAddr> = from.map(of).collect();
    let index = clients
        .iter()
        .position(|c| *c == told.local_addr().unwrap());
    for client in [&silent, &told] {
        client.shutdown(std::net::Shutdown::Write).unwrap();
    }
    let app = &mut apps[index.unwrap()];
    until("the silent one has ended", || {
        app.write_all(b"x").unwrap();
        proxy.report().connections == 1
    });
    let mut all = Vec::new();
    app.shutdown(std::net::Shutdown::Write).unwrap();
    told.read_to_end(&mut all).unwrap();
    assert!(all.len() > 100, "{}", all.len());
}
