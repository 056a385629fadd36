//! What is held against one backend, and by whom.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use harbor_common::rules::backoff;

use crate::model::{Doubt, Witness};

/// Confirmations count as in a row when no more time than this lies between.
pub(super) const ROW: Duration = Duration::from_nanos(2 * backoff::LONGEST_NS);

/// How long a witness's word waits for another's.
const MEMORY: Duration = Duration::from_secs(10);

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
    /// Clients whose flows it has failed, since the first of them; where it cannot be asked.
    pub(super) witnesses: Vec<IpAddr>,
    pub(super) witnessed_at: Instant,
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
            witnesses: Vec::new(),
            witnessed_at: now,
        }
    }

    /// Notes who says so; whether enough do.
    pub(super) fn witness(&mut self, doubt: Doubt, witness: Witness, now: Instant) -> bool {
        if self.witnesses.is_empty() || now > self.witnessed_at + MEMORY {
            self.witnesses.clear();
            (self.doubt, self.witnessed_at) = (doubt, now);
        }
        let client = match witness {
            Witness::Kernel | Witness::Several => return true,
            Witness::Unknown => return false,
            Witness::Client(address) => subscriber(address),
        };
        if !self.witnesses.contains(&client) {
            self.witnesses.push(client);
        }
        self.witnesses.len() > 1
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

/// Whose an address is: one subscriber has a whole network of IPv6 addresses.
fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !(u128::MAX >> 64)).into(),
        v4 => v4,
    }
}
