//! How often a password may be tried: a few times at once, then now and then, each address for itself;
//! and one at a time, so that checking costs no more than one core and one hash's memory.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use harbor_common::addr::Ip;
use tokio::sync::Semaphore;

/// Wrong ones at once, and how long each takes to be forgotten.
const BURST: u32 = 10;
const FORGOTTEN: Duration = Duration::from_secs(10);
/// Addresses that are told apart; all others are one.
const MOST: usize = 4_096;

/// Counts what was wrong.
#[derive(Debug)]
pub(super) struct Gate {
    /// When all that was wrong will be forgotten.
    wrong: Mutex<HashMap<Option<Ip>, Instant>>,
    /// Held while a password is checked.
    pub(super) turn: Semaphore,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            wrong: Mutex::default(),
            turn: Semaphore::new(1),
        }
    }
}

impl Gate {
    /// Counts a try before it is made; how long to wait if it is one too many.
    pub(super) fn try_once(&self, from: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.retain(|_, until| *until > now);
        let own = Some(Ip::from(from).network());
        let whose = match wrong.contains_key(&own) || wrong.len() < MOST {
            true => own,
            false => None,
        };
        let until = wrong.entry(whose).or_insert(now);
        let next = (*until).max(now) + FORGOTTEN;
        let latest = now + FORGOTTEN * BURST;
        if next > latest {
            return Err(next - latest);
        }
        *until = next;
        Ok(())
    }

    /// What was right was no try.
    pub(super) fn was_right(&self, from: IpAddr) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = wrong.get_mut(&Some(Ip::from(from).network())) {
            *until -= FORGOTTEN;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_at_once_then_one_in_ten_seconds_each_for_itself() {
        let (gate, start) = (Gate::default(), Instant::now());
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
        let other: IpAddr = "10.0.0.1".parse().unwrap();
        let taken = (0..1_000).filter(|_| gate.try_once(one, start).is_ok());
        assert_eq!(taken.count(), BURST as usize);
        assert_eq!(gate.try_once(neighbour, start), Err(FORGOTTEN));
        assert_eq!(gate.try_once(other, start), Ok(()));
        let later = start + FORGOTTEN;
        assert_eq!(gate.try_once(one, later), Ok(()));
        assert_eq!(gate.try_once(one, later), Err(FORGOTTEN));
        gate.was_right(one);
        assert_eq!(gate.try_once(one, later), Ok(()));
    }

    #[test]
    fn many_addresses_take_no_more_memory() {
        let (gate, now) = (Gate::default(), Instant::now());
        for n in 0..u32::try_from(MOST).unwrap() + 1_000 {
            let _ = gate.try_once(IpAddr::V4(n.into()), now);
        }
        assert_eq!(gate.wrong.lock().unwrap().len(), MOST + 1);
    }
}
