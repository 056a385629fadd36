//! A frame as the stages see it: checked views of headers, and the changes that need care.
//!
//! All pointer arithmetic of the datapath lives behind [`Packet`]. Headers have alignment 1 (fields
//! are octet arrays), because a frame's IP header starts at an odd multiple of two.

use harbor_common::checksum;
use network_types::{
    eth::EthHdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
    tcp::TcpHdr,
    udp::UdpHdr,
};

/// A header that may be viewed at any offset.
///
/// # Safety
///
/// The type is `repr(C)`, has alignment 1, no padding, and any bit pattern is a valid value.
pub unsafe trait Header {}

/// Destination, source and type of an Ethernet frame, with alignment 1.
#[repr(C)]
pub struct Ethernet {
    /// Destination MAC address.
    pub destination: [u8; 6],
    /// Source MAC address.
    pub source: [u8; 6],
    /// EtherType, network order.
    pub ether_type: [u8; 2],
}
const _: () = assert!(size_of::<Ethernet>() == EthHdr::LEN && align_of::<Ethernet>() == 1);

/// The first eight octets of TCP and UDP: what both have in common, and enough for a first look.
#[repr(C)]
pub struct Ports {
    /// Source port, network order.
    pub source: [u8; 2],
    /// Destination port, network order.
    pub destination: [u8; 2],
    /// TCP: sequence number. UDP: length and checksum.
    pub rest: [u8; 4],
}

/// What all ICMP and ICMPv6 messages begin with (RFC 792, RFC 4443).
#[repr(C)]
pub struct Icmp {
    /// What it is about.
    pub kind: u8,
    /// Details of that.
    pub code: u8,
    /// Over the whole message, and for ICMPv6 a pseudo header; network order.
    pub check: [u8; 2],
    /// Depends on the kind; an MTU, for example.
    pub rest: [u8; 4],
}

/// What most IPv6 extension headers begin with, and all of the fragment header (RFC 8200).
#[repr(C)]
pub struct Extension {
    /// What follows it.
    pub next_header: u8,
    /// Length in units of eight octets, the first eight not counted; reserved in a fragment header.
    pub length: u8,
    /// Fragment header: the offset, and whether more fragments follow; network order.
    pub fragment: [u8; 2],
    /// Fragment header: the identification.
    pub identification: [u8; 4],
}

// SAFETY: one octet.
unsafe impl Header for u8 {}
// SAFETY: repr(C), octet array only.
unsafe impl Header for [u8; 2] {}
// SAFETY: repr(C), octet array only.
unsafe impl Header for [u8; 4] {}
// SAFETY: repr(C), octet array only.
unsafe impl Header for [u8; 12] {}
// SAFETY: repr(C), octet arrays only; size and alignment are asserted above.
unsafe impl Header for Ethernet {}
// SAFETY: repr(C), octet arrays only.
unsafe impl Header for Ports {}
// SAFETY: repr(C), octets and octet arrays only.
unsafe impl Header for Icmp {}
// SAFETY: repr(C), octets and octet arrays only.
unsafe impl Header for Extension {}
// SAFETY: repr(C), octets and octet arrays only.
unsafe impl Header for Ipv4Hdr {}
// SAFETY: repr(C), octets and octet arrays only.
unsafe impl Header for Ipv6Hdr {}
// SAFETY: repr(C); octet arrays and a bit field over an octet array.
unsafe impl Header for TcpHdr {}
// SAFETY: repr(C), octet arrays only.
unsafe impl Header for UdpHdr {}
const _: () = assert!(align_of::<Ipv4Hdr>() == 1 && align_of::<TcpHdr>() == 1);
const _: () = assert!(align_of::<Ipv6Hdr>() == 1 && size_of::<Ipv6Hdr>() == 40);
const _: () = assert!(align_of::<UdpHdr>() == 1 && align_of::<Ports>() == 1);
const _: () = assert!(size_of::<Extension>() == 8);

/// Where the IP header starts.
pub const L3: usize = size_of::<Ethernet>();

/// The packet could not be changed; it is in an unknown state and must be dropped.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused;

/// A frame on its way through a hook of the kernel (or in a test).
pub trait Packet {
    /// Length of the whole frame, octets that are not directly readable included.
    fn length(&self) -> usize;

    /// Whether the kernel joined several segments into this frame.
    #[inline(always)]
    fn is_segmented(&self) -> bool {
        false
    }

