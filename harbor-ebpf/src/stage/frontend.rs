//! Is the packet ours? By port first (two arrays, no hash), by address only when no flow matched.

use harbor_common::{
    addr::{Address, Ip},
    backend::Endpoint,
    explain::Explanation,
    flow::FlowKey,
    frontend::Frontend,
    protocol::Protocol,
    rules::transition,
    verdict::{DropReason, PassReason, Verdict},
};

use crate::parsed::{Oddity, Parsed};
use crate::{
    account, config,
    family::Stack,
    frontends,
    maps::{ADDRESSES, ENDPOINTS, SHARES},
};

/// Looks at the destination port alone. A client's packet finds the frontend that is served there,
/// a backend's answer to the translation range one that is not served.
#[inline(always)]
pub fn find<A: Stack>(key: &FlowKey<A>, protocol: Protocol) -> Result<Frontend, Verdict> {
    const OTHER: Verdict = Verdict::Pass(PassReason::NotOurs);
    let frontend = frontends::at(protocol, key.destination_port).ok_or(OTHER)?;
    if frontend.is_served() {
        account::step(Explanation::FRONTEND, |note| note.frontend = frontend.slot);
        return Ok(frontend);
    }
    if config::is_source_port(key.destination_port) {
        account::step(Explanation::REPLY, |_| {});
        Ok(frontend)
    } else {
        Err(OTHER)
    }
}

/// Whether a packet without a flow may open one to this frontend: only an orderly beginning, from
/// outside. The share of its destination, then.
#[inline(always)]
pub fn admit<A: Stack>(
    parsed: &Parsed<A>,
    source: &Ip,
    frontend: Frontend,
    now: u64,
) -> Result<u32, Verdict> {
    let roles = roles(&parsed.key.destination.ip());
    if !frontend.is_served() {
        return Err(refuse_backend(parsed, source, roles, now));
    }
    if roles & Address::PUBLIC == 0 {
        return Err(Verdict::Pass(PassReason::NotOurs));
    }
    match (parsed.oddity, parsed.protocol) {
        (Oddity::None, _) | (Oddity::FirstFragment, Protocol::Udp) => {}
        (Oddity::Options, _) => return Err(Verdict::Pass(PassReason::Options)),
        _ => return Err(Verdict::Pass(PassReason::Fragment)),
    }
    if is_martian(source) {
        return Err(Verdict::Drop(DropReason::Martian));
    }
    if self::roles(source) != 0 {
        return Err(Verdict::Drop(DropReason::OwnSource));
    }
    if matches!(parsed.protocol, Protocol::Tcp) && !transition::opens(parsed.tcp.flags) {
        if is_held(roles, now) {
            return Err(Verdict::Drop(DropReason::Held));
        }
        return Err(Verdict::Pass(PassReason::NoFlow));
    }
    if parsed.ttl <= 1 {
        return Err(Verdict::Drop(DropReason::TtlExpired));
    }
    if is_elsewhere(roles, now) {
        return Err(Verdict::Drop(DropReason::Held));
    }
    account::step(Explanation::ADMITTED, |_| {});
    Ok(Address { roles }.share())
}

/// Why a packet for the translation range outside any flow opens none.
///
/// A backend must not open connections through that range. Others may have business with the host
/// there (node ports, databases), so strangers pass.
#[inline(always)]
fn refuse_backend<A: Stack>(parsed: &Parsed<A>, source: &Ip, roles: u32, now: u64) -> Verdict {
    if roles & Address::TRANSLATION == 0 {
        return Verdict::Pass(PassReason::NotOurs);
    }
    let sender = Endpoint {
        address: *source,
        port: parsed.key.source_port,
        protocol: parsed.key.protocol as u16,
    };
    match ENDPOINTS.get_ptr(&sender) {
        // The program that served before may know it.
        Some(_) if config::has_former() => Verdict::Pass(PassReason::UnknownSender),
        Some(_) if is_held(roles, now) => Verdict::Drop(DropReason::Held),
        Some(_) => Verdict::Drop(DropReason::BackendNoFlow),
        None => Verdict::Pass(PassReason::UnknownSender),
    }
}

/// Whether no packet from another host can have this source (RFC 6890). For IPv4: 0/8, 127/8, and
/// 224/3, which is multicast, the reserved block and broadcast. For IPv6: the unspecified and the
/// loopback address, multicast, and IPv4 addresses in disguise.
#[inline(always)]
fn is_martian(source: &Ip) -> bool {
    let octets = &source.octets;
    if source.is_v4() {
        let first = octets[12];
        // An IPv6 packet cannot carry this form: the stack's own rule (RFC 4291, section 2.5.5.2).
        return first == 0 || first == 127 || first >= 224;
    }
    let is_small = u128::from_be_bytes(*octets) >> 1 == 0;
    is_small || octets[0] == 0xff
}

/// Whether another node has the share of an address.
#[inline(always)]
fn is_elsewhere(roles: u32, now: u64) -> bool {
    match SHARES.get(Address { roles }.share()) {
        Some(share) => share.elsewhere_until_ns > now,
        None => false,
    }
}

/// Whether an unknown flow of an address may be one whose copy is not here yet.
#[inline(always)]
fn is_held(roles: u32, now: u64) -> bool {
    match SHARES.get(Address { roles }.share()) {
        Some(share) => share.held_until_ns > now,
        None => false,
    }
}

#[inline(always)]
fn roles(address: &Ip) -> u32 {
    match ADDRESSES.get_ptr(address) {
        // SAFETY: a readable element; a concurrent change of one aligned word is either seen or
        // not.
        Some(found) => unsafe { (*found).roles },
        None => 0,
    }
}
