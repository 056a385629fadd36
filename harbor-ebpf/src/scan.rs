//! Walks over the backends of a set: who is well, and who is there at all.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use harbor_common::{
    backend::Backend,
    frontend::{BackendSet, SET_BACKENDS, TURN_SLOTS, TURNS},
    rules::turns::{Order, looks},
};

use crate::{
    bound::masked,
    maps::{self, BACKEND_STATE, BACKENDS},
    suspicion,
};

/// No slot.
pub const NOBODY: u32 = u32::MAX;

/// What a choice of a backend has to heed.
#[derive(Clone, Copy)]
pub struct Bounds {
    /// The slot that the flow has left; [`NOBODY`] = none.
    pub avoided: u32,
    /// Whether the choice takes a turn.
    pub takes_turn: bool,
    /// The time.
    pub now: u64,
}

/// Whether a backend of the set other than this one can take a flow now, and whether at least half
/// of all are left if this one is avoided.
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
pub enum Grade {
    /// It has left, and the agent is about to flip to a set without it.
    None,
    /// It has failed others.
    Suspect,
    /// Nothing speaks against it.
    Good,
}

/// How well a backend suits a new flow now.
#[inline(always)]
pub fn grade(slot: u32, now: u64) -> Grade {
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

/// A walk over a set's positions; run by `bpf_loop`, so that the verifier looks at one step and not
/// at every path through all of them.
pub struct Scan<'a> {
    /// The set that the positions are of.
    set: &'a BackendSet,
    /// Where the walk begins.
    pub turn: u64,
    /// The time.
    pub now: u64,
    /// Element of `turns` that orders the walk; 0 = the order of registration.
    pub turns: u32,
    /// The slot that is passed over.
    pub avoided: u32,
    /// The first backend that is well.
    pub found: u32,
    /// The first that is there at all.
    fallback: u32,
    /// In `weigh_all`, the flows of `found`; in `survey`, how many backends are not well.
    flows: u64,
    /// In `weigh_all`, the weight of `found`.
    weight: u64,
}

impl<'a> Scan<'a> {
    /// From the first position on, in the order of registration.
    #[inline(always)]
    pub fn new(set: &'a BackendSet, bounds: Bounds) -> Self {
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
    pub fn run(&mut self) {
        self.walk(look as Step);
    }

    /// Walks over all and finds the one with the fewest flows for its weight.
    #[inline(always)]
    pub fn weigh_all(&mut self) {
        self.walk(weigh as Step);
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

    /// The one that was found, or any that is there.
    #[inline(always)]
    pub fn choice(&self) -> u32 {
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

/// One step of the walk over all: finds one that is well, and counts those that are not, the
/// avoided one apart.
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
