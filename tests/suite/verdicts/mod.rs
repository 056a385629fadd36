//! Frames in; verdict, frame out and counters compared. Run on the program that a real agent has
//! loaded and attached, over the maps that it has written.

mod bench;
mod forwarded;
mod fragments;
mod held;
mod icmp;
mod limits;
mod lying;
mod patience;
mod races;
mod resets;
mod rows;
mod scarce;
mod shares;
mod sweep;
mod unrouted;
mod wire;

use std::collections::BTreeSet;

use harbor_common::verdict::{DropReason, PassReason};

/// Reasons that no frame can provoke on purpose, and why.
const UNPROVOKABLE: [(&str, &str); 2] = [
    (
        "flow-race",
        "two CPUs must change one flow between two instructions; a run is on one CPU",
    ),
    (
        "rewrite",
        "the kernel must refuse to unshare a frame, which it does when memory runs out",
    ),
];

#[test]
fn every_reason_has_a_row() {
    let known: BTreeSet<&str> = (PassReason::ALL.iter().map(|reason| reason.name()))
        .chain(DropReason::ALL.iter().map(|reason| reason.name()))
        .collect();
    let rows = rows::ROWS.iter().map(|row| row.verdict);
    let scarce = scarce::TESTS.iter().chain(&limits::TESTS);
    let scarce = scarce
        .chain(&held::TESTS)
        .chain(&shares::TESTS)
        .chain(&unrouted::TESTS)
        .map(|(reason, _)| *reason);
    let shown: BTreeSet<&str> = rows.chain(scarce).collect();
    let excused: BTreeSet<&str> = UNPROVOKABLE.iter().map(|(reason, _)| *reason).collect();
    assert!(UNPROVOKABLE.iter().all(|(_, why)| !why.is_empty()));
    assert_eq!(
        shown.intersection(&excused).count(),
        0,
        "an excuse is out of date"
    );
    let all: BTreeSet<&str> = shown.union(&excused).copied().collect();
    assert_eq!(
        known.difference(&all).collect::<Vec<_>>(),
        Vec::<&&str>::new(),
        "no row for these"
    );
    assert_eq!(
        all.difference(&known).collect::<Vec<_>>(),
        Vec::<&&str>::new(),
        "no such reason"
    );
}
