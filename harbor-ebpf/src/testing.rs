//! Frames in plain memory, for tests of the stages on the host.

use harbor_common::checksum;

use crate::packet::{Header, Packet, Refused, SocketBuffer, TransportSum};

/// A frame in memory, with what a hook of the kernel knows besides the octets.
#[derive(Clone, Default)]
pub(crate) struct Frame {
    pub(crate) octets: Vec<u8>,
    pub(crate) is_segmented: bool,
    pub(crate) is_for_other_host: bool,
    pub(crate) has_vlan: bool,
    /// Offset of a checksum that a device is to finish.
    pub(crate) pending: Option<usize>,
}

impl Frame {
    pub(crate) fn new(octets: &[u8]) -> Self {
        Self {
            octets: octets.to_vec(),
            ..Self::default()
        }
    }
}

impl Packet for Frame {
    fn length(&self) -> usize {
        self.octets.len()
    }
    fn is_segmented(&self) -> bool {
        self.is_segmented
    }
    fn has_vlan(&self) -> bool {
        self.has_vlan
    }
    fn is_for_this_host(&self) -> bool {
        !self.is_for_other_host
    }
    fn ingress_ifindex(&self) -> u32 {
        1
    }
    fn view<T: Header>(&self, offset: usize) -> Option<&T> {
        let octets = self.octets.get(offset..offset + size_of::<T>())?;
        // SAFETY: the slice is as long as T, which has alignment 1 and takes any value (`Header`).
        Some(unsafe { &*octets.as_ptr().cast::<T>() })
    }

    fn view_mut<T: Header>(&mut self, offset: usize) -> Option<&mut T> {
        let octets = self.octets.get_mut(offset..offset + size_of::<T>())?;
        // SAFETY: as in `view`; the borrow is unique.
        Some(unsafe { &mut *octets.as_mut_ptr().cast::<T>() })
    }

    fn words<const N: usize>(&self, offset: usize) -> Option<[u32; N]> {
        let octets = self.octets.get(offset..offset + 4 * N)?;
        let mut words = [0; N];
        for (word, four) in words.iter_mut().zip(octets.chunks(4)) {
            *word = u32::from_ne_bytes([four[0], four[1], four[2], four[3]]);
        }
        Some(words)
    }

    fn set_words<const N: usize>(&mut self, offset: usize, words: [u32; N]) -> Option<()> {
        let octets = self.octets.get_mut(offset..offset + 4 * N)?;
        for (four, word) in octets.chunks_mut(4).zip(words) {
            four.copy_from_slice(&word.to_ne_bytes());
        }
        Some(())
    }
}

impl SocketBuffer for Frame {
    fn is_checksum_pending(&mut self, offset: usize) -> bool {
        self.pending == Some(offset)
    }

    fn is_checksum_sound(&mut self, sum: &TransportSum) -> bool {
        let octets = &self.octets[sum.offset..sum.offset + sum.length];
        let words = octets
            .chunks(2)
            .map(|two| [two[0], two.get(1).copied().unwrap_or(0)]);
        let total: u32 = words.map(|two| u32::from(u16::from_ne_bytes(two))).sum();
        self.pending == Some(sum.check)
            || sum.is_udp && self.octets[sum.check..sum.check + 2] == [0, 0]
            || checksum::fold(total + u32::from(sum.pseudo_header)) == 0xffff
    }

    fn cut(&mut self, length: usize) -> Result<(), Refused> {
        self.octets.resize(length, 0);
        Ok(())
    }

    fn insert(&mut self, octets: usize) -> Result<(), Refused> {
        self.octets.splice(14..14, std::iter::repeat_n(0, octets));
        Ok(())
    }
}

/// A TCP segment in an IPv4 packet: 192.0.2.1:40000 to 198.51.100.1:35000, SYN, both sums right.
pub(crate) fn tcp() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00];
    frame.extend([0x45, 0, 0, 44, 0x12, 0x34, 0x40, 0, 64, 6, 0, 0]);
    frame.extend([192, 0, 2, 1, 198, 51, 100, 1]);
    frame.extend([
        0x9c, 0x40, 0x88, 0xb8, 0, 0, 0, 7, 0, 0, 0, 9, 0x50, 0x02, 0xff, 0xff,
    ]);
    frame.extend([0, 0, 0, 0, b'd', b'a', b't', b'a']);
    seal(&mut frame, 14, 34, 16);
    frame
}

/// A UDP datagram between the same addresses and ports.
pub(crate) fn udp() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00];
    frame.extend([0x45, 0, 0, 31, 0x12, 0x34, 0, 0, 64, 17, 0, 0]);
    frame.extend([192, 0, 2, 1, 198, 51, 100, 1]);
    frame.extend([0x9c, 0x40, 0x88, 0xb8, 0, 11, 0, 0, b'o', b'd', b'd']);
    seal(&mut frame, 14, 34, 6);
    frame
}

