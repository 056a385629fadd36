//! Turns a packet into an answer to its sender: a TCP reset, or an ICMP error that quotes it.
//!
//! Where the answer cannot be made, the packet is dropped under the same reason without one.

use core::mem::offset_of;

use harbor_common::{
    addr::{Ipv4, Ipv6},
    checksum::fold,
    protocol::Protocol,
    rules::transition,
    verdict::{DropReason, Verdict},
};
use network_types::{tcp::TcpHdr, udp::UdpHdr};

use crate::parsed::{Oddity, Parsed};
use crate::{
    ip::{Fresh, IpHeader, pseudo_header},
    packet::{Ethernet, Icmp, L3, Packet, SocketBuffer},
};

/// A TCP header without options: its length in words, shifted to where it stands.
const PLAIN_TCP: u8 = 5 << 4;
const TCP: u8 = Protocol::Tcp.number() as u8;

/// What an ICMP error says. No enum with a payload: a field that is set in one case only would be
/// an uninitialised register in the other, which the verifier refuses.
#[derive(Clone, Copy)]
struct Complaint {
    /// [`DropReason::TooBig`] or [`DropReason::TtlExpired`].
    reason: DropReason,
    /// The largest packet that fits.
    mtu: u16,
}

/// How a family's ICMP says it.
pub trait Complain: IpHeader {
    /// Kind, code and the four octets behind the checksum of "too big".
    fn too_big(mtu: u16) -> (u8, u8, [u8; 4]);
    /// Kind and code of "time exceeded".
    const EXPIRED: (u8, u8);
    /// The sum of the header of the packet at hand.
    fn sum_header<P: Packet>(packet: &P) -> Option<u32>;
    /// What the message's checksum covers besides the message.
    fn message_seed(source: &Self, destination: &Self, length: u16) -> u32;
}

impl Complain for Ipv4 {
    const EXPIRED: (u8, u8) = (11, 0);

    #[inline(always)]
    fn too_big(mtu: u16) -> (u8, u8, [u8; 4]) {
        // RFC 1191: the MTU in the lower half.
        let [high, low] = mtu.to_be_bytes();
        (3, 4, [0, 0, high, low])
    }

    #[inline(always)]
    fn sum_header<P: Packet>(packet: &P) -> Option<u32> {
        packet.words::<5>(L3).map(sum_words)
    }

    #[inline(always)]
    fn message_seed(_source: &Self, _destination: &Self, _length: u16) -> u32 {
        0
    }
}

impl Complain for Ipv6 {
    const EXPIRED: (u8, u8) = (3, 0);

    #[inline(always)]
    fn too_big(mtu: u16) -> (u8, u8, [u8; 4]) {
        (2, 0, u32::from(mtu).to_be_bytes())
    }

    #[inline(always)]
    fn sum_header<P: Packet>(packet: &P) -> Option<u32> {
        packet.words::<10>(L3).map(sum_words)
    }

    #[inline(always)]
    fn message_seed(source: &Self, destination: &Self, length: u16) -> u32 {
        pseudo_header(source, destination, Self::ICMP, length)
    }
}

/// Tells the sender of a packet why it is dropped, if there is something to tell.
#[inline(always)]
pub fn answer<A: Complain, P: SocketBuffer>(
    packet: &mut P,
    parsed: &Parsed<A>,
    mtu: u16,
    reason: DropReason,
) -> Verdict {
    let is_answered = matches!(parsed.oddity, Oddity::None)
        && match reason {
            DropReason::BackendGone | DropReason::BackendNoFlow | DropReason::SourcePorts => {
                reset(packet, parsed)
            }
            DropReason::TooBig | DropReason::TtlExpired => {
                write_complaint(packet, parsed, &Complaint { reason, mtu })
            }
            _ => false,
        };
    if is_answered {
        Verdict::Answer(reason)
    } else {
        Verdict::Drop(reason)
    }
}

/// Answers a TCP segment with a reset (RFC 9293, section 3.5.2). Nothing answers a reset.
#[inline(always)]
fn reset<A: IpHeader, P: SocketBuffer>(packet: &mut P, parsed: &Parsed<A>) -> bool {
    matches!(parsed.protocol, Protocol::Tcp)
        && parsed.tcp.flags & transition::RST == 0
        && write_reset(packet, parsed)
}

#[inline(never)]
fn write_reset<A: IpHeader, P: SocketBuffer>(packet: &mut P, parsed: &Parsed<A>) -> bool {
    try_write_reset(packet, parsed).is_some()
}

