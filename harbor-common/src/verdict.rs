//! What became of a packet, and why.
//!
//! Numbers are append-only: they index the `verdicts` map, label metrics and stand in operators'
//! notes. `name` never changes; `meaning` may be worded better.

/// Where the reasons to drop begin in the `verdicts` map; reasons to pass lie below.
pub const FIRST_DROP: u32 = 32;
/// Elements of the `verdicts` map.
pub const VERDICT_NUMBERS: usize = 64;

macro_rules! reasons {
    ($(#[$doc:meta])* $enum:ident { $($variant:ident = $number:literal, $name:literal, $meaning:literal;)+ }) => {
        $(#[$doc])*
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $enum {
            $(#[doc = $meaning] $variant = $number,)+
        }

        impl $enum {
            /// Every reason, in order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable identifier used in metrics and output.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// One sentence for people.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)+ }
            }
        }
    };
}

reasons! {
    /// Why a packet was left, byte for byte, to the host's own network stack.
    PassReason {
        NotIp = 1, "not-ip", "neither IPv4 nor IPv6: ARP, LLDP, VLAN tags and the like";
        Truncated = 3, "truncated", "the frame ends before its headers do";
        Malformed = 4, "malformed", "header fields contradict each other or the frame's length";
        OtherProtocol = 5, "other-protocol", "neither TCP nor UDP, for example ICMP";
        Fragment = 6, "fragment", "a fragment that came before the first of its datagram, or that belongs to no TCP flow of ours";
        Options = 7, "ip-options", "IP options or extension headers on a packet that opens no flow of ours";
        OtherHost = 8, "other-host", "the frame is addressed to another host's MAC, or to a group's";
        NotOurs = 9, "not-ours", "no frontend answers on this address and port";
        NoFlow = 10, "no-flow", "a TCP segment that belongs to no flow and opens none: the stack resets it";
        Icmp = 12, "icmp", "an ICMP message that quotes no flow of ours: echo, or an error for the host itself";
        OtherFamily = 13, "other-family", "the port has backends of the other IP family only";
        Unrouted = 14, "unrouted", "no way that the program can vouch for leads to the port's backends or back to the client: the proxy serves it";
        UnknownSender = 11, "unknown-sender", "for the translation range, but from nobody who is a backend";
    }
}

reasons! {
    /// Why a packet was discarded. It was Harbor's, and could not be forwarded.
    DropReason {
        NoBackend = 32, "no-backend", "the port has no backend that takes new flows";
        OwnSource = 33, "own-source", "the source is one of this node's own addresses: spoofed, or a loop";
        TtlExpired = 34, "ttl-expired", "the time to live ran out here";
        SourcePorts = 35, "source-ports", "no source port towards the backend is free; a connection is answered with a reset";
        FlowsFull = 36, "flows-full", "the flow table is full";
        FlowRace = 37, "flow-race", "another CPU changed the same flow at the same moment; the sender retransmits";
        BackendGone = 38, "backend-gone", "a packet of a flow whose backend has been removed; a connection is answered with a reset";
        BackendNoFlow = 39, "backend-no-flow", "a backend sent to the translation range outside any flow; a connection is answered with a reset";
        FlowFragment = 41, "flow-fragment", "the first fragment of a flow's packet is too short to be translated";
        Rewrite = 42, "rewrite", "the kernel refused to make the packet writable or to fix its checksum";
        Martian = 43, "martian-source", "the source can be no sender: loopback, multicast, broadcast or this network";
        Denied = 44, "denied", "the port's lists of networks do not allow this client";
        NewFlowLimit = 45, "new-flow-limit", "the port's limit on new flows a second is reached";
        FlowQuota = 46, "flow-quota", "the port's limit on flows at once is reached";
        PacketLimit = 47, "packet-limit", "the port's limit on packets a second is reached";
        ByteLimit = 48, "byte-limit", "the port's limit on bytes a second is reached";
        ReplyCap = 49, "reply-cap", "the client has sent one datagram only, and the port caps what may come back";
        TooBig = 50, "too-big", "larger than the way out takes; the sender is told by ICMP";
        BackendRefused = 51, "backend-refused", "a backend refused a new flow; the client's next packet goes to another";
        ClientQuota = 53, "client-quota", "the client keeps as many flows at the port, or at all ports, as one client may";
        FlowCeiling = 54, "flow-ceiling", "the port, or its organization, keeps as many flows as the operator allows";
        ReversePath = 55, "reverse-path", "the sender is not reached by the interface that the packet came in by: a forged source, by rp_filter or policy.reverse_path";
        Held = 56, "held", "continues a flow of a share that has just come here, or that another node has, and whose copy is not here yet";
        BadChecksum = 52, "bad-checksum", "the packet would open a flow, and its checksum is wrong: no backend would answer it";
    }
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Translated and addressed; sent out of the interface with this index.
    Forward(u32),
    /// Translated; the kernel finds the neighbour behind the interface with this index.
    Resolve(u32),
    /// Left untouched to the host's stack.
    Pass(PassReason),
    /// Discarded.
    Drop(DropReason),
    /// Discarded, and the frame turned into an answer to its sender: a TCP reset or an ICMP error.
    Answer(DropReason),
}

impl Verdict {
    /// Its index in the `verdicts` map.
    #[inline(always)]
    pub const fn number(self) -> u32 {
        match self {
            Self::Forward(_) | Self::Resolve(_) => 0,
            Self::Pass(reason) => reason as u32,
            Self::Drop(reason) | Self::Answer(reason) => reason as u32,
        }
    }

    /// Name and meaning of an index of the `verdicts` map; `None` for a number not in use.
    pub fn describe(number: u32) -> Option<(&'static str, &'static str)> {
        if number == 0 {
            return Some((
                "forward",
                "translated and sent to a backend or back to its client",
            ));
        }
        let pass = PassReason::ALL
            .iter()
            .find(|r| **r as u32 == number)
            .map(|r| (r.name(), r.meaning()));
        pass.or_else(|| {
            DropReason::ALL
                .iter()
                .find(|r| **r as u32 == number)
                .map(|r| (r.name(), r.meaning()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_one_reason_and_lies_on_its_side() {
        let mut seen = [false; VERDICT_NUMBERS];
        seen[0] = true;
        for number in PassReason::ALL.iter().map(|r| *r as u32) {
            assert!(number < FIRST_DROP);
            assert!(!core::mem::replace(&mut seen[number as usize], true));
        }
        for number in DropReason::ALL.iter().map(|r| *r as u32) {
            assert!((FIRST_DROP..VERDICT_NUMBERS as u32).contains(&number));
            assert!(!core::mem::replace(&mut seen[number as usize], true));
        }
    }

    #[test]
    fn a_number_leads_back_to_its_name() {
        assert_eq!(Verdict::describe(0).unwrap().0, "forward");
        assert_eq!(
            Verdict::describe(DropReason::NoBackend as u32).unwrap().0,
            "no-backend"
        );
        assert_eq!(Verdict::describe(63), None);
    }
}