/// The addresses of the IPv6 frames: 2001:db8::1 to 2001:db8:1::1.
fn addresses_v6() -> [u8; 32] {
    let mut addresses = [0; 32];
    addresses[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    addresses[15] = 1;
    addresses[16..22].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8, 0, 1]);
    addresses[31] = 1;
    addresses
}

/// An IPv6 packet with this transport header and payload behind it, extension headers in between.
pub(crate) fn v6(next: u8, extensions: &[u8], transport: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd];
    let length = (extensions.len() + transport.len()) as u16;
    frame.extend([0x60, 0, 0, 0, (length >> 8) as u8, length as u8, next, 64]);
    frame.extend(addresses_v6());
    frame.extend(extensions);
    frame.extend(transport);
    frame
}

/// The same segment as [`tcp`] in an IPv6 packet.
pub(crate) fn tcp_v6() -> Vec<u8> {
    let mut frame = v6(6, &[], &tcp()[34..]);
    seal_v6(&mut frame, 16);
    frame
}

/// The same datagram as [`udp`] in an IPv6 packet.
pub(crate) fn udp_v6() -> Vec<u8> {
    let mut frame = v6(17, &[], &udp()[34..]);
    seal_v6(&mut frame, 6);
    frame
}

fn pseudo_header_v6(frame: &[u8]) -> u32 {
    sum(&frame[22..54]) + u32::from(frame[20]) + (frame.len() - 54) as u32
}

fn seal_v6(frame: &mut [u8], field: usize) {
    frame[54 + field..54 + field + 2].fill(0);
    let transport = finish(pseudo_header_v6(frame) + sum(&frame[54..])).to_be_bytes();
    frame[54 + field..54 + field + 2].copy_from_slice(&transport);
}

/// Whether the transport checksum of an IPv6 packet without extensions is right.
pub(crate) fn is_sound_v6(frame: &[u8]) -> bool {
    finish(pseudo_header_v6(frame) + sum(&frame[54..])) == 0
}

/// "Fragmentation needed, MTU 1280" about a packet from 192.0.2.1:40000 to 198.51.100.1:35000.
pub(crate) fn error(protocol: u8) -> Vec<u8> {
    let quoted = if protocol == 6 { tcp() } else { udp() };
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00];
    let length = (20 + 8 + quoted.len() - 14) as u16;
    frame.extend([
        0x45,
        0xc0,
        (length >> 8) as u8,
        length as u8,
        0,
        1,
        0,
        0,
        64,
        1,
        0,
        0,
    ]);
    frame.extend([10, 1, 1, 1, 192, 0, 2, 1]);
    frame.extend([3, 4, 0, 0, 0, 0, 0x05, 0x00]);
    frame.extend(&quoted[14..]);
    let header = finish(sum(&frame[14..34])).to_be_bytes();
    frame[24..26].copy_from_slice(&header);
    let message = finish(sum(&frame[34..])).to_be_bytes();
    frame[36..38].copy_from_slice(&message);
    frame
}

/// Whether the sums of an error, and of the headers that it quotes, are right.
pub(crate) fn is_error_sound(frame: &[u8]) -> bool {
    let quoted = frame[42..].to_vec();
    let inner = [&frame[..14], &quoted].concat();
    // A quoted TCP checksum is behind the eight octets that an error must quote, and stays.
    let is_transport_sound = frame[51] == 6 || is_sound(&inner);
    finish(sum(&frame[14..34])) == 0
        && finish(sum(&frame[34..])) == 0
        && finish(sum(&frame[42..62])) == 0
        && is_transport_sound
}

/// The one's complement sum over octets, odd lengths padded with zero.
fn sum(octets: &[u8]) -> u32 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    octets.chunks(2).map(word).sum()
}

fn finish(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn pseudo_header(frame: &[u8], l3: usize, l4: usize) -> u32 {
    sum(&frame[l3 + 12..l3 + 20]) + u32::from(frame[l3 + 9]) + (frame.len() - l4) as u32
}

/// Writes both checksums, computed over all octets.
pub(crate) fn seal(frame: &mut [u8], l3: usize, l4: usize, field: usize) {
    frame[l3 + 10..l3 + 12].fill(0);
    let header = finish(sum(&frame[l3..l4])).to_be_bytes();
    frame[l3 + 10..l3 + 12].copy_from_slice(&header);
    frame[l4 + field..l4 + field + 2].fill(0);
    let transport = finish(pseudo_header(frame, l3, l4) + sum(&frame[l4..])).to_be_bytes();
    frame[l4 + field..l4 + field + 2].copy_from_slice(&transport);
}

/// Whether both checksums are right, computed over all octets.
pub(crate) fn is_sound(frame: &[u8]) -> bool {
    let header = finish(sum(&frame[14..34]));
    let transport = finish(pseudo_header(frame, 14, 34) + sum(&frame[34..]));
    header == 0 && transport == 0
}
