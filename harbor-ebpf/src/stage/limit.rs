//! What a port is limited to: who may open flows, how many, how fast, and how much may pass.
//!
//! Rates are kept by the rule of [`harbor_common::rules::bucket`].

use aya_ebpf::btf_maps::lpm_trie::Key;
use harbor_common::{
    addr::Ip,
    client::ClientKey,
    control::Control,
    flow::{Flow, FlowKey},
    frontend::{AclNetwork, BackendSet, Limits},
    protocol::Protocol,
    rules::bucket,
    verdict::{DropReason, Verdict},
};

use crate::parsed::Parsed;
use crate::{
    atomic, clients,
    family::Stack,
    frontends,
    maps::{ACL, CLOSED, FRONTEND_STATE},
    route,
    way::Way,
};

/// Whether a client, whose key at this frontend is `key`, may open a flow now; if so it is counted.
#[inline(always)]
pub fn admit(
    limits: &Limits,
    frontend: u32,
    client: &Ip,
    key: &mut ClientKey,
    now: u64,
) -> Result<(), Verdict> {
    match refusal(limits, frontend, client, key, now) {
        0 => Ok(()),
        1 => Err(Verdict::Drop(DropReason::Denied)),
        2 => Err(Verdict::Drop(DropReason::NewFlowLimit)),
        3 => Err(Verdict::Drop(DropReason::FlowQuota)),
        4 => Err(Verdict::Drop(DropReason::ClientQuota)),
        _ => Err(Verdict::Drop(DropReason::FlowCeiling)),
    }
}

/// Why a client may not open a flow now; 0 if it may.
#[inline(never)]
fn refusal(limits: &Limits, frontend: u32, client: &Ip, key: &mut ClientKey, now: u64) -> u32 {
    let Some(state) = FRONTEND_STATE.get_ptr_mut(frontend) else {
        return 0;
    };
    // SAFETY: fields of a map value, aligned to 8.
    let (flows, bucket, refused, kept) = unsafe {
        (
            &raw mut (*state).flows,
            &raw mut (*state).new_flows_ns,
            &raw mut (*state).refused,
            (*state).kept,
        )
    };
    let mut reason = 0;
    if limits.acl != 0 && !is_allowed(limits, client) {
        reason = 1;
    } else if limits.new_per_second != 0 && !take(bucket, 1, limits.new_per_second.into(), now) {
        reason = 2;
    } else if is_crowded(limits.max_per_client, kept, key) {
        reason = 4;
    } else if is_closed(kept, frontend, now) {
        reason = 5;
    } else {
        // SAFETY: as above.
        let before = unsafe { atomic::fetch_add(flows, 1) };
        if limits.max_flows != 0 && before >= u64::from(limits.max_flows) {
            // SAFETY: as above.
            unsafe { atomic::add(flows, u64::MAX) };
            reason = 3;
        }
    }
    if reason != 0 {
        // SAFETY: as above.
        unsafe { atomic::add(refused, 1) };
    }
    reason
}

/// Whether a client keeps as many flows as it may, at this port or at all. As long as all clients
/// together keep fewer, nobody's count has to be looked up.
#[inline(always)]
fn is_crowded(most: u32, kept: u64, key: &mut ClientKey) -> bool {
    let most = u64::from(most);
    if most != 0 && kept >= most && clients::has(key, most) {
        return true;
    }
    let most = node_limits().0;
    key.frontend = ClientKey::ALL_PORTS;
    most != 0 && clients::all() >= most && clients::has(key, most)
}

/// Whether a port keeps as many flows as the operator allows, or its organization does.
#[inline(always)]
fn is_closed(kept: u64, frontend: u32, now: u64) -> bool {
    let most = node_limits().1;
    let until_ns = CLOSED.get(frontend).copied().unwrap_or(0);
    until_ns > now || most != 0 && kept >= most
}

/// How many flows a client may keep at all ports together, and how many a port; 0 = not limited.
#[inline(always)]
fn node_limits() -> (u64, u64) {
    match route::control() {
        Some(control) => (
            control.flows_per_client.into(),
            control.flows_per_port.into(),
        ),
        None => (0, 0),
    }
}

