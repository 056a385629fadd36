//! Which leases have ended. A registry that cannot be asked freezes them: silence of the registry
//! is not silence of the app hosts.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::model::AppHost;

/// Nobody gives leases that are longer than so many of ours: the registry's clock was ahead.
const TOO_LONG: u32 = 10;

/// What is to be done about leases now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turn {
    /// App hosts that begin a whole lease: not heard since the registry was opened, or with a lease that
    /// a clock which was ahead has left.
    pub(crate) begin: Vec<String>,
    /// App hosts whose instances are gone.
    pub(crate) over: Vec<String>,
    /// App hosts of which nothing is left.
    pub(crate) forget: Vec<String>,
}

/// The watch over leases.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leases {
    /// Until then no lease ends: heartbeats could not be heard before.
    grace: Instant,
    is_frozen: bool,
}

impl Leases {
    /// Begins with a lease's time of grace.
    pub(crate) fn new(lease: Duration, now: Instant) -> Self {
        Self {
            grace: now + lease,
            is_frozen: false,
        }
    }

    /// The registry did not answer.
    pub(crate) fn freeze(&mut self) {
        self.is_frozen = true;
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.is_frozen
    }

    /// The registry answered with these app hosts; `holders` have instances.
    pub(crate) fn turn(
        &mut self,
        hosts: &[AppHost],
        holders: &BTreeSet<&str>,
        (lease, now): (Duration, Instant),
    ) -> Turn {
        if std::mem::take(&mut self.is_frozen) {
            self.grace = now + lease;
        }
        let mut turn = Turn::default();
        let known: BTreeSet<&str> = hosts.iter().map(|host| host.dea.as_str()).collect();
        let unknown = holders.difference(&known).map(|dea| (*dea).to_owned());
        turn.begin.extend(unknown);
        for host in hosts {
            let dea = host.dea.clone();
            match host.lease_left {
                None => turn.begin.push(dea),
                Some(left) if left > lease * TOO_LONG => turn.begin.push(dea),
                Some(left) if !left.is_zero() || now < self.grace => {}
                Some(_) if holders.contains(host.dea.as_str()) => turn.over.push(dea),
                Some(_) => turn.forget.push(dea),
            }
        }
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Spoken;

    const LEASE: Duration = Duration::from_secs(17);

    fn host(dea: &str, left: Option<u64>) -> AppHost {
        AppHost {
            dea: dea.into(),
            spoken: Spoken::default(),
            lease_left: left.map(Duration::from_secs),
        }
    }

    #[test]
    fn a_lease_ends_when_it_is_over_and_grace_is_too() {
        let start = Instant::now();
        let mut leases = Leases::new(LEASE, start);
        let hosts = [host("a", Some(0)), host("b", Some(3)), host("c", Some(0))];
        let holders = BTreeSet::from(["a", "b"]);
        let early = leases.turn(&hosts, &holders, (LEASE, start + LEASE / 2));
        assert_eq!(early, Turn::default());
        let late = leases.turn(&hosts, &holders, (LEASE, start + LEASE));
        assert_eq!(
            (late.over, late.forget),
            (vec!["a".into()], vec!["c".into()])
        );
    }

    #[test]
    fn who_is_not_known_begins_a_whole_lease() {
        let start = Instant::now();
        let mut leases = Leases::new(LEASE, start);
        let holders = BTreeSet::from(["a", "b"]);
        let turn = leases.turn(&[host("a", None)], &holders, (LEASE, start + 2 * LEASE));
        assert_eq!(turn.begin, ["b", "a"]);
        assert_eq!((turn.over, turn.forget), (vec![], vec![]));
    }

    #[test]
    fn a_lease_that_a_clock_which_was_ahead_has_left_begins_anew() {
        let start = Instant::now();
        let mut leases = Leases::new(LEASE, start);
        let hosts = [host("a", Some(171)), host("b", Some(30 * 86_400))];
        let holders = BTreeSet::from(["a", "b"]);
        let turn = leases.turn(&hosts, &holders, (LEASE, start + 2 * LEASE));
        assert_eq!(turn.begin, ["a", "b"]);
    }

    #[test]
    fn after_an_outage_of_the_registry_there_is_a_lease_of_grace() {
        let start = Instant::now();
        let mut leases = Leases::new(LEASE, start);
        let (hosts, holders) = ([host("a", Some(0))], BTreeSet::from(["a"]));
        let back = start + 10 * LEASE;
        leases.freeze();
        assert!(leases.is_frozen());
        assert_eq!(
            leases.turn(&hosts, &holders, (LEASE, back)),
            Turn::default()
        );
        assert!(!leases.is_frozen());
        let after = leases.turn(&hosts, &holders, (LEASE, back + LEASE));
        assert_eq!(after.over, ["a"]);
    }
}
