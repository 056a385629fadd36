//! ICMP and ICMPv6 messages: echoes, and errors that quote a packet (RFC 792, 1191, 4443).

use super::sum;
use crate::Family;

/// A message. Its numbers differ between the families; the constructors know them.
#[derive(Clone, Debug)]
pub struct Icmp {
    /// The message's type.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// The four octets behind the checksum.
    pub rest: [u8; 4],
    /// What follows: of an error the quoted packet.
    pub body: Vec<u8>,
}

impl Icmp {
    /// An echo request.
    pub fn echo_request(family: Family, payload: &[u8]) -> Self {
        let kind = of(family, 8, 128);
        Self::new(kind, 0, [0x12, 0x34, 0, 1], payload)
    }

    /// The answer to one.
    pub fn echo_reply(family: Family, payload: &[u8]) -> Self {
        let kind = of(family, 0, 129);
        Self::new(kind, 0, [0x12, 0x34, 0, 1], payload)
    }

    /// "The next link takes no more than `mtu`": fragmentation needed, or packet too big.
    pub fn too_big(family: Family, mtu: u16, quoted: &[u8]) -> Self {
        let [high, low] = mtu.to_be_bytes();
        let (kind, code) = of(family, (3, 4), (2, 0));
        Self::new(kind, code, [0, 0, high, low], quoted)
    }

    /// "Nobody listens on this port."
    pub fn no_port(family: Family, quoted: &[u8]) -> Self {
        let (kind, code) = of(family, (3, 3), (1, 4));
        Self::new(kind, code, [0; 4], quoted)
    }

    /// "Nobody answers at this address."
    pub fn no_host(family: Family, quoted: &[u8]) -> Self {
        let (kind, code) = of(family, (3, 1), (1, 3));
        Self::new(kind, code, [0; 4], quoted)
    }

    /// "The time to live ran out in transit."
    pub fn expired(family: Family, quoted: &[u8]) -> Self {
        let kind = of(family, 11, 3);
        Self::new(kind, 0, [0; 4], quoted)
    }

    /// "A field cannot be understood."
    pub fn wrong_field(family: Family, quoted: &[u8]) -> Self {
        let kind = of(family, 12, 4);
        Self::new(kind, 0, [0; 4], quoted)
    }

    fn new(kind: u8, code: u8, rest: [u8; 4], body: &[u8]) -> Self {
        let body = body.to_vec();
        Self {
            kind,
            code,
            rest,
            body,
        }
    }

    pub(super) fn length(&self) -> usize {
        8 + self.body.len()
    }

    pub(super) fn bytes(&self, pseudo: &[u8]) -> Vec<u8> {
        let mut bytes = vec![self.kind, self.code, 0, 0];
        bytes.extend(self.rest);
        bytes.extend(&self.body);
        let checksum = sum(&[pseudo, &bytes]);
        bytes[2..4].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }
}

fn of<T>(family: Family, ipv4: T, ipv6: T) -> T {
    match family {
        Family::V4 => ipv4,
        Family::V6 => ipv6,
    }
}