#[inline(always)]
fn try_write_reset<A: IpHeader, P: SocketBuffer>(packet: &mut P, parsed: &Parsed<A>) -> Option<()> {
    let l4 = L3 + A::LENGTH;
    let tcp = &parsed.tcp;
    let (sequence, acknowledgment, flags) = if tcp.flags & transition::ACK != 0 {
        (tcp.acknowledgment, 0, transition::RST)
    } else {
        let next = tcp.sequence.wrapping_add(parsed.sequence_space());
        (0, next, transition::RST | transition::ACK)
    };
    packet.cut(l4 + TcpHdr::LEN).ok()?;
    let is_pending = packet.is_checksum_pending(l4 + offset_of!(TcpHdr, check));
    turn_around(packet)?;
    let key = &parsed.key;
    let fresh = Fresh {
        source: &key.destination,
        destination: &key.source,
        protocol: TCP,
        payload: TcpHdr::LEN as u16,
    };
    A::write(packet, &fresh)?;

    let flags = [PLAIN_TCP, flags as u8];
    let sum = sum_word(sequence)
        + sum_word(acknowledgment)
        + u32::from(key.source_port.to_be())
        + u32::from(key.destination_port.to_be())
        + u32::from(u16::from_ne_bytes(flags));
    let pseudo = pseudo_header(fresh.source, fresh.destination, TCP, TcpHdr::LEN as u16);
    let check = if is_pending {
        fold(pseudo)
    } else {
        !fold(fold(pseudo) as u32 + sum)
    };
    *packet.view_mut::<[u8; 2]>(l4)? = key.destination_port.to_be_bytes();
    *packet.view_mut::<[u8; 2]>(l4 + 2)? = key.source_port.to_be_bytes();
    *packet.view_mut::<[u8; 4]>(l4 + 4)? = sequence.to_be_bytes();
    *packet.view_mut::<[u8; 4]>(l4 + 8)? = acknowledgment.to_be_bytes();
    *packet.view_mut::<[u8; 4]>(l4 + 12)? = [flags[0], flags[1], 0, 0];
    let [high, low] = check.to_ne_bytes();
    *packet.view_mut::<[u8; 4]>(l4 + 16)? = [high, low, 0, 0];
    Some(())
}

/// The sum of a word's two halves as they will stand in the packet.
#[inline(always)]
const fn sum_word(word: u32) -> u32 {
    sum_words([word.to_be()])
}

/// The sum of words' halves.
#[inline(always)]
const fn sum_words<const N: usize>(words: [u32; N]) -> u32 {
    let mut sum = 0;
    let mut index = 0;
    while index < N {
        sum += (words[index] & 0xffff) + (words[index] >> 16);
        index += 1;
    }
    sum
}

/// Words of the transport header that are quoted: up to where its checksum ends at least, because
/// the device may still have to write that.
const fn quoted(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Tcp => TcpHdr::LEN / 4,
        Protocol::Udp => UdpHdr::LEN / 4,
    }
}

/// Answers a packet with an ICMP error from the address that it was sent to.
#[inline(never)]
fn write_complaint<A: Complain, P: SocketBuffer>(
    packet: &mut P,
    parsed: &Parsed<A>,
    complaint: &Complaint,
) -> bool {
    let written = match parsed.protocol {
        Protocol::Tcp => write_quoting::<A, P, { quoted(Protocol::Tcp) }>(
            packet,
            parsed,
            complaint,
            offset_of!(TcpHdr, check),
        ),
        Protocol::Udp => write_quoting::<A, P, { quoted(Protocol::Udp) }>(
            packet,
            parsed,
            complaint,
            offset_of!(UdpHdr, check),
        ),
    };
    written.is_some()
}

#[inline(always)]
fn write_quoting<A: Complain, P: SocketBuffer, const WORDS: usize>(
    packet: &mut P,
    parsed: &Parsed<A>,
    complaint: &Complaint,
    check: usize,
) -> Option<()> {
    let l4 = L3 + A::LENGTH;
    packet.cut(l4 + 4 * WORDS).ok()?;
    let before = *packet.view::<[u8; 2]>(l4 + check)?;
    let is_pending = packet.is_checksum_pending(l4 + check);
    *packet.view_mut::<[u8; 2]>(l4 + check)? = before;
    let transport = sum_words(packet.words::<WORDS>(l4)?);
    let mut quoted = A::sum_header(packet)? + transport;
    if is_pending {
        // What the device will write into the quoted header must be in our sum already.
        let device = !fold(transport);
        let was = u16::from_ne_bytes(before);
        quoted = u32::from(fold(quoted)) + u32::from(!was) + u32::from(device);
    }
    packet.insert(A::LENGTH + size_of::<Icmp>()).ok()?;
    packet.pull(l4 + size_of::<Icmp>());
    turn_around(packet)?;
    let payload = (size_of::<Icmp>() + A::LENGTH + 4 * WORDS) as u16;
    write_message(packet, parsed, complaint, payload, fold(quoted))
}

