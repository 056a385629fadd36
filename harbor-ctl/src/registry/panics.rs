//! Panics that are answers: the library of the files panics on some that were spoilt from outside,
//! and nothing that is asked of a file may end the agent.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
};

thread_local! {
    static ANSWERED: Cell<bool> = const { Cell::new(false) };
}

/// Whether somebody waits for what this thread does, and takes a panic for an answer.
pub(crate) fn is_answered() -> bool {
    ANSWERED.get()
}

/// Does some work; `None`: it panicked. What the work has touched is thrown away then.
pub(super) fn answered<T>(work: impl FnOnce() -> T) -> Option<T> {
    let before = ANSWERED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    ANSWERED.set(before);
    done.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_answered_where_somebody_waits_and_nowhere_else() {
        assert_eq!(answered(|| is_answered().then_some(1)), Some(Some(1)));
        assert_eq!(answered(|| -> u8 { panic!("spoilt") }), None);
        assert!(!is_answered());
    }
}
