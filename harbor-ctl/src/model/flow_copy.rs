//! A flow as nodes of a share tell each other of it: no slots, no interfaces and no clock of either's, so that
//! versions and layouts may differ.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A flow of a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlowCopy {
    /// IP protocol number.
    pub(crate) protocol: u8,
    pub(crate) client: SocketAddr,
    /// The share's address and the port that the client connects to.
    pub(crate) public: SocketAddr,
    pub(crate) backend: SocketAddr,
    /// The share's address and the port that the backend sees.
    pub(crate) source: SocketAddr,
    /// The forward entry's word.
    pub(crate) word: u64,
    /// The reply entry's state bits.
    pub(crate) reply_bits: u16,
    /// Milliseconds since the last packet, and since the first.
    pub(crate) idle_ms: u32,
    pub(crate) age_ms: u32,
    /// Each way.
    pub(crate) acknowledged: [u32; 2],
    pub(crate) next_sequence: [u32; 2],
}

/// In the first octet: addresses of IPv6.
const V6: u8 = 1;
/// The same: UDP.
const UDP: u8 = 2;
const TCP_NUMBER: u8 = 6;
const UDP_NUMBER: u8 = 17;

impl FlowCopy {
    /// Appends it: 59 octets for IPv4, 107 for IPv6.
    pub(crate) fn encode(&self, to: &mut Vec<u8>) {
        let mut flags = 0;
        if self.public.is_ipv6() {
            flags |= V6;
        }
        if self.protocol == UDP_NUMBER {
            flags |= UDP;
        }
        to.push(flags);
        for end in [self.client, self.public, self.backend, self.source] {
            match end.ip() {
                IpAddr::V4(v4) => to.extend(v4.octets()),
                IpAddr::V6(v6) => to.extend(v6.octets()),
            }
            to.extend(end.port().to_be_bytes());
        }
        to.extend(self.word.to_be_bytes());
        to.extend(self.reply_bits.to_be_bytes());
        for number in [self.idle_ms, self.age_ms] {
            to.extend(number.to_be_bytes());
        }
        for number in self.acknowledged.into_iter().chain(self.next_sequence) {
            to.extend(number.to_be_bytes());
        }
    }

    /// Takes one off the front; `None`: there is none, or it is none.
    pub(crate) fn decode(from: &mut &[u8]) -> Option<Self> {
        let [flags] = take::<1>(from)?;
        if flags & !(V6 | UDP) != 0 {
            return None;
        }
        let mut end = || {
            let ip = match flags & V6 {
                0 => IpAddr::from(Ipv4Addr::from(take::<4>(from)?)),
                _ => IpAddr::from(Ipv6Addr::from(take::<16>(from)?)),
            };
            Some(SocketAddr::new(ip, u16::from_be_bytes(take(from)?)))
        };
        let (client, public, backend, source) = (end()?, end()?, end()?, end()?);
        let word = u64::from_be_bytes(take(from)?);
        let reply_bits = u16::from_be_bytes(take(from)?);
        let mut number = || Some(u32::from_be_bytes(take(from)?));
        Some(Self {
            protocol: match flags & UDP {
                0 => TCP_NUMBER,
                _ => UDP_NUMBER,
            },
            client,
            public,
            backend,
            source,
            word,
            reply_bits,
            idle_ms: number()?,
            age_ms: number()?,
            acknowledged: [number()?, number()?],
            next_sequence: [number()?, number()?],
        })
    }
}

fn take<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = from.split_first_chunk::<N>()?;
    *from = rest;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(text: &str, protocol: u8) -> FlowCopy {
        let at = |port| SocketAddr::new(text.parse().unwrap(), port);
        FlowCopy {
            protocol,
            client: at(1),
            public: at(2),
            backend: at(3),
            source: at(4),
            word: 0x1234_5678_9abc_def0,
            reply_bits: 5,
            idle_ms: 6,
            age_ms: 7,
            acknowledged: [8, 9],
            next_sequence: [10, 11],
        }
    }

    #[test]
    fn what_is_told_is_heard_and_what_is_cut_is_nothing() {
        let all = [
            (copy("192.0.2.1", TCP_NUMBER), 59),
            (copy("2001:db8::1", UDP_NUMBER), 107),
        ];
        let mut octets = Vec::new();
        for (flow, length) in &all {
            let before = octets.len();
            flow.encode(&mut octets);
            assert_eq!(octets.len() - before, *length);
        }
        let mut rest = octets.as_slice();
        for (flow, _) in &all {
            assert_eq!(FlowCopy::decode(&mut rest), Some(*flow));
        }
        assert_eq!(FlowCopy::decode(&mut rest), None);
        for end in 1..59 {
            assert_eq!(FlowCopy::decode(&mut &octets[..end]), None);
        }
        octets[0] = 4;
        assert_eq!(FlowCopy::decode(&mut octets.as_slice()), None);
    }
}
