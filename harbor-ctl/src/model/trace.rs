//! Packets that somebody follows through the programs, and which of them are told.

use std::{net::SocketAddr, num::NonZeroU32};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::flow_filter::ClientName;

/// Which packets the programs tell of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tracing {
    /// One in so many.
    pub(crate) one_in: NonZeroU32,
    /// At most so many a second and processor.
    pub(crate) per_second: NonZeroU32,
    /// Those whose verdict's number lies between these, which are meant too.
    pub(crate) verdicts: [u32; 2],
    /// Those of this public port alone.
    pub(crate) port: Option<u16>,
    /// Those of this client alone.
    pub(crate) client: Option<ClientName>,
}

/// What a trace says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum TraceLine {
    Packet(Box<TracedPacket>),
    Missed(MissedPackets),
}

/// Packets that a trace leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct MissedPackets {
    /// How many were meant and are not told, since the line before that says so: more came than
    /// `per_second` allows, or than are read.
    pub(crate) missed: u64,
}

/// A packet, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct TracedPacket {
    /// Microseconds since 1970.
    pub(crate) at_us: u64,
    /// By which it came in.
    pub(crate) interface: String,
    /// Bytes of the frame as it came in.
    pub(crate) length: u32,
    /// `forward`, `pass` or `drop`.
    pub(crate) verdict: String,
    /// The verdict's name, as `stats` has it.
    pub(crate) name: String,
    pub(crate) meaning: String,
    /// Of the packet as it came in; missing where it is no IP packet.
    pub(crate) arriving: Option<TracedHeaders>,
    /// Of the packet as it leaves, where the programs have changed it.
    pub(crate) leaving: Option<TracedHeaders>,
    /// What the programs did with it, in their order: `parse`, `icmp`, `frontend`, `reply`, `flow`,
    /// `retire`, `admit`, `affinity`, `select`, `route`, `translate`.
    #[serde(default)]
    pub(crate) stages: Vec<String>,
    /// The interface that it leaves by; missing where the programs do not send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) leaves_by: Option<String>,
    /// The first 128 bytes of the frame as it came in, in base64.
    pub(crate) bytes: String,
}

/// What a packet's headers say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct TracedHeaders {
    /// `tcp`, `udp`, `icmp`, `icmpv6` or the protocol's number.
    pub(crate) protocol: String,
    /// IP:PORT, or IP where there is no port.
    pub(crate) source: String,
    pub(crate) destination: String,
    /// Of a TCP segment: `syn`, `ack`, `fin`, `rst`, `psh`, with commas between them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) flags: String,
}

/// What must be so of a packet; what is missing is so of every packet.
#[derive(Clone, Debug, Default)]
pub(crate) struct TraceFilter {
    /// The port that the packet is for, or that it comes from when it leaves.
    pub(crate) port: Option<u16>,
    /// Its sender, or to whom it leaves.
    pub(crate) client: Option<ClientName>,
    /// A verdict's name, or what it comes to.
    pub(crate) verdict: Option<String>,
}

impl TraceFilter {
    pub(crate) fn is_meant(&self, packet: &TracedPacket) -> bool {
        let client = [
            packet.arriving.as_ref().map(|headers| &headers.source),
            packet.leaving.as_ref().map(|headers| &headers.destination),
        ];
        let public = [
            packet.arriving.as_ref().map(|headers| &headers.destination),
            packet.leaving.as_ref().map(|headers| &headers.source),
        ];
        let is_port = |port: u16| {
            let mut ends = public.iter().flatten();
            ends.any(|end| end.parse().is_ok_and(|end: SocketAddr| end.port() == port))
        };
        let is_client = |name: ClientName| {
            let mut ends = client.iter().flatten();
            ends.any(|end| name.is_text(end))
        };
        let is_verdict = |verdict: &String| *verdict == packet.verdict || *verdict == packet.name;
        self.port.is_none_or(is_port)
            && self.client.is_none_or(is_client)
            && self.verdict.as_ref().is_none_or(is_verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(source: &str, destination: &str) -> Option<TracedHeaders> {
        Some(TracedHeaders {
            protocol: "tcp".to_owned(),
            source: source.to_owned(),
            destination: destination.to_owned(),
            flags: String::new(),
        })
    }

    fn packet(arriving: Option<TracedHeaders>, leaving: Option<TracedHeaders>) -> TracedPacket {
        TracedPacket {
            at_us: 0,
            interface: "eth0".to_owned(),
            length: 60,
            verdict: "drop".to_owned(),
            name: "no-backend".to_owned(),
            meaning: String::new(),
            arriving,
            leaving,
            stages: Vec::new(),
            leaves_by: None,
            bytes: String::new(),
        }
    }

    #[test]
    fn both_directions_of_a_port_and_of_a_client_are_meant() {
        let there = packet(
            headers("10.0.0.9:4000", "192.0.2.1:36000"),
            headers("192.0.2.1:12000", "10.1.0.1:80"),
        );
        let back = packet(
            headers("10.1.0.1:80", "192.0.2.1:12000"),
            headers("192.0.2.1:36000", "10.0.0.9:4000"),
        );
        let filter = |port, client: &str, verdict: &str| TraceFilter {
            port,
            client: (!client.is_empty()).then(|| ClientName::parse(client).unwrap()),
            verdict: (!verdict.is_empty()).then(|| verdict.to_owned()),
        };
        for packet in [&there, &back] {
            for (port, client, verdict, is_meant) in [
                (None, "", "", true),
                (Some(36_000), "10.0.0.9", "drop", true),
                (Some(36_000), "10.0.0.9:4000", "no-backend", true),
                (Some(36_001), "", "", false),
                (None, "10.0.0.8", "", false),
                (None, "10.0.0.9:4001", "", false),
                (None, "", "forward", false),
            ] {
                let filter = filter(port, client, verdict);
                assert_eq!(filter.is_meant(packet), is_meant, "{filter:?} {packet:?}");
            }
        }
        // The end of an IPv6 address is no port.
        let ping = packet(headers("2001:db8::1", "2001:db8::8080"), None);
        assert!(!filter(Some(8_080), "", "").is_meant(&ping));
        let strange = packet(None, None);
        assert!(!filter(Some(1), "", "").is_meant(&strange));
        assert!(filter(None, "", "").is_meant(&strange));
    }
}
