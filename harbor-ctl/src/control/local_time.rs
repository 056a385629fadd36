//! The node's local time.

use std::mem::MaybeUninit;

use crate::model::rfc3339;

/// A moment, in seconds since 1970, as RFC 3339 in local time.
pub(crate) fn local(at: u64) -> String {
    rfc3339(at, ahead_of_utc(at))
}

/// By how many seconds local time is ahead at that moment; the system's rules know about summers.
fn ahead_of_utc(at: u64) -> i32 {
    let Ok(at) = libc::time_t::try_from(at) else {
        return 0;
    };
    let mut parts = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both pointers are to live values of the right types; `localtime_r` keeps neither.
    let done = unsafe { libc::localtime_r(&raw const at, parts.as_mut_ptr()) };
    if done.is_null() {
        return 0;
    }
    // SAFETY: a call that answers no null has written all of it.
    let parts = unsafe { parts.assume_init() };
    i32::try_from(parts.tm_gmtoff).unwrap_or_default()
}