    /// Octets of payload in each segment of a joined frame; 0 for any other.
    #[inline(always)]
    fn segment_size(&self) -> u32 {
        0
    }

    /// Whether the frame was addressed to this host's MAC: not to another's, and not to a group's
    /// (RFC 1122, section 3.3.6, wants a unicast packet in such a frame discarded).
    fn is_for_this_host(&self) -> bool;

    /// Whether the frame belongs to a VLAN whose tag the device has taken out of it.
    #[inline(always)]
    fn has_vlan(&self) -> bool {
        false
    }

    /// Index of the interface that the frame came in by.
    fn ingress_ifindex(&self) -> u32;

    /// Makes `wanted` octets directly readable, or as many as there are.
    #[inline(always)]
    fn pull(&mut self, _wanted: usize) {}

    /// The header at `offset`, or `None` where the frame ends before it does.
    fn view<T: Header>(&self, offset: usize) -> Option<&T>;

    /// The header at `offset`, to be changed.
    fn view_mut<T: Header>(&mut self, offset: usize) -> Option<&mut T>;

    /// Words at `offset` as they stand in the frame, each read at once.
    fn words<const N: usize>(&self, offset: usize) -> Option<[u32; N]>;

    /// Writes words at `offset`, each at once.
    fn set_words<const N: usize>(&mut self, offset: usize, words: [u32; N]) -> Option<()>;

    /// Brings a transport checksum up to date with changed addresses and ports.
    ///
    /// UDP's "no checksum" stays none. Where the device is to finish the checksum, only the
    /// pseudo header counts.
    #[inline(always)]
    fn fix_transport_checksum(&mut self, change: ChecksumChange) -> Result<(), Refused> {
        change_checksum(self, &change).map(|_| ())
    }
}

/// Changes a checksum that no device is to finish; whether there is one.
#[inline(always)]
pub fn change_checksum<P: Packet + ?Sized>(
    packet: &mut P,
    change: &ChecksumChange,
) -> Result<bool, Refused> {
    let field = *packet.view::<[u8; 2]>(change.offset).ok_or(Refused)?;
    let old = u16::from_ne_bytes(field);
    if change.is_udp && old == 0 {
        return Ok(false);
    }
    let delta = u32::from(change.pseudo_header) + u32::from(change.header);
    let new = match checksum::apply(old, delta) {
        0 if change.is_udp => 0xffff,
        sum => sum,
    };
    *packet.view_mut::<[u8; 2]>(change.offset).ok_or(Refused)? = new.to_ne_bytes();
    Ok(true)
}

/// A frame in a socket buffer, with what the kernel knows of it and can do to it.
pub trait SocketBuffer: Packet {
    /// Whether the device is to finish the checksum at `offset`, which then holds the sum of the
    /// pseudo header alone. Changes that checksum: only for a packet that is to be rewritten.
    fn is_checksum_pending(&mut self, offset: usize) -> bool;

    /// Whether a transport checksum is right, as far as can be known: one that a device has looked at,
    /// or is to finish, is.
    fn is_checksum_sound(&mut self, sum: &TransportSum) -> bool;

    /// Cuts the frame to `length` octets, which all become directly readable.
    fn cut(&mut self, length: usize) -> Result<(), Refused>;

    /// Makes room for `octets` octets between the Ethernet header and the IP header.
    fn insert(&mut self, octets: usize) -> Result<(), Refused>;
}

/// What a transport checksum covers.
#[derive(Clone, Copy, Debug)]
pub struct TransportSum {
    /// Offset of the transport header in the frame.
    pub offset: usize,
    /// Octets from there to the packet's end.
    pub length: usize,
    /// Offset of the checksum in the frame.
    pub check: usize,
    /// The folded sum of the pseudo header.
    pub pseudo_header: u16,
    /// UDP's rules apply: 0 means none.
    pub is_udp: bool,
}

/// A change of a transport checksum.
#[derive(Clone, Copy, Debug)]
pub struct ChecksumChange {
    /// Offset of the checksum in the frame.
    pub offset: usize,
    /// What the checksum is while the device is still to finish it: the folded sum of the pseudo
    /// header as it arrived.
    pub pending: u16,
    /// One's complement difference of the pseudo header.
    pub pseudo_header: u16,
    /// One's complement difference of the transport header.
    pub header: u16,
    /// Whether the addresses' change is outweighed by a checksum in the IP header.
    pub is_v4: bool,
    /// UDP's rules apply: 0 means none, and a sum of 0 is written as 0xffff.
    pub is_udp: bool,
}
