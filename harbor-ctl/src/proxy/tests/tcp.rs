//! Connections: both ways, both ends, and when something dies.

use std::{net::Shutdown, sync::mpsc};

use super::*;
use crate::model::FlowFilter;

/// A listener that nobody has accepted from yet, and its address.
fn listener(at: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(at).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A client through the proxy, and the backend's end of it.
fn pair(port: u16, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = connect(port);
    let (server, _) = listener.accept().unwrap();
    (client, patient(server))
}

#[test]
fn families_meet_freely() {
    let port = free_port();
    let (v4, v6) = (tcp_server(b'4'), tcp_server_at("[::1]:0", b'6'));
    let mut web = service(port, Protocols::Tcp, &[v4]);
    let proxy = serving(&web);
    for host in ["127.0.0.1", "::1"] {
        let mut client = patient(TcpStream::connect((host, port)).unwrap());
        assert_eq!(name_of(&mut client).unwrap(), b'4', "{host}");
    }
    web.backends = vec![backend(v6)];
    change(&proxy, &web);
    for host in ["127.0.0.1", "::1"] {
        let mut client = patient(TcpStream::connect((host, port)).unwrap());
        assert_eq!(name_of(&mut client).unwrap(), b'6', "{host}");
        let flows = proxy.listed();
        let flow = flows
            .iter()
            .find(|f| f.client == client.local_addr().unwrap());
        let flow = flow.expect("the flow is listed");
        assert_eq!(flow.frontend, client.peer_addr().unwrap());
        assert_eq!((flow.backend, flow.state.as_str()), (v6, "live"));
        assert_eq!(flow.source.ip(), v6.ip());
    }
}

#[test]
fn each_side_may_end_and_still_hear_the_other() {
    let (listener, address) = listener("127.0.0.1:0");
    let port = free_port();
    let _proxy = serving(&service(port, Protocols::Tcp, &[address]));
    let (mut client, mut server) = pair(port, &listener);
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut heard = Vec::new();
    server.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"question");
    // The other direction goes on after the end of the first.
    for _ in 0..100 {
        server.write_all(b"answer").unwrap();
    }
    server.shutdown(Shutdown::Write).unwrap();
    heard.clear();
    client.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"answer".repeat(100));

    let (mut client, mut server) = pair(port, &listener);
    server.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    client.write_all(b"late").unwrap();
    drop(client);
    heard.clear();
    server.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"late");
}