/// Writes the outer header and the message's own, given the sum of what it quotes.
#[inline(always)]
fn write_message<A: Complain, P: Packet>(
    packet: &mut P,
    parsed: &Parsed<A>,
    complaint: &Complaint,
    payload: u16,
    quoted: u16,
) -> Option<()> {
    let key = &parsed.key;
    let fresh = Fresh {
        source: &key.destination,
        destination: &key.source,
        protocol: A::ICMP,
        payload,
    };
    A::write(packet, &fresh)?;
    let (kind, code, rest) = match complaint.reason {
        DropReason::TooBig => A::too_big(complaint.mtu),
        _ => (A::EXPIRED.0, A::EXPIRED.1, [0; 4]),
    };
    let sum = A::message_seed(&key.destination, &key.source, payload)
        + u32::from(u16::from_ne_bytes([kind, code]))
        + u32::from(u16::from_ne_bytes([rest[0], rest[1]]))
        + u32::from(u16::from_ne_bytes([rest[2], rest[3]]))
        + u32::from(quoted);
    let icmp: &mut Icmp = packet.view_mut(L3 + A::LENGTH)?;
    (icmp.kind, icmp.code, icmp.rest) = (kind, code, rest);
    icmp.check = (!fold(sum)).to_ne_bytes();
    Some(())
}

/// Sends the frame back to whoever sent it.
#[inline(always)]
fn turn_around<P: Packet>(packet: &mut P) -> Option<()> {
    let ethernet: &mut Ethernet = packet.view_mut(0)?;
    core::mem::swap(&mut ethernet.destination, &mut ethernet.source);
    Some(())
}

#[cfg(test)]
mod tests {
    use harbor_common::addr::Family;

    use super::*;
    use crate::{
        parsed::Kind,
        stage::parse::Parse,
        testing::{Frame, is_error_sound, is_sound, is_sound_v6, tcp, tcp_v6, udp},
    };

    fn answered<A: Parse + Complain>(octets: &[u8], reason: DropReason) -> (Verdict, Vec<u8>) {
        let mut frame = Frame::new(octets);
        let mut parsed = Parsed::<A>::default();
        assert_eq!(A::parse(&mut frame, &mut parsed), Ok(Kind::Whole));
        let verdict = answer(&mut frame, &parsed, 1280, reason);
        (verdict, frame.octets)
    }

    #[test]
    fn a_syn_is_reset_with_the_number_that_its_sender_expects() {
        let reason = DropReason::SourcePorts;
        let (verdict, octets) = answered::<Ipv4>(&tcp(), reason);
        assert_eq!(verdict, Verdict::Answer(reason));
        assert!(is_sound(&octets));
        assert_eq!(octets.len(), 54);
        assert_eq!(octets[..12], [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]);
        assert_eq!(octets[26..34], [198, 51, 100, 1, 192, 0, 2, 1]);
        assert_eq!(octets[34..38], [0x88, 0xb8, 0x9c, 0x40]);
        assert_eq!(
            octets[38..46],
            [0, 0, 0, 0, 0, 0, 0, 12],
            "7, SYN and 4 octets"
        );
        assert_eq!(octets[46..48], [0x50, 0x14], "RST, ACK");

        let (verdict, octets) = answered::<Ipv6>(&tcp_v6(), reason);
        assert_eq!(verdict, Verdict::Answer(reason));
        assert!(is_sound_v6(&octets));
        assert_eq!(octets.len(), 74);
    }

    #[test]
    fn nothing_answers_a_reset_nor_a_datagram_with_one() {
        let mut reset = tcp();
        reset[47] = 0x04;
        let reason = DropReason::BackendNoFlow;
        for octets in [reset, udp()] {
            let (verdict, after) = answered::<Ipv4>(&octets, reason);
            assert_eq!((verdict, after), (Verdict::Drop(reason), octets));
        }
    }

    #[test]
    fn a_packet_that_is_too_large_is_quoted_with_the_size_that_fits() {
        for octets in [tcp(), udp()] {
            let (verdict, after) = answered::<Ipv4>(&octets, DropReason::TooBig);
            assert_eq!(verdict, Verdict::Answer(DropReason::TooBig));
            assert_eq!(after[34..36], [3, 4]);
            assert_eq!(after[40..42], [0x05, 0x00]);
            assert_eq!(
                after[42..62],
                octets[14..34],
                "the header is quoted as it came"
            );
            let quoted = is_error_sound(&after);
            // A datagram's checksum covers more than is quoted of it.
            assert!(quoted || octets[23] == 17);
        }
        let (_, after) = answered::<Ipv4>(&tcp(), DropReason::TtlExpired);
        assert_eq!(after[34..36], [11, 0]);
        let (_, after) = answered::<Ipv6>(&tcp_v6(), DropReason::TooBig);
        assert_eq!(after[54..56], [2, 0]);
        assert_eq!(after[58..62], [0, 0, 5, 0]);
        assert_eq!(Ipv6::INDEX, 1);
    }
}
