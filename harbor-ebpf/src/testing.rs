//! Frames in plain memory, for tests of the stages on the host.

use harbor_common::checksum;

use crate::packet::{ChecksumChange, Header, Packet, Refused};

/// A frame in memory, with what a hook of the kernel knows beside the octets.
#[derive(Clone, Default)]
pub(crate) struct Frame {
    pub(crate) octets: Vec<u8>,
    pub(crate) is_segmented: bool,
    pub(crate) is_for_other_host: bool,
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
    fn is_for_this_host(&self) -> bool {
        !self.is_for_other_host
    }
    fn ingress_ifindex(&self) -> u32 {
        1
    }
    fn pull(&mut self, _wanted: usize) {}

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

    fn fix_transport_checksum(&mut self, change: ChecksumChange) -> Result<(), Refused> {
        let field = self
            .octets
            .get_mut(change.offset..change.offset + 2)
            .ok_or(Refused)?;
        let old = u16::from_ne_bytes([field[0], field[1]]);
        if change.is_udp && old == 0 {
            return Ok(());
        }
        let delta = u32::from(checksum::fold(change.pseudo_header))
            + u32::from(checksum::fold(change.header));
        let new = checksum::apply(old, delta);
        let new = if change.is_udp && new == 0 {
            0xffff
        } else {
            new
        };
        field.copy_from_slice(&new.to_ne_bytes());
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
