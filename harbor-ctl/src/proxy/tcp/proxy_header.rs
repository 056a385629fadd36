//! What a backend is told of its client before the client's own bytes: the PROXY protocol's header
//! (HAProxy's specification, versions 1 and 2).
//!
//! A connection carries it once. Each datagram carries it, because a receiver cannot rely on having
//! got another one before; the specification knows datagrams in version 2 only.

use std::net::SocketAddr;

use proxy_header::{ProxiedAddress, ProxyHeader};

use crate::model::{ClientIp, Protocol};

/// The header of a client's flow; nothing where backends are told nothing.
pub(crate) fn header(
    how: ClientIp,
    protocol: Protocol,
    client: SocketAddr,
    dialled: SocketAddr,
) -> Vec<u8> {
    let proxied = match protocol {
        Protocol::Tcp => ProxiedAddress::stream(client, dialled),
        Protocol::Udp => ProxiedAddress::datagram(client, dialled),
    };
    let (header, mut bytes) = (ProxyHeader::with_address(proxied), Vec::new());
    let encoded = match (how, protocol) {
        (ClientIp::Snat, _) | (ClientIp::ProxyV1, Protocol::Udp) => Ok(()),
        (ClientIp::ProxyV1, Protocol::Tcp) => header.encode_v1(&mut bytes),
        (ClientIp::ProxyV2, _) => header.encode_v2(&mut bytes),
    };
    if let Err(error) = encoded {
        // Both ends are of one family, which is all that an encoder asks for.
        tracing::error!("cannot tell a backend of {client}: {error}");
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    fn of(how: ClientIp, protocol: Protocol, client: &str, dialled: &str) -> Vec<u8> {
        header(
            how,
            protocol,
            client.parse().unwrap(),
            dialled.parse().unwrap(),
        )
    }

    #[test]
    fn version_1_is_a_line() {
        let v1 = |client, dialled| of(ClientIp::ProxyV1, Protocol::Tcp, client, dialled);
        assert_eq!(
            v1("192.0.2.7:40000", "198.51.100.1:35000"),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 35000\r\n"
        );
        assert_eq!(
            v1("[2001:db8::7]:40000", "[2001:db8::1]:35000"),
            b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 35000\r\n"
        );
    }

    #[test]
    fn version_2_is_binary_and_knows_datagrams() {
        let ends = [0x9c, 0x40, 0x88, 0xb8];
        for (protocol, kind) in [(Protocol::Tcp, 0x11), (Protocol::Udp, 0x12)] {
            let bytes = of(
                ClientIp::ProxyV2,
                protocol,
                "192.0.2.7:40000",
                "198.51.100.1:35000",
            );
            let body = [&[192, 0, 2, 7, 198, 51, 100, 1][..], &ends].concat();
            let expected = [SIGNATURE, &[0x21, kind, 0, 12], &body].concat();
            assert_eq!(bytes, expected);
        }
        let bytes = of(
            ClientIp::ProxyV2,
            Protocol::Tcp,
            "[2001:db8::7]:40000",
            "[2001:db8::1]:35000",
        );
        assert_eq!(bytes[12..16], [0x21, 0x21, 0, 36]);
        assert_eq!((bytes[31], bytes[47], &bytes[48..]), (7, 1, &ends[..]));
    }

    #[test]
    fn who_is_told_nothing_gets_nothing() {
        for (how, protocol) in [
            (ClientIp::Snat, Protocol::Tcp),
            (ClientIp::ProxyV1, Protocol::Udp),
        ] {
            assert!(of(how, protocol, "192.0.2.7:1", "192.0.2.1:2").is_empty());
        }
    }
}
