//! The packet that `explain` asks about, and what a dry run has found of it.

use std::{fmt, net::SocketAddr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{protocol::Protocol, refusal::Refusal};

/// A flag of a TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TcpFlag {
    Syn,
    Ack,
    Fin,
    Rst,
}

impl TcpFlag {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Syn => "syn",
            Self::Ack => "ack",
            Self::Fin => "fin",
            Self::Rst => "rst",
        }
    }
}

/// A packet, valid: both ends of one family, flags only where there are any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) protocol: Protocol,
    /// Of a UDP datagram, none.
    pub(crate) flags: Vec<TcpFlag>,
}

impl Question {
    /// Reads the ends; without flags a TCP segment is a SYN, the first of a connection.
    pub(crate) fn read(
        source: &str,
        destination: &str,
        protocol: Protocol,
        flags: Vec<TcpFlag>,
    ) -> Result<Self, Refusal> {
        let (source, destination) = (end("src", source)?, end("dst", destination)?);
        if source.is_ipv4() != destination.is_ipv4() {
            let text = format!("{source} and {destination} are not of one IP family");
            return Err(Refusal::invalid("src", text));
        }
        let flags = match protocol {
            Protocol::Udp if !flags.is_empty() => {
                return Err(Refusal::invalid("flags", "a UDP datagram has no flags"));
            }
            Protocol::Tcp if flags.is_empty() => vec![TcpFlag::Syn],
            _ => flags,
        };
        Ok(Self {
            source,
            destination,
            protocol,
            flags,
        })
    }
}

fn end(field: &str, text: &str) -> Result<SocketAddr, Refusal> {
    let shown: String = text.chars().take(80).collect();
    let wrong = |what: &str| {
        Refusal::invalid(field, format!("{shown:?} {what}"))
            .fix("write it as IP:PORT, for example 192.0.2.1:35000 or [2001:db8::1]:35000")
    };
    match text.parse::<SocketAddr>() {
        Err(_) => Err(wrong("is not an address with a port")),
        Ok(SocketAddr::V6(v6)) if v6.ip().to_ipv4_mapped().is_some() || v6.scope_id() != 0 => {
            Err(wrong("can stand in no packet"))
        }
        Ok(address) => Ok(address),
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            source,
            destination,
            protocol,
            flags,
        } = self;
        write!(f, "{protocol} {source} to {destination}")?;
        let names: Vec<&str> = flags.iter().map(|flag| flag.name()).collect();
        match names.is_empty() {
            true => Ok(()),
            false => write!(f, " ({})", names.join(" ")),
        }
    }
}

/// What a dry run has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Finding {
    /// `forward`, `pass` or `drop`.
    pub(crate) verdict: String,
    pub(crate) name: String,
    pub(crate) meaning: String,
    pub(crate) steps: Steps,
    /// The programs leave it to the host under this verdict, and the proxy takes it up.
    pub(crate) passed_as: Option<String>,
    pub(crate) frontend: Option<(Protocol, u16)>,
    pub(crate) backend: Option<FoundBackend>,
    /// How the backend was selected.
    pub(crate) policy: Option<String>,
    /// How far the flow that it belongs to has come.
    pub(crate) flow: Option<String>,
    /// The interface by which it would leave.
    pub(crate) interface: Option<String>,
    /// The neighbour's hardware address, if it is known beforehand.
    pub(crate) next_hop: Option<String>,
}

/// What the packet path did, in its own order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Steps {
    pub(crate) parsed: bool,
    pub(crate) reply: bool,
    pub(crate) quoted: bool,
    pub(crate) retired: bool,
    pub(crate) admitted: bool,
    pub(crate) affinity: bool,
    pub(crate) routed: bool,
}

/// A backend that the kernel knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundBackend {
    pub(crate) protocol: Protocol,
    /// The public port that it stands behind.
    pub(crate) port: u16,
    pub(crate) address: SocketAddr,
    /// `active`, `draining`, `unhealthy` or `gone`.
    pub(crate) state: String,
    pub(crate) is_suspect: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str, destination: &str) -> Result<Question, Refusal> {
        Question::read(source, destination, Protocol::Tcp, Vec::new())
    }

    #[test]
    fn a_packet_without_flags_is_the_first_of_its_conversation() {
        let question = read("198.51.100.7:4000", "192.0.2.1:35000").unwrap();
        assert_eq!(
            question.to_string(),
            "tcp 198.51.100.7:4000 to 192.0.2.1:35000 (syn)"
        );
        let udp = Question::read("[2001:db8::7]:1", "[2001:db8::1]:2", Protocol::Udp, vec![]);
        assert_eq!(
            udp.unwrap().to_string(),
            "udp [2001:db8::7]:1 to [2001:db8::1]:2"
        );
    }

    #[test]
    fn what_can_be_no_packet_is_refused() {
        for (source, destination) in [
            ("198.51.100.7", "192.0.2.1:35000"),
            ("198.51.100.7:4000", "host:35000"),
            ("198.51.100.7:4000", "[2001:db8::1]:35000"),
            ("[::ffff:1.2.3.4]:1", "[2001:db8::1]:35000"),
        ] {
            assert!(read(source, destination).is_err(), "{source} {destination}");
        }
        let flagged = Question::read("1.2.3.4:1", "5.6.7.8:2", Protocol::Udp, vec![TcpFlag::Ack]);
        assert_eq!(flagged.unwrap_err().field.as_deref(), Some("flags"));
    }
}
