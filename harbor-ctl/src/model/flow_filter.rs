//! Which flows are meant: by client, by backend, by the port they came in on. Pure.

use std::net::{IpAddr, SocketAddr};

use super::{flow::FlowEnds, protocol::Protocols, refusal::Refusal};

/// A client as it is named: by address, or by address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientName {
    ip: IpAddr,
    port: Option<u16>,
}

impl ClientName {
    /// Reads `IP` or `IP:PORT`; an IPv6 address may stand in brackets, and must before a port.
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
        if let Ok(ip) = bare.unwrap_or(text).parse() {
            return Ok(Self { ip, port: None });
        }
        match text.parse::<SocketAddr>() {
            Ok(address) => Ok(Self {
                ip: address.ip(),
                port: Some(address.port()),
            }),
            Err(_) => {
                let shown: String = text.chars().take(80).collect();
                let text = format!("{shown:?} is not a client's address");
                Err(Refusal::invalid("client", text)
                    .fix("write it as IP or IP:PORT, an IPv6 address in brackets"))
            }
        }
    }

    /// Its address, and its port if that is named.
    pub(crate) fn ends(self) -> (IpAddr, Option<u16>) {
        (self.ip, self.port)
    }

    /// Whether this is the text of its address, or of its address and port.
    pub(crate) fn is_text(self, text: &str) -> bool {
        match (text.parse::<SocketAddr>(), text.parse::<IpAddr>()) {
            (Ok(client), _) => self.is(client),
            (_, Ok(ip)) => self.port.is_none() && self.ip == ip,
            _ => false,
        }
    }

    fn is(self, client: SocketAddr) -> bool {
        self.ip == client.ip() && self.port.is_none_or(|port| port == client.port())
    }
}

/// What must all be so of a flow; what is missing is so of every flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FlowFilter {
    pub(crate) port: Option<(u16, Protocols)>,
    pub(crate) client: Option<ClientName>,
    /// Any of these; `None` = any at all.
    pub(crate) backends: Option<Vec<SocketAddr>>,
}

impl FlowFilter {
    pub(crate) fn holds(&self, flow: &FlowEnds) -> bool {
        let at = |(port, protocols): (u16, Protocols)| {
            port == flow.frontend.port() && protocols.contains(flow.protocol)
        };
        self.port.is_none_or(at)
            && self.client.is_none_or(|client| client.is(flow.client))
            && self
                .backends
                .as_ref()
                .is_none_or(|backends| backends.contains(&flow.backend))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Protocol;

    fn flow(client: &str, backend: &str) -> FlowEnds {
        FlowEnds {
            protocol: Protocol::Tcp,
            client: client.parse().unwrap(),
            frontend: "192.0.2.1:35000".parse().unwrap(),
            backend: backend.parse().unwrap(),
        }
    }

    #[test]
    fn clients_are_named_with_and_without_a_port() {
        let is =
            |name: &str, client: &str| ClientName::parse(name).unwrap().is(client.parse().unwrap());
        assert!(is("198.51.100.7", "198.51.100.7:4000"));
        assert!(is("198.51.100.7:4000", "198.51.100.7:4000"));
        assert!(!is("198.51.100.7:4001", "198.51.100.7:4000"));
        for name in ["2001:db8::7", "[2001:db8::7]", "[2001:db8::7]:4000"] {
            assert!(is(name, "[2001:db8::7]:4000"), "{name}");
        }
        for wrong in ["", "host", "198.51.100.7:", "[198.51.100.7"] {
            assert!(ClientName::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn everything_that_is_named_must_be_so() {
        let flow = flow("198.51.100.7:4000", "10.0.0.9:80");
        assert!(FlowFilter::default().holds(&flow));
        let filter = FlowFilter {
            port: Some((35_000, Protocols::Both)),
            client: Some(ClientName::parse("198.51.100.7").unwrap()),
            backends: Some(vec!["10.0.0.9:80".parse().unwrap()]),
        };
        assert!(filter.holds(&flow));
        for port in [(35_001, Protocols::Both), (35_000, Protocols::Udp)] {
            let port = Some(port);
            assert!(
                !FlowFilter {
                    port,
                    ..filter.clone()
                }
                .holds(&flow)
            );
        }
        let backends = Some(Vec::new());
        assert!(!FlowFilter { backends, ..filter }.holds(&flow));
    }
}
