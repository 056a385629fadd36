//! Atomic operations, written as instructions: the BPF target has none in `core::sync`.
//!
//! In a dry run they change nothing, and answer as if they had.

use core::arch::asm;

use crate::config;

/// Adds to a counter that other CPUs add to as well.
///
/// # Safety
///
/// `counter` points into a map value and is aligned to 8.
#[inline(always)]
pub unsafe fn add(counter: *mut u64, amount: u64) {
    if config::is_dry_run() {
        return;
    }
    // SAFETY: by the caller; the verifier checks the access.
    unsafe {
        asm!(
            "lock *(u64 *)({counter} + 0) += {amount}",
            counter = in(reg) counter,
            amount = in(reg) amount,
            options(nostack),
        );
    }
}

/// Adds, and returns the value from before.
///
/// # Safety
///
/// `counter` points into a map value and is aligned to 8.
#[inline(always)]
pub unsafe fn fetch_add(counter: *mut u64, amount: u64) -> u64 {
    if config::is_dry_run() {
        // SAFETY: by the caller.
        return unsafe { counter.read_volatile() };
    }
    let before: u64;
    // SAFETY: by the caller; the verifier checks the access.
    unsafe {
        asm!(
            "{amount} = atomic_fetch_add((u64 *)({counter} + 0), {amount})",
            counter = in(reg) counter,
            amount = inlateout(reg) amount => before,
            options(nostack),
        );
    }
    before
}

/// Stores `new` if the word still is `old`; whether it was.
///
/// # Safety
///
/// `word` points into a map value and is aligned to 8.
#[inline(always)]
pub unsafe fn compare_exchange(word: *mut u64, old: u64, new: u64) -> bool {
    if config::is_dry_run() {
        return true;
    }
    let found: u64;
    // SAFETY: by the caller; the verifier checks the access. The instruction compares with register
    // 0, and returns what it found there.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({word} + 0, r0, {new})",
            word = in(reg) word,
            new = in(reg) new,
            inlateout("r0") old => found,
            options(nostack),
        );
    }
    found == old
}

/// Takes one from a count, unless it was cleared meanwhile.
///
/// # Safety
///
/// `count` points into a map value and is aligned to 8.
#[inline(always)]
pub unsafe fn subtract(count: *mut u64) {
    // SAFETY: by the caller.
    if unsafe { count.read_volatile() } != 0 {
        // SAFETY: by the caller.
        unsafe { add(count, u64::MAX) };
    }
}
