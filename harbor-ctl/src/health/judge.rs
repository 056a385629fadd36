//! Weighs what was seen of one backend. Pure.

use std::time::Instant;

/// Why a probe did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    /// One line.
    pub(crate) reason: String,
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// Something came back that is not what a backend that is well says: the way there is open.
    Answered,
    /// Nothing came back: the backend is gone, or the node is cut off.
    Silent,
    /// The node could not ask; says nothing about the backend.
    Own,
}

impl Fault {
    pub(crate) fn new(kind: FaultKind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.into(),
        }
    }
}

/// How many sights in a row change a judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Thresholds {
    pub(super) rise: u32,
    pub(super) fall: u32,
}

/// What is made of one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Judge {
    pub(super) is_failing: bool,
    /// Sights in a row that speak against `is_failing`.
    against: u32,
    /// Nothing came back the last time.
    is_silent: bool,
    /// When the last sight was a failure.
    failed_at: Option<Instant>,
}

/// How a backend counts for the brake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Up, and something came back the last time, or nothing was asked yet.
    Up,
    /// Up still, but silent the last time.
    Silent,
    Failing,
}

/// What a sight leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Unchanged,
    /// Enough passed: it is up.
    Rises,
    /// Enough failed: it is failing.
    Falls,
}

impl Judge {
    /// Begins with what is recorded.
    pub(super) fn new(is_failing: bool) -> Self {
        Self {
            is_failing,
            against: 0,
            is_silent: false,
            failed_at: None,
        }
    }

    pub(super) fn standing(&self) -> Standing {
        match (self.is_failing, self.is_silent) {
            (true, _) => Standing::Failing,
            (false, true) => Standing::Silent,
            (false, false) => Standing::Up,
        }
    }

    /// Notes what was seen at this time; answers when the failure before was.
    pub(super) fn hear(&mut self, sight: &Result<(), Fault>, at: Instant) -> Option<Instant> {
        let failed_before = self.failed_at;
        match sight {
            Ok(()) => self.is_silent = false,
            Err(fault) if fault.kind == FaultKind::Own => {}
            Err(fault) => {
                self.is_silent = fault.kind == FaultKind::Silent;
                self.failed_at = Some(at);
            }
        }
        failed_before
    }

    /// Counts what was seen.
    pub(super) fn weigh(&mut self, sight: &Result<(), Fault>, limits: Thresholds) -> Outcome {
        if matches!(sight, Err(fault) if fault.kind == FaultKind::Own) {
            return Outcome::Unchanged;
        }
        if sight.is_ok() != self.is_failing {
            self.against = 0;
            return Outcome::Unchanged;
        }
        self.against = self.against.saturating_add(1);
        let (enough, outcome) = match self.is_failing {
            true => (limits.rise, Outcome::Rises),
            false => (limits.fall, Outcome::Falls),
        };
        if self.against < enough.max(1) {
            return Outcome::Unchanged;
        }
        self.against = 0;
        self.is_failing = !self.is_failing;
        outcome
    }

    /// Counts nothing against it: what was seen may be the node's own fault.
    pub(super) fn forgive(&mut self) {
        self.against = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn sight(number: u8) -> Result<(), Fault> {
        match number {
            0 => Ok(()),
            1 => Err(Fault::new(FaultKind::Answered, "refused")),
            2 => Err(Fault::new(FaultKind::Silent, "no answer")),
            _ => Err(Fault::new(FaultKind::Own, "no descriptors")),
        }
    }

    /// What the judgement must be, from the whole history at once: the last run of `fall` failures
    /// or of `rise` passes that was long enough decides.
    fn reference(history: &[u8], limits: Thresholds) -> bool {
        let told: Vec<bool> = history
            .iter()
            .filter(|n| **n < 3)
            .map(|n| *n == 0)
            .collect();
        let mut failing = false;
        for end in 1..=told.len() {
            let same = told[..end]
                .iter()
                .rev()
                .take_while(|t| **t == told[end - 1]);
            let run = same.count() as u32;
            match told[end - 1] {
                true if run >= limits.rise => failing = false,
                false if run >= limits.fall => failing = true,
                _ => {}
            }
        }
        failing
    }

    proptest! {
        #[test]
        fn only_enough_in_a_row_changes_a_judgement(
            history in prop::collection::vec(0u8..4, 0..60), rise in 1u32..5, fall in 1u32..5
        ) {
            let limits = Thresholds { rise, fall };
            let (mut judge, start) = (Judge::new(false), Instant::now());
            for (index, number) in history.iter().enumerate() {
                let at = start + Duration::from_secs(index as u64);
                let before = judge.is_failing;
                judge.hear(&sight(*number), at);
                let outcome = judge.weigh(&sight(*number), limits);
                prop_assert_eq!(outcome == Outcome::Rises, before && !judge.is_failing);
                prop_assert_eq!(outcome == Outcome::Falls, !before && judge.is_failing);
                prop_assert_eq!(judge.is_failing, reference(&history[..=index], limits));
            }
        }
    }

    #[test]
    fn what_is_forgiven_counts_no_more_but_is_remembered() {
        let limits = Thresholds { rise: 1, fall: 2 };
        let (mut judge, at) = (Judge::new(false), Instant::now());
        let silent = sight(2);
        for before in [None, Some(at)] {
            assert_eq!(judge.hear(&silent, at), before);
            assert_eq!(judge.weigh(&silent, limits), Outcome::Unchanged);
            assert_eq!(judge.standing(), Standing::Silent);
            judge.forgive();
        }
        assert_eq!(judge.weigh(&silent, limits), Outcome::Unchanged);
        assert_eq!(judge.weigh(&silent, limits), Outcome::Falls);
        assert_eq!(judge.standing(), Standing::Failing);
        judge.hear(&Ok(()), at);
        assert_eq!(judge.weigh(&Ok(()), limits), Outcome::Rises);
        assert_eq!(judge.standing(), Standing::Up);
    }
}