/// Takes back what `admit` has counted, for a flow that could not be opened after all.
#[inline(always)]
pub fn release(frontend: u32) {
    if let Some(state) = FRONTEND_STATE.get_ptr_mut(frontend) {
        // SAFETY: a field of a map value, aligned to 8.
        unsafe { atomic::add(&raw mut (*state).flows, u64::MAX) };
    }
}

#[inline(always)]
fn is_allowed(limits: &Limits, client: &Ip) -> bool {
    let network = AclNetwork {
        list: limits.acl,
        address: *client,
    };
    match ACL.get(&Key::new(160, network)) {
        Some(verdict) => *verdict == AclNetwork::ALLOW,
        None => limits.acl_default == 0,
    }
}

/// Takes `amount` from a bucket that fills at this rate; whether that much was in it.
#[inline(always)]
fn take(word: *mut u64, amount: u32, per_second: u64, now: u64) -> bool {
    if per_second == 0 {
        return true;
    }
    // SAFETY: a field of a map value, aligned to 8.
    let found = unsafe { word.read_volatile() };
    let Some(next) = bucket::take(found, bucket::cost(amount, per_second), now) else {
        return false;
    };
    // If two CPUs take at once, one of them takes for nothing, which does not matter to such a
    // limit.
    // SAFETY: as above.
    unsafe { atomic::compare_exchange(word, found, next) };
    true
}

/// Whether a packet of a flow may pass.
#[inline(always)]
pub fn meter<A: Stack>(
    parsed: &Parsed<A>,
    way: &Way<A>,
    control: &Control,
    now: u64,
) -> Result<(), Verdict> {
    let is_metered = control.flags & Control::METERED != 0;
    let is_capped = way.direction == Flow::<A>::REPLY && way.word & Flow::<A>::CAPPED != 0;
    if !is_metered && !is_capped {
        return Ok(());
    }
    let port = way.public_port(parsed.key.destination_port);
    let set = set_of(way.frontend, parsed.protocol, port, A::INDEX);
    let Some(set) = set else {
        return Ok(());
    };
    match excess(way.frontend, &set.limits, parsed.length, now) {
        0 => {}
        1 => return Err(Verdict::Drop(DropReason::PacketLimit)),
        _ => return Err(Verdict::Drop(DropReason::ByteLimit)),
    }
    if is_capped && exceeds_cap(&parsed.key, set.limits.reply_cap) {
        return Err(Verdict::Drop(DropReason::ReplyCap));
    }
    Ok(())
}

/// Which limit a packet exceeds: 0 none, 1 packets, 2 bytes.
#[inline(never)]
fn excess(slot: u32, limits: &Limits, length: u32, now: u64) -> u32 {
    let Some(state) = FRONTEND_STATE.get_ptr_mut(slot) else {
        return 0;
    };
    // SAFETY: fields of a map value, aligned to 8.
    let (packets, bytes) = unsafe { (&raw mut (*state).packets_ns, &raw mut (*state).bytes_ns) };
    if !take(packets, 1, limits.packets_per_second.into(), now) {
        1
    } else if !take(bytes, length, limits.bytes_per_second, now) {
        2
    } else {
        0
    }
}

/// The set in force of the port whose frontend has this slot.
#[inline(always)]
fn set_of(slot: u32, protocol: Protocol, port: u16, family: u32) -> Option<&'static BackendSet> {
    let frontend = frontends::at(protocol, port)?;
    if !frontend.is_served() || frontend.slot != slot {
        return None;
    }
    frontends::set(&frontend, family)
}

/// Whether a backend has sent more than the port allows before its client has spoken again; this
/// packet has been counted already.
#[inline(always)]
fn exceeds_cap<A: Stack>(key: &FlowKey<A>, cap: u32) -> bool {
    match A::flows().get_ptr(key) {
        // SAFETY: from the lookup.
        Some(entry) => cap != 0 && unsafe { (*entry).bytes } > u64::from(cap),
        None => false,
    }
}
