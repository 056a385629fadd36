//! What backends are told of clients, read from the wire by hand.

use super::*;
use crate::model::ClientIp;

fn telling(how: ClientIp, protocols: Protocols, backend: SocketAddr) -> (Proxy, u16) {
    let port = free_port();
    let mut web = service(port, protocols, &[backend]);
    web.settings.client_ip = how;
    (serving(&web), port)
}

#[test]
fn a_connection_begins_with_the_line_of_version_1() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (proxy, port) = telling(
        ClientIp::ProxyV1,
        Protocols::Tcp,
        listener.local_addr().unwrap(),
    );
    for host in ["127.0.0.2", "::1"] {
        let mut client = patient(TcpStream::connect((host, port)).unwrap());
        client.write_all(b"GET /").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut heard = String::new();
        listener
            .accept()
            .unwrap()
            .0
            .read_to_string(&mut heard)
            .unwrap();
        let (me, family) = (
            client.local_addr().unwrap(),
            if host == "::1" { 6 } else { 4 },
        );
        let line = format!(
            "PROXY TCP{family} {} {host} {} {port}\r\nGET /",
            me.ip(),
            me.port()
        );
        assert_eq!(heard, line);
    }
    until("the client's own bytes are counted, and no header", || {
        proxy.frontends(None)[0].forward_bytes == 10
    });
}

/// The header of version 2 for IPv4, taken apart: kind, client, dialled; and what follows.
fn take_apart(bytes: &[u8]) -> (u8, SocketAddr, SocketAddr, &[u8]) {
    assert_eq!(&bytes[..12], b"\r\n\r\n\0\r\nQUIT\n");
    assert_eq!((bytes[12], &bytes[14..16]), (0x21, &[0, 12][..]));
    let ip = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let (client, dialled) = ((ip(16), port(24)).into(), (ip(20), port(26)).into());
    (bytes[13], client, dialled, &bytes[28..])
}

#[test]
fn a_connection_begins_with_the_header_of_version_2() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_proxy, port) = telling(
        ClientIp::ProxyV2,
        Protocols::Tcp,
        listener.local_addr().unwrap(),
    );
    let client = connect(port);
    let (mut server, _) = listener.accept().unwrap();
    // Before the client has said anything: some servers speak first.
    let mut header = [0; 28];
    patient(server.try_clone().unwrap())
        .read_exact(&mut header)
        .unwrap();
    let (kind, from, to, _) = take_apart(&header);
    assert_eq!(
        (kind, from, to),
        (
            0x11,
            client.local_addr().unwrap(),
            client.peer_addr().unwrap()
        )
    );
    server.write_all(b"hello").unwrap();
    assert_eq!(name_of(&mut { client }).unwrap(), b'h');
}

#[test]
fn each_datagram_carries_the_header_and_answers_do_not() {
    let backend = udp_client("127.0.0.1:0");
    let (_proxy, port) = telling(
        ClientIp::ProxyV2,
        Protocols::Udp,
        backend.local_addr().unwrap(),
    );
    let client = udp_client("127.0.0.1:0");
    client.connect(("127.0.0.3", port)).unwrap();
    let mut room = vec![0; 65_536];
    for size in [0, 5, 60_000] {
        client.send(&vec![7; size]).unwrap();
        let (length, proxy) = backend.recv_from(&mut room).unwrap();
        let (kind, from, to, payload) = take_apart(&room[..length]);
        assert_eq!((kind, from), (0x12, client.local_addr().unwrap()));
        assert_eq!((to, payload.len()), (client.peer_addr().unwrap(), size));
        backend.send_to(b"answer", proxy).unwrap();
        assert_eq!(client.recv(&mut room).unwrap(), 6);
    }
}
