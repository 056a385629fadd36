//! The kernel's own timer: while no agent runs it sweeps the flow tables, whether packets come or
//! not.
//!
//! The timer is in a pinned map, so it fires as long as that map is there. It holds the program
//! that armed it; a new agent arms it again with the new program.

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    bindings::bpf_timer,
    helpers::generated::{
        bpf_for_each_map_elem, bpf_timer_init, bpf_timer_set_callback, bpf_timer_start,
    },
};
use harbor_common::addr::{Ipv4, Ipv6};

use crate::{
    clock,
    maps::{FLOWS, FLOWS6, TIMER, Timer},
    route,
    sweep::{self, BUDGET, Walk},
};

/// How often the timer fires.
const PERIOD_NS: u64 = 1_000_000_000;
/// `CLOCK_MONOTONIC`
const MONOTONIC: u64 = 1;
/// `bpf_timer_init` found the timer initialised: by a former load of the program.
const EBUSY: i64 = -16;

type Callback = extern "C" fn(*mut c_void, *mut c_void, *mut c_void) -> i64;

/// Arms the timer with this program's callback; whether the kernel took it.
#[inline(always)]
pub fn arm() -> bool {
    let Some(element) = TIMER.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: a field of a map value.
    let timer = unsafe { &raw mut (*element).timer };
    // SAFETY: the timer stands in this map, as the verifier checks.
    let made = unsafe { bpf_timer_init(timer, map_of(&TIMER), MONOTONIC) };
    if made != 0 && made != EBUSY {
        return false;
    }
    // SAFETY: the callback has the form that the kernel calls timers' callbacks with.
    let set = unsafe { bpf_timer_set_callback(timer, fired as Callback as *mut c_void) };
    set == 0 && start(timer)
}

fn start(timer: *mut bpf_timer) -> bool {
    // SAFETY: an initialised timer in a map value.
    unsafe { bpf_timer_start(timer, PERIOD_NS, 0) == 0 }
}

#[inline(always)]
fn map_of<T>(map: &'static T) -> *mut c_void {
    ptr::from_ref(map).cast_mut().cast()
}

/// The timer has fired.
extern "C" fn fired(_map: *mut c_void, _key: *mut c_void, value: *mut c_void) -> i64 {
    let now_ns = clock::now_ns();
    let is_alone = match route::control() {
        Some(control) => control.valid_until_ns < now_ns,
        None => false,
    };
    if is_alone {
        let element = value.cast::<Timer>();
        // Through the map: the verifier would count down a number that it knows, one state at a
        // time.
        // SAFETY: the element of the `timer` map; its other field is this callback's alone.
        let budget = unsafe {
            (&raw mut (*element).budget).write_volatile(BUDGET);
            (&raw const (*element).budget).read_volatile()
        };
        let mut walk = Walk { now_ns, budget };
        let context = (&raw mut walk).cast();
        // SAFETY: maps and callbacks belong together; the walk outlives both calls.
        unsafe {
            bpf_for_each_map_elem(map_of(&FLOWS), visit4 as Visit as *mut c_void, context, 0);
            bpf_for_each_map_elem(map_of(&FLOWS6), visit6 as Visit as *mut c_void, context, 0);
        }
    }
    start(value.cast());
    0
}

type Visit = unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_void, *mut c_void) -> i64;

/// # Safety
///
/// Called by `bpf_for_each_map_elem` on `flows`.
unsafe extern "C" fn visit4(
    _map: *mut c_void,
    key: *mut c_void,
    entry: *mut c_void,
    walk: *mut c_void,
) -> i64 {
    // SAFETY: by the caller.
    unsafe { sweep::visit::<Ipv4>(key, entry, walk) }
}

/// # Safety
///
/// Called by `bpf_for_each_map_elem` on `flows6`.
unsafe extern "C" fn visit6(
    _map: *mut c_void,
    key: *mut c_void,
    entry: *mut c_void,
    walk: *mut c_void,
) -> i64 {
    // SAFETY: by the caller.
    unsafe { sweep::visit::<Ipv6>(key, entry, walk) }
}
