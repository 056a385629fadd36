//! What is held against one backend, and by whom.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use harbor_common::{
    flow::OPENED_SHIFT,
    rules::{
        backoff,
        witnesses::{self, Statement},
    },
};

use crate::model::{Doubt, Witness};

/// Confirmations count as in a row when no more time than this lies between.
pub(super) const ROW: Duration = Duration::from_nanos(2 * backoff::LONGEST_NS);

/// How long a witness's word waits for another's.
const MEMORY: Duration = Duration::from_nanos((witnesses::MEMORY as u64) << OPENED_SHIFT);

/// What is held against one backend.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) doubt: Doubt,
    pub(super) stage: Stage,
    pub(super) is_ejected: bool,
    /// It is confirmed, and the backend is not ejected: too few others could take its clients.
    pub(super) is_missed: bool,
    /// Confirmations in a row, and when the last one was.
    pub(super) failures: u32,
    pub(super) confirmed_at: Instant,
    /// It is not asked sooner.
    pub(super) rests_until: Instant,
    /// Until when it is given its time at the first question too: its answers take longer than that has.
    pub(super) is_far_until: Instant,
    /// The client whose flow it has failed and who waits for another's word; where it cannot be asked.
    pub(super) statement: Statement,
    pub(super) witnessed_at: Instant,
    /// What the rule's time is counted from.
    began: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing is to happen.
    Quiet,
    /// It will be asked.
    Due(Instant),
    /// A question is under way.
    Asked,
    /// A question is under way whose answer matters no more.
    Void,
    /// It cannot be asked, and is ejected until then.
    Until(Instant),
}

impl Case {
    pub(super) fn new(doubt: Doubt, now: Instant) -> Self {
        Self {
            doubt,
            stage: Stage::Quiet,
            is_ejected: false,
            is_missed: false,
            failures: 0,
            confirmed_at: now,
            rests_until: now,
            is_far_until: now,
            statement: Statement::NONE,
            witnessed_at: now,
            began: now,
        }
    }

    /// Notes who says so; whether enough do.
    pub(super) fn witness(&mut self, doubt: Doubt, witness: Witness, now: Instant) -> bool {
        let is_forgotten = now > self.witnessed_at + MEMORY;
        if self.statement == Statement::NONE || is_forgotten {
            (self.doubt, self.witnessed_at) = (doubt, now);
        }
        let client = match witness {
            Witness::Kernel | Witness::Several => return true,
            Witness::Unknown => return false,
            Witness::Client(address) => subscriber(address),
        };
        let (statement, is_confirmed) = self.statement.hear(client, self.time(now));
        self.statement = statement;
        is_confirmed
    }

    /// A moment as the rule counts it.
    fn time(&self, now: Instant) -> u32 {
        let since = now.saturating_duration_since(self.began).as_nanos();
        // Goes round, as the kernel's does.
        (since >> OPENED_SHIFT) as u32
    }

    /// Whether nothing is known that would matter later.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        !self.is_ejected
            && !self.is_missed
            && now > self.rests_until
            && now > self.is_far_until
            && now > self.witnessed_at + MEMORY
            && (self.failures == 0 || now > self.confirmed_at + ROW)
    }
}

/// Whose an address is.
fn subscriber(address: IpAddr) -> u32 {
    match address.to_canonical() {
        IpAddr::V4(v4) => witnesses::subscriber(&v4.to_ipv6_mapped().octets(), true),
        IpAddr::V6(v6) => witnesses::subscriber(&v6.octets(), false),
    }
}
