//! Is the packet ours? By port first (two arrays, no hash), by address only when no flow matched.

use harbor_common::{
    addr::{Address, Ipv4},
    backend::Endpoint,
    frontend::Frontend,
    protocol::Protocol,
    verdict::{DropReason, PassReason, Verdict},
};

use super::parse::{Oddity, Parsed};
use crate::{
    config,
    maps::{ADDRESSES, ENDPOINTS, FRONTENDS},
};

/// Which of our port ranges a packet is for.
#[derive(Clone, Copy)]
pub enum Side {
    /// A port that is served: a client speaks.
    Client(Frontend),
    /// The translation range: a backend answers.
    Backend,
}

/// Looks at the destination port alone.
#[inline(always)]
pub fn find(parsed: &Parsed) -> Result<Side, Verdict> {
    let index = Frontend::index(parsed.protocol, parsed.key.destination_port);
    match FRONTENDS.get_ptr(index) {
        Some(frontend) => {
            // SAFETY: an aligned element of eight bytes, which the agent changes as one value;
            // the volatile read takes slot and generation at once.
            let frontend = unsafe { read(frontend) };
            if frontend.is_served() {
                return Ok(Side::Client(frontend));
            }
        }
        None => return Err(Verdict::Pass(PassReason::NotOurs)),
    }
    if config::is_source_port(parsed.key.destination_port) {
        Ok(Side::Backend)
    } else {
        Err(Verdict::Pass(PassReason::NotOurs))
    }
}

/// Reads an element as one value.
///
/// # Safety
///
/// `frontend` points to a readable element of the `frontends` map.
#[inline(always)]
unsafe fn read(frontend: *const Frontend) -> Frontend {
    // SAFETY: by the caller; `Frontend` is repr(C, align(8)) and asserted to have eight bytes.
    let word = unsafe { frontend.cast::<u64>().read_volatile() };
    Frontend {
        slot: word as u32,
        generation: (word >> 32) as u32,
    }
}

/// Decides what becomes of a packet without a flow: only an orderly opening from outside goes on.
#[inline(always)]
pub fn admit(parsed: &Parsed, side: Side) -> Result<Frontend, Verdict> {
    match side {
        Side::Client(frontend) => {
            if roles(&parsed.key.destination) & Address::PUBLIC == 0 {
                return Err(Verdict::Pass(PassReason::NotOurs));
            }
            match parsed.oddity {
                Oddity::None => {}
                Oddity::Options => return Err(Verdict::Pass(PassReason::Options)),
                Oddity::FirstFragment => return Err(Verdict::Pass(PassReason::Fragment)),
            }
            if is_martian(&parsed.key.source) {
                return Err(Verdict::Drop(DropReason::Martian));
            }
            if roles(&parsed.key.source) != 0 {
                return Err(Verdict::Drop(DropReason::OwnSource));
            }
            if matches!(parsed.protocol, Protocol::Tcp) && !parsed.tcp.opens() {
                return Err(Verdict::Pass(PassReason::NoFlow));
            }
            if parsed.ttl <= 1 {
                return Err(Verdict::Drop(DropReason::TtlExpired));
            }
            Ok(frontend)
        }
        Side::Backend => Err(refuse_backend(parsed)),
    }
}

/// A packet for the translation range outside any flow.
///
/// A backend must not open connections through that range; everybody else may have business with
/// the host there (node ports, databases), so strangers pass.
#[inline(always)]
fn refuse_backend(parsed: &Parsed) -> Verdict {
    if roles(&parsed.key.destination) & Address::TRANSLATION == 0 {
        return Verdict::Pass(PassReason::NotOurs);
    }
    let sender = Endpoint {
        address: parsed.key.source,
        port: parsed.key.source_port,
        protocol: parsed.key.protocol as u16,
    };
    match ENDPOINTS.get_ptr(sender) {
        Some(_) => Verdict::Drop(DropReason::BackendNoFlow),
        None => Verdict::Pass(PassReason::UnknownSender),
    }
}

/// Sources that no packet on a wire has (RFC 6890): 0/8, 127/8, and 224/3, which is multicast,
/// the reserved block and broadcast.
#[inline(always)]
fn is_martian(source: &Ipv4) -> bool {
    let first = source.octets[0];
    first == 0 || first == 127 || first >= 224
}

#[inline(always)]
fn roles(address: &Ipv4) -> u32 {
    match ADDRESSES.get_ptr(address) {
        // SAFETY: a readable element; a concurrent change of one aligned word is either seen or not.
        Some(found) => unsafe { (*found).roles },
        None => 0,
    }
}
