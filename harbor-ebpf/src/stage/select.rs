//! Chooses the backend of a new flow.

use aya_ebpf::helpers::bpf_get_prandom_u32;
use harbor_common::{
    addr::Ip,
    explain::Explanation,
    frontend::{Affinity, AffinityKey, BackendSet, Policy},
    verdict::{DropReason, PassReason, Verdict},
};

use crate::{
    account, atomic,
    bound::masked,
    config,
    maps::{AFFINITY, BACKENDS, FRONTEND_STATE},
    scan::{Bounds, Grade, NOBODY, Scan, grade},
};

/// Applies the frontend's policy to its set in force; the slot of the backend.
#[inline(always)]
pub fn select(
    frontend: u32,
    family: u32,
    set: &BackendSet,
    client: &Ip,
    bounds: Bounds,
) -> Result<u32, Verdict> {
    let Bounds { avoided, now, .. } = bounds;
    if set.count == 0 {
        return Err(if set.other_family == 0 {
            Verdict::Drop(DropReason::NoBackend)
        } else {
            Verdict::Pass(PassReason::OtherFamily)
        });
    }
    let mut slot = NOBODY;
    let mut keeps = set.limits.affinity_s != 0;
    if keeps {
        slot = kept(frontend, client, now);
        if slot != NOBODY && slot == avoided {
            // This flow goes elsewhere, but the client keeps its backend: anybody can send in its
            // name.
            slot = NOBODY;
            keeps = false;
        }
    }
    if slot == NOBODY {
        slot = by_policy(frontend, family, set, client, bounds);
        if slot != NOBODY && keeps {
            keep(frontend, set.limits.affinity_s, client, slot, now);
        }
    }
    if slot == NOBODY {
        return Err(Verdict::Drop(DropReason::NoBackend));
    }
    account::step(Explanation::SELECTED, |note| {
        (note.backend, note.policy) = (slot, set.policy);
    });
    Ok(slot)
}

/// The backend that a client keeps, if it keeps one that is well.
#[inline(never)]
fn kept(frontend: u32, client: &Ip, now: u64) -> u32 {
    let key = AffinityKey {
        frontend,
        client: *client,
    };
    let Some(found) = AFFINITY.get_ptr(key) else {
        return NOBODY;
    };
    // SAFETY: from the lookup; a recycled element names a backend that is checked like any other.
    let kept = unsafe { found.read_volatile() };
    let is_tenant = match BACKENDS.get(kept.backend) {
        Some(backend) => backend.generation == kept.generation,
        None => false,
    };
    if kept.until_ns > now && is_tenant && grade(kept.backend, now) == Grade::Good {
        account::step(Explanation::AFFINITY, |_| {});
        kept.backend
    } else {
        NOBODY
    }
}

#[inline(never)]
fn keep(frontend: u32, seconds: u32, client: &Ip, slot: u32, now: u64) -> bool {
    let Some(backend) = BACKENDS.get(slot) else {
        return false;
    };
    let key = AffinityKey {
        frontend,
        client: *client,
    };
    let affinity = Affinity {
        backend: slot,
        generation: backend.generation,
        until_ns: now + u64::from(seconds) * 1_000_000_000,
    };
    !config::is_dry_run() && AFFINITY.insert(key, affinity, 0).is_ok()
}

#[inline(always)]
fn by_policy(frontend: u32, family: u32, set: &BackendSet, client: &Ip, bounds: Bounds) -> u32 {
    if set.policy == Policy::First as u32 {
        first(frontend, family, set, bounds)
    } else if set.policy == Policy::LeastFlows as u32 {
        least(set, bounds)
    } else if !bounds.takes_turn {
        // SAFETY: no parameters.
        in_turn(set, u64::from(unsafe { bpf_get_prandom_u32() }), bounds)
    } else if set.policy == Policy::SourceHash as u32 {
        in_turn(set, u64::from(client.mixed()), bounds)
    } else {
        in_turn(set, next_turn(frontend), bounds)
    }
}

#[inline(always)]
fn next_turn(frontend: u32) -> u64 {
    match FRONTEND_STATE.get_ptr_mut(frontend) {
        // SAFETY: a field of a map value, aligned to 8.
        Some(state) => unsafe { atomic::fetch_add(&raw mut (*state).cursor, 1) },
        None => 0,
    }
}

/// From a turn on, the first backend that is well; if none is, the first that is there at all.
#[inline(never)]
fn in_turn(set: &BackendSet, turn: u64, bounds: Bounds) -> u32 {
    let mut scan = Scan::new(set, bounds);
    scan.turn = turn;
    scan.turns = set.turns;
    scan.run();
    if scan.found == NOBODY && set.turns != 0 {
        // The table has shown only suspects.
        scan.turns = 0;
        scan.run();
    }
    scan.choice()
}

/// The current backend while it is well, else the next in order of registration. The next one
/// becomes current only if the former one takes no flows any more: an instance that comes back does
/// not get its clients back, while one that was merely avoided for a while does.
#[inline(never)]
fn first(frontend: u32, family: u32, set: &BackendSet, bounds: Bounds) -> u32 {
    let Some(state) = FRONTEND_STATE.get_ptr_mut(frontend) else {
        return NOBODY;
    };
    // SAFETY: a field of a map value, aligned to 8; the mask keeps the index inside.
    let pointer = unsafe {
        let currents = (&raw mut (*state).current).cast::<u64>();
        currents.add(masked::<1>(family as usize))
    };
    // SAFETY: as above.
    let current = unsafe { pointer.read_volatile() };
    let (slot, generation) = (current as u32, (current >> 32) as u32);
    let grade = match BACKENDS.get(slot) {
        Some(backend) if generation != 0 && backend.generation == generation => {
            grade(slot, bounds.now)
        }
        _ => Grade::None,
    };
    if grade == Grade::Good && slot != bounds.avoided {
        return slot;
    }
    let mut scan = Scan::new(set, bounds);
    scan.run();
    if grade == Grade::None
        && bounds.avoided == NOBODY
        && scan.found != NOBODY
        && let Some(backend) = BACKENDS.get(scan.found)
    {
        let new = u64::from(backend.generation) << 32 | u64::from(scan.found);
        // SAFETY: as above. Whoever loses the race goes to this backend all the same.
        unsafe { atomic::compare_exchange(pointer, current, new) };
    }
    scan.choice()
}

/// The backend with the fewest flows for its weight.
#[inline(never)]
fn least(set: &BackendSet, bounds: Bounds) -> u32 {
    let mut scan = Scan::new(set, bounds);
    scan.weigh_all();
    scan.choice()
}
