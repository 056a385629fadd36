//! Whether what a packet carries is whole.

use kit::frame::{protocol, sum};

use super::{
    flow::Is,
    reading::{Packet, Part},
};

/// Whether the checksum over so many octets of the body is right, or that of the pseudo header alone.
pub(super) fn summed(frame: &[u8], packet: &Packet, length: usize) -> Is {
    let [source, destination] = packet.addresses_at();
    let size = u16::try_from(length).unwrap().to_be_bytes();
    let pseudo = [
        &frame[source],
        &frame[destination],
        &[0, packet.protocol],
        &size,
    ]
    .concat();
    let is_bare = packet.protocol == protocol::UDP && packet.check == 0;
    let is_pending = packet.check == !sum(&[&pseudo]);
    let body = &frame[packet.body..packet.body + length];
    match (
        packet.part,
        is_bare || is_pending || sum(&[&pseudo, body]) == 0,
    ) {
        (Part::Whole, true) => Is::Yes,
        (Part::Whole, false) => Is::No,
        _ => Is::Maybe,
    }
}
