//! The transport protocols that Harbor forwards.

/// A transport protocol, numbered as in the IP header (IANA protocol numbers).
#[repr(u32)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Transmission Control Protocol, RFC 9293.
    #[default]
    Tcp = 6,
    /// User Datagram Protocol, RFC 768.
    Udp = 17,
}

impl Protocol {
    /// The protocol with this number in the IP header, if Harbor forwards it.
    #[inline(always)]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            _ => None,
        }
    }

    /// The number in the IP header.
    #[inline(always)]
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// Its lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}
