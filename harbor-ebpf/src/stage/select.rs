//! Chooses the backend of a new flow.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use harbor_common::{
    addr::Ip,
    backend::Backend,
    explain::Explanation,
    frontend::{Affinity, AffinityKey, BackendSet, Policy, SET_BACKENDS, TURN_SLOTS, TURNS},
    rules::turns::{Order, looks},
    verdict::{DropReason, PassReason, Verdict},
};

use crate::{
    account, atomic,
    bound::masked,
    config,
    maps::{self, AFFINITY, BACKEND_STATE, BACKENDS, FRONTEND_STATE},
    suspicion,
};

/// No slot.
pub const NOBODY: u32 = u32::MAX;

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
    if set.limits.affinity_s != 0 {
        slot = kept(frontend, client, now);
        if slot == avoided {
            slot = NOBODY;
        }
    }
    if slot == NOBODY {
        slot = by_policy(frontend, family, set, client, bounds);
        if slot != NOBODY && set.limits.affinity_s != 0 {
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

/// When a backend is chosen, and which one not to.
#[derive(Clone, Copy)]
pub struct Bounds {
    /// The slot that the flow has left; [`NOBODY`] = none.
    pub avoided: u32,
    /// Whether it counts for whose turn it is.
    pub takes_turn: bool,
    /// The time.
    pub now: u64,
}

/// Whether another backend of the set than this one can take a flow now, and whether at least half of
/// all are left if this one is avoided.
#[inline(always)]
pub fn survey(set: &BackendSet, slot: u32, now: u64) -> (bool, bool) {
    let bounds = Bounds {
        avoided: slot,
        takes_turn: false,
        now,
    };
    let mut scan = Scan::new(set, bounds);
    scan.walk(count as Step);
    (
        scan.found != NOBODY,
        2 * (scan.flows + 1) <= u64::from(set.count),
    )
}

/// Whether nothing speaks against a backend.
#[inline(always)]
pub fn is_well(slot: u32, now: u64) -> bool {
    grade(slot, now) == Grade::Good
}

/// How well a backend suits a new flow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Grade {
    /// It has left, and the agent is about to flip to a set without it.
    None,
    /// It has failed others.
    Suspect,
    Good,
}

#[inline(always)]
fn grade(slot: u32, now: u64) -> Grade {
    let Some(backend) = BACKENDS.get(slot) else {
        return Grade::None;
    };
    let is_ejected = backend.state == Backend::EJECTED;
    if backend.state != Backend::ACTIVE && !is_ejected {
        Grade::None
    } else if is_ejected && suspicion::is_judged(now)
        || suspicion::is_suspect(slot, backend.generation, now)
    {
        Grade::Suspect
    } else {
        Grade::Good
    }
}

/// The backend at a position of the set.
#[inline(always)]
fn at(set: &BackendSet, position: u32) -> u32 {
    set.backends[masked::<{ SET_BACKENDS - 1 }>(position as usize)]
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
    } else if set.policy == Policy::SourceHash as u32 || !bounds.takes_turn {
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

/// A walk over a set's positions; run by `bpf_loop`, so that the verifier looks at one step of it
/// and not at every way through all of them.
struct Scan<'a> {
    set: &'a BackendSet,
    /// Where the walk begins.
    turn: u64,
    now: u64,
    /// Element of `turns` that orders the walk; 0 = the order of registration.
    turns: u32,
    /// The slot that is not looked for.
    avoided: u32,
    /// The first backend that is well.
    found: u32,
    /// The first that is there at all.
    fallback: u32,
    /// Of `least`: what `found` has, and its weight. Of `survey`: how many are not well.
    flows: u64,
    weight: u64,
}

impl<'a> Scan<'a> {
    #[inline(always)]
    fn new(set: &'a BackendSet, bounds: Bounds) -> Self {
        Self {
            set,
            turn: 0,
            now: bounds.now,
            turns: 0,
            avoided: bounds.avoided,
            found: NOBODY,
            fallback: NOBODY,
            flows: 0,
            weight: 1,
        }
    }

    /// Walks until a backend is found that is well.
    #[inline(always)]
    fn run(&mut self) {
        self.walk(look as Step);
    }

    #[inline(always)]
    fn walk(&mut self, step: Step) {
        let order = if self.turns == 0 {
            Order::Registered
        } else {
            Order::Table
        };
        let count = looks(order, self.set.count);
        // SAFETY: the callback takes what it is given here, which outlives the call.
        unsafe { bpf_loop(count, step as *mut c_void, (&raw mut *self).cast(), 0) };
    }

    #[inline(always)]
    fn choice(&self) -> u32 {
        if self.found == NOBODY {
            self.fallback
        } else {
            self.found
        }
    }

    /// The slot at a step of the walk.
    #[inline(always)]
    fn slot(&self, index: u64) -> u32 {
        let turn = self.turn + index;
        if self.turns != 0
            && let Some(table) = maps::TURNS.get(self.turns)
        {
            let index = (turn % TURNS as u64) as usize;
            let position = table.positions[masked::<{ TURN_SLOTS - 1 }>(index)];
            return at(self.set, position.into());
        }
        match self.set.count {
            0 => NOBODY,
            count => at(self.set, (turn % u64::from(count)) as u32),
        }
    }
}

type Step = unsafe extern "C" fn(u64, *mut c_void) -> i64;

/// One step of a walk that ends at the first backend that is well.
///
/// # Safety
///
/// Called by `bpf_loop` with a [`Scan`].
unsafe extern "C" fn look(index: u64, scan: *mut c_void) -> i64 {
    // SAFETY: by the caller.
    let scan = unsafe { &mut *scan.cast::<Scan<'_>>() };
    let slot = scan.slot(index);
    if slot == scan.avoided {
        return 0;
    }
    match grade(slot, scan.now) {
        Grade::Good => {
            scan.found = slot;
            return 1;
        }
        Grade::Suspect if scan.fallback == NOBODY => scan.fallback = slot,
        _ => {}
    }
    0
}

/// From a turn on, the first backend that is well; if none is, the first that is there at all.
#[inline(never)]
fn in_turn(set: &BackendSet, turn: u64, bounds: Bounds) -> u32 {
    let mut scan = Scan::new(set, bounds);
    scan.turn = turn;
    scan.turns = set.turns;
    scan.run();
    if scan.found == NOBODY && set.turns != 0 {
        // The table has shown suspects alone.
        scan.turns = 0;
        scan.run();
    }
    scan.choice()
}

/// The current backend while it is well, else the next in order of registration. That stays current
/// only where the former one takes no flows any more: an instance that comes back does not take its
/// clients back, and one that was avoided for a while does.
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
        && scan.found != NOBODY
        && let Some(backend) = BACKENDS.get(scan.found)
    {
        let new = u64::from(backend.generation) << 32 | u64::from(scan.found);
        // SAFETY: as above. Who loses the race goes to this backend all the same.
        unsafe { atomic::compare_exchange(pointer, current, new) };
    }
    scan.choice()
}

/// The backend with the fewest flows for its weight.
#[inline(never)]
fn least(set: &BackendSet, bounds: Bounds) -> u32 {
    let mut scan = Scan::new(set, bounds);
    scan.walk(weigh as Step);
    scan.choice()
}

/// One step of the walk that looks for the fewest flows.
///
/// # Safety
///
/// Called by `bpf_loop` with a [`Scan`].
unsafe extern "C" fn weigh(index: u64, scan: *mut c_void) -> i64 {
    // SAFETY: by the caller.
    let scan = unsafe { &mut *scan.cast::<Scan<'_>>() };
    let slot = at(scan.set, index as u32);
    if slot == scan.avoided {
        return 0;
    }
    let Some(state) = BACKEND_STATE.get_ptr(slot) else {
        return 0;
    };
    // SAFETY: an aligned word of a map value.
    let flows = unsafe { (&raw const (*state).flows).read_volatile() };
    let weight = u64::from(scan.set.weights[masked::<{ SET_BACKENDS - 1 }>(index as usize)]);
    match grade(slot, scan.now) {
        Grade::Good if scan.found == NOBODY || flows * scan.weight < scan.flows * weight => {
            (scan.found, scan.flows, scan.weight) = (slot, flows, weight);
        }
        Grade::Suspect if scan.fallback == NOBODY => scan.fallback = slot,
        _ => {}
    }
    0
}

/// One step of the walk over all: finds one that is well, and counts those that are not, the avoided one
/// apart.
///
/// # Safety
///
/// Called by `bpf_loop` with a [`Scan`].
unsafe extern "C" fn count(index: u64, scan: *mut c_void) -> i64 {
    // SAFETY: by the caller.
    let scan = unsafe { &mut *scan.cast::<Scan<'_>>() };
    let slot = at(scan.set, index as u32);
    if slot == scan.avoided {
        return 0;
    }
    if grade(slot, scan.now) == Grade::Good {
        scan.found = slot;
    } else {
        scan.flows += 1;
    }
    0
}
