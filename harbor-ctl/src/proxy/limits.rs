//! Who may open a flow at a port, and how much may pass. The datapath's rules, in its order.
//!
//! Rates are kept as in the generic cell rate algorithm (ITU-T I.371): one word says when what was
//! taken will have been worked off, and a second's worth may be taken at once.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use harbor_common::verdict::DropReason;
use ipnet::IpNet;

use super::{clock::SECOND, frontend::Frontend};
use crate::model::PortSettings;

/// The networks that a port names, the narrowest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Lists {
    networks: Vec<(IpNet, Access)>,
    /// For who is named nowhere.
    otherwise: Access,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Access {
    // First, so that it wins where both lists name the same network.
    Denied,
    #[default]
    Allowed,
}

impl Lists {
    pub(super) fn of(settings: &PortSettings) -> Self {
        let denied = settings
            .denied_cidrs
            .iter()
            .map(|net| (*net, Access::Denied));
        let allowed = settings.allowed_cidrs.iter();
        let mut networks: Vec<_> = denied
            .chain(allowed.map(|net| (*net, Access::Allowed)))
            .collect();
        networks.sort_by_key(|(net, access)| (std::cmp::Reverse(net.prefix_len()), *access));
        let otherwise = match settings.allowed_cidrs.is_empty() {
            true => Access::Allowed,
            false => Access::Denied,
        };
        Self {
            networks,
            otherwise,
        }
    }

    pub(super) fn allow(&self, client: IpAddr) -> bool {
        let mut networks = self.networks.iter();
        let found = networks.find(|(net, _)| net.contains(&client));
        found.map_or(self.otherwise, |(_, access)| *access) == Access::Allowed
    }
}

/// Why a client may not open a flow now; if nothing speaks against it, the flow is counted.
pub(super) fn admit(frontend: &Frontend, client: IpAddr, now: u64) -> Result<(), DropReason> {
    let (settings, standing) = (frontend.settings(), &*frontend.standing);
    let new_flows = settings.new_per_second.into();
    let refused = if !frontend.lists.allow(client) {
        DropReason::Denied
    } else if !take(&standing.new_flows, 1, new_flows, now) {
        DropReason::NewFlowLimit
    } else {
        let before = standing.load.flows.fetch_add(1, Relaxed);
        if settings.max_connections == 0 || before < u64::from(settings.max_connections) {
            return Ok(());
        }
        standing.load.flows.fetch_sub(1, Relaxed);
        DropReason::FlowQuota
    };
    standing.refused.fetch_add(1, Relaxed);
    Err(refused)
}

/// What `admit` would say, without counting anything.
pub(super) fn would_admit(frontend: &Frontend, client: IpAddr, now: u64) -> Result<(), DropReason> {
    let (settings, standing) = (frontend.settings(), &*frontend.standing);
    let flows = standing.load.flows.load(Relaxed);
    let most = u64::from(settings.max_connections);
    if !frontend.lists.allow(client) {
        Err(DropReason::Denied)
    } else if !has(&standing.new_flows, 1, settings.new_per_second.into(), now) {
        Err(DropReason::NewFlowLimit)
    } else if most != 0 && flows >= most {
        Err(DropReason::FlowQuota)
    } else {
        Ok(())
    }
}

/// Takes `amount` from what is granted a second; whether that much was there.
pub(super) fn take(bucket: &AtomicU64, amount: u64, per_second: u64, now: u64) -> bool {
    if per_second == 0 {
        return true;
    }
    if !has(bucket, amount, per_second, now) {
        return false;
    }
    charge(bucket, amount, per_second, now);
    true
}

/// Whether `amount` is there; what is larger than a second's worth passes when the bucket is full.
fn has(bucket: &AtomicU64, amount: u64, per_second: u64, now: u64) -> bool {
    per_second == 0 || lag(bucket, now) <= SECOND - cost(amount, per_second).min(SECOND)
}

/// Takes `amount` whether it is there or not: it has passed already.
pub(super) fn charge(bucket: &AtomicU64, amount: u64, per_second: u64, now: u64) {
    if per_second == 0 {
        return;
    }
    let cost = cost(amount, per_second);
    // The closure never says no.
    let _ = bucket.fetch_update(Relaxed, Relaxed, |until| Some(until.max(now) + cost));
}

/// For how long nothing more may pass, in nanoseconds; 0 = now.
pub(super) fn wait(bucket: &AtomicU64, per_second: u64, now: u64) -> u64 {
    match per_second {
        0 => 0,
        _ => lag(bucket, now).saturating_sub(SECOND),
    }
}

fn lag(bucket: &AtomicU64, now: u64) -> u64 {
    bucket.load(Relaxed).saturating_sub(now)
}

fn cost(amount: u64, per_second: u64) -> u64 {
    amount.saturating_mul(SECOND) / per_second
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(allowed: &[&str], denied: &[&str]) -> Lists {
        let read = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        Lists::of(&PortSettings {
            allowed_cidrs: read(allowed),
            denied_cidrs: read(denied),
            ..PortSettings::default()
        })
    }

    #[test]
    fn the_narrower_network_wins_and_denial_on_a_tie() {
        let lists = lists(
            &["10.0.0.0/8", "10.1.2.0/24", "2001:db8::/32"],
            &["10.1.0.0/16", "2001:db8:1::/48", "10.1.2.0/24"],
        );
        let allowed = |client: &str| lists.allow(client.parse().unwrap());
        assert!(allowed("10.9.0.1") && allowed("2001:db8::1"));
        for denied in ["10.1.9.1", "10.1.2.1", "192.0.2.1", "2001:db8:1::1"] {
            assert!(!allowed(denied), "{denied}");
        }
    }

    #[test]
    fn who_is_not_named_is_allowed_unless_somebody_is_named_as_allowed() {
        let client = "192.0.2.1".parse().unwrap();
        assert!(lists(&[], &[]).allow(client));
        assert!(lists(&[], &["::/0"]).allow(client));
        assert!(!lists(&["::/0"], &[]).allow(client));
        assert!(!lists(&[], &["0.0.0.0/0"]).allow(client));
    }

    #[test]
    fn a_seconds_worth_may_be_taken_at_once_and_then_what_has_been_worked_off() {
        let (bucket, now) = (AtomicU64::new(0), 5 * SECOND);
        let taken = (0..20).filter(|_| take(&bucket, 1, 10, now)).count();
        assert_eq!(taken, 10);
        assert!(!take(&bucket, 1, 10, now + SECOND / 11));
        assert!(take(&bucket, 1, 10, now + SECOND / 10));
        charge(&bucket, 10, 10, now + SECOND / 10);
        assert_eq!(wait(&bucket, 10, now + SECOND / 10), SECOND);
        assert!(
            take(&bucket, 1_000, 10, now + 60 * SECOND),
            "more than a second's worth"
        );
    }
}