/// Numbers that do not repeat within any buffer.
fn bulk(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

#[test]
fn bulk_arrives_whole_both_ways_at_once_and_the_bytes_are_counted() {
    let (listener, address) = listener("127.0.0.1:0");
    let port = free_port();
    let proxy = serving(&service(port, Protocols::Tcp, &[address]));
    let (client, server) = pair(port, &listener);
    let size = 12 << 20;
    let send = |mut to: TcpStream, seed| {
        thread::spawn(move || {
            to.write_all(&bulk(seed, size)).unwrap();
            to.shutdown(Shutdown::Write).unwrap();
        })
    };
    let take = |mut from: TcpStream, seed, proxy: Proxy| {
        thread::spawn(move || {
            let mut heard = Vec::new();
            // A reader that starts late lets the buffers on the way fill up.
            until("much is under way", || {
                proxy.frontends(None)[0].forward_bytes > 1 << 17
            });
            from.read_to_end(&mut heard).unwrap();
            assert!(heard == bulk(seed, size), "{} bytes", heard.len());
        })
    };
    let threads = [
        send(client.try_clone().unwrap(), 1),
        send(server.try_clone().unwrap(), 2),
        take(server, 1, proxy.clone()),
        take(client, 2, proxy.clone()),
    ];
    for thread in threads {
        thread.join().unwrap();
    }
    until("the flow has ended", || {
        flows_of(&proxy, Protocol::Tcp) == 0
    });
    let (frontends, backends) = (proxy.frontends(None), proxy.backends(None));
    let (front, back) = (&frontends[0], &backends[0]);
    assert_eq!(
        (front.forward_bytes, front.reply_bytes),
        (size as u64, size as u64)
    );
    assert_eq!(
        (back.forward_bytes, back.reply_bytes),
        (size as u64, size as u64)
    );
    assert_eq!((front.flows_total, back.flows_total, back.flows), (1, 1, 0));
    assert_eq!(proxy.report().connections, 0);
}

#[test]
fn a_reset_of_one_side_is_a_reset_of_the_other() {
    let (listener, address) = listener("127.0.0.1:0");
    let port = free_port();
    let _proxy = serving(&service(port, Protocols::Tcp, &[address]));
    let kill = |stream: TcpStream| {
        let linger = Some(Duration::ZERO);
        rustix::net::sockopt::set_socket_linger(&stream, linger).unwrap();
        drop(stream);
    };
    let (client, mut server) = pair(port, &listener);
    kill(client);
    assert!(is_reset(&server.read(&mut [0]).unwrap_err()));
    let (mut client, server) = pair(port, &listener);
    kill(server);
    assert!(is_reset(&client.read(&mut [0]).unwrap_err()));
    // Also when the proxy cannot write to the other side, whose buffers are full.
    let (mut client, server) = pair(port, &listener);
    client.set_nonblocking(true).unwrap();
    let block = vec![0; 1 << 20];
    until("the way is full", || client.write(&block).is_err());
    kill(server);
    client.set_nonblocking(false).unwrap();
    until("the client hears of it", || {
        client.write(&block).is_err_and(|error| is_reset(&error))
    });
}

#[test]
fn who_refuses_is_passed_over_and_named() {
    let port = free_port();
    let dead = {
        let (listener, address) = listener("127.0.0.1:0");
        drop(listener);
        address
    };
    let live = tcp_server(b'a');
    let mut web = service(port, Protocols::Tcp, &[dead, live]);
    let proxy = serving(&web);
    for _ in 0..6 {
        assert_eq!(ask(port), b'a');
    }
    assert_eq!(sights(&proxy), [(dead, Err(Doubt::Refused))]);
    assert!(proxy.evidence().is_empty(), "told once");
    // What those flows have met is no verdict: it is tried again.
    assert!(!proxy.backends(None)[0].is_ejected);
    assert_eq!((ask(port), ask(port)), (b'a', b'a'));
    assert_eq!(sights(&proxy).len(), 1);
    proxy.eject(&suspect(Protocol::Tcp, port, dead), Some(Doubt::Refused));
    for _ in 0..6 {
        assert_eq!(ask(port), b'a');
    }
    assert_eq!(sights(&proxy), [], "nobody tries it");
    let backends = proxy.backends(None);
    assert_eq!(
        (backends[0].is_ejected, backends[1].is_ejected),
        (true, false)
    );
    assert_eq!(backends[0].doubt, Some(Doubt::Refused));
    assert_eq!((backends[0].flows, backends[0].flows_total), (0, 0));
    assert_eq!(proxy.frontends(None)[0].backends_reachable, 1);
    // Alone it is tried, ejected or not; the client hears what it hears.
    web.backends.remove(1);
    change(&proxy, &web);
    assert!(is_turned_away(port));
    assert_eq!(sights(&proxy), [(dead, Err(Doubt::Refused))]);
    let back = TcpListener::bind(dead).unwrap();
    let client = connect(port);
    let _server = back.accept().unwrap();
    until("it is told that it takes flows", || {
        sights(&proxy) == [(dead, Ok(()))]
    });
    drop(client);
}

#[test]
fn a_draining_backend_keeps_its_flows_and_a_removed_one_resets_them() {
    let port = free_port();
    let (a, b) = (tcp_server(b'a'), tcp_server(b'b'));
    let mut web = service(port, Protocols::Tcp, &[a]);
    let proxy = serving(&web);
    let mut old = connect(port);
    assert_eq!(name_of(&mut old).unwrap(), b'a');
    web.backends.push(backend(b));
    for state in [BackendState::Draining, BackendState::Leaving { until: 9 }] {
        web.backends[0].state = state;
        change(&proxy, &web);
        for _ in 0..3 {
            assert_eq!(ask(port), b'b');
        }
        old.write_all(b"x").unwrap();
        assert_eq!(name_of(&mut old).unwrap(), b'x', "the echo still comes");
    }
    web.backends.remove(0);
    change(&proxy, &web);
    assert!(is_reset(&old.read(&mut [0]).unwrap_err()));
    assert_eq!(ask(port), b'b');
    web.draining = true;
    change(&proxy, &web);
    assert!(is_turned_away(port));
}

#[test]
fn flows_end_by_word_and_by_silence() {
    let port = free_port();
    let mut web = service(port, Protocols::Tcp, &[tcp_server(b'a')]);
    let proxy = serving(&web);
    let mut clients: Vec<TcpStream> = (0..3).map(|_| connect(port)).collect();
    for client in &mut clients {
        assert_eq!(name_of(client).unwrap(), b'a');
    }
    let mine = clients[0].local_addr().unwrap().to_string();
    let filter = FlowFilter {
        client: Some(crate::model::ClientName::parse(&mine).unwrap()),
        ..FlowFilter::default()
    };
    assert_eq!(proxy.end_flows(&filter), Ok(1));
    assert!(is_reset(&clients[0].read(&mut [0]).unwrap_err()));
    assert_eq!(proxy.listed().len(), 2);
    web.settings.idle_timeout_s = 1;
    change(&proxy, &web);
    let (done, silence) = mpsc::channel();
    let mut quiet = clients.remove(1);
    thread::spawn(move || done.send(quiet.read(&mut [0]).map_err(|error| is_reset(&error))));
    // The other one talks all the time.
    let outcome = loop {
        clients[1].write_all(b"x").unwrap();
        assert_eq!(name_of(&mut clients[1]).unwrap(), b'x');
        if let Ok(outcome) = silence.recv_timeout(Duration::from_millis(50)) {
            break outcome;
        }
    };
    assert_eq!(outcome, Err(true));
    assert_eq!(proxy.listed().len(), 1);
}

#[test]
fn what_is_said_while_the_backend_is_sought_is_not_lost() {
    let (listener, address) = listener("127.0.0.1:0");
    let dead = SocketAddr::from(([127, 0, 0, 1], 1));
    let port = free_port();
    let _proxy = serving(&service(port, Protocols::Tcp, &[dead, address]));
    for text in [&b"early"[..], b"again"] {
        let mut client = connect(port);
        client.write_all(text).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let mut heard = Vec::new();
        patient(server.try_clone().unwrap())
            .read_to_end(&mut heard)
            .unwrap();
        assert_eq!(heard, text);
        server.write_all(b"done").unwrap();
        drop(server);
        heard.clear();
        client.read_to_end(&mut heard).unwrap();
        assert_eq!(heard, b"done");
    }
}
