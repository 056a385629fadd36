//! Who may open a flow at a port, and how much may pass. The datapath's rules, in its order.
//!
//! Rates are kept by the rule of [`harbor_common::rules::bucket`].

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{
        MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use harbor_common::{addr::Ip, rules::bucket, verdict::DropReason};
use ipnet::IpNet;

use super::frontend::{Frontend, Standing};
use crate::model::PortSettings;

/// The networks that a port names, the narrowest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lists {
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

    pub(crate) fn allow(&self, client: IpAddr) -> bool {
        let mut networks = self.networks.iter();
        let found = networks.find(|(net, _)| net.contains(&client));
        found.map_or(self.otherwise, |(_, access)| *access) == Access::Allowed
    }
}

/// Why a client may not open a flow now; if nothing speaks against it, the flow is counted.
pub(crate) fn admit(frontend: &Frontend, client: IpAddr, now: u64) -> Result<(), DropReason> {
    let (settings, standing) = (frontend.settings(), &*frontend.standing);
    let new_flows = settings.new_per_second.into();
    let refused = if !frontend.lists.allow(client) {
        DropReason::Denied
    } else if !take(&standing.new_flows, 1, new_flows, now) {
        DropReason::NewFlowLimit
    } else if !take_in(standing, client, settings.max_per_client) {
        DropReason::ClientQuota
    } else {
        let before = standing.load.flows.fetch_add(1, Relaxed);
        if settings.max_connections == 0 || before < u64::from(settings.max_connections) {
            return Ok(());
        }
        release(frontend, client);
        DropReason::FlowQuota
    };
    standing.refused.fetch_add(1, Relaxed);
    Err(refused)
}

/// Takes back what `admit` has counted.
pub(crate) fn release(frontend: &Frontend, client: IpAddr) {
    let standing = &*frontend.standing;
    standing.load.flows.fetch_sub(1, Relaxed);
    if let Entry::Occupied(mut of_client) = clients(standing).entry(Ip::from(client).network()) {
        *of_client.get_mut() -= 1;
        if *of_client.get() == 0 {
            of_client.remove();
        }
    }
}

/// Counts a flow of a client, if it has fewer than this; 0 = not limited.
fn take_in(standing: &Standing, client: IpAddr, most: u32) -> bool {
    let mut clients = clients(standing);
    let of_client = clients.entry(Ip::from(client).network()).or_default();
    let has_room = most == 0 || *of_client < most;
    *of_client += u32::from(has_room);
    has_room
}

fn clients(standing: &Standing) -> MutexGuard<'_, HashMap<Ip, u32>> {
    let clients = standing.clients.lock();
    clients.unwrap_or_else(PoisonError::into_inner)
}

/// What `admit` would say, without counting anything.
pub(crate) fn would_admit(frontend: &Frontend, client: IpAddr, now: u64) -> Result<(), DropReason> {
    let (settings, standing) = (frontend.settings(), &*frontend.standing);
    let flows = standing.load.flows.load(Relaxed);
    let most = u64::from(settings.max_connections);
    let of_client = clients(standing).get(&Ip::from(client).network()).copied();
    let most_of_one = settings.max_per_client;
    if !frontend.lists.allow(client) {
        Err(DropReason::Denied)
    } else if !has(&standing.new_flows, 1, settings.new_per_second.into(), now) {
        Err(DropReason::NewFlowLimit)
    } else if most_of_one != 0 && of_client.unwrap_or(0) >= most_of_one {
        Err(DropReason::ClientQuota)
    } else if most != 0 && flows >= most {
        Err(DropReason::FlowQuota)
    } else {
        Ok(())
    }
}

/// Takes `amount` from what is granted a second; whether that much was there.
pub(crate) fn take(word: &AtomicU64, amount: u32, per_second: u64, now: u64) -> bool {
    let step = |until| bucket::take(until, bucket::cost(amount, per_second), now);
    per_second == 0 || word.fetch_update(Relaxed, Relaxed, step).is_ok()
}

/// Whether `amount` is there.
fn has(word: &AtomicU64, amount: u32, per_second: u64, now: u64) -> bool {
    let cost = bucket::cost(amount, per_second);
    per_second == 0 || bucket::take(word.load(Relaxed), cost, now).is_some()
}

/// Takes `amount` whether it is there or not: it has passed already.
pub(crate) fn charge(word: &AtomicU64, amount: u64, per_second: u64, now: u64) {
    if per_second == 0 {
        return;
    }
    let cost = bucket::cost(u32::try_from(amount).unwrap_or(u32::MAX), per_second);
    let step = |until| Some(bucket::charge(until, cost, now));
    // The step never says no.
    let _ = word.fetch_update(Relaxed, Relaxed, step);
}

/// For how long nothing more may pass, in nanoseconds; 0 = now.
pub(crate) fn wait(word: &AtomicU64, per_second: u64, now: u64) -> u64 {
    match per_second {
        0 => 0,
        _ => bucket::wait(word.load(Relaxed), now),
    }
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
    fn what_is_not_limited_is_never_charged() {
        let (word, now) = (AtomicU64::new(0), 5 * bucket::SECOND_NS);
        assert!(take(&word, u32::MAX, 0, now));
        charge(&word, u64::MAX, 0, now);
        assert_eq!((word.load(Relaxed), wait(&word, 0, now)), (0, 0));
        assert!(take(&word, 4, 2, now), "the bucket is full");
        assert!(!has(&word, 1, 2, now + bucket::SECOND_NS));
        assert!(has(&word, 1, 2, now + 2 * bucket::SECOND_NS));
        assert_eq!(wait(&word, 2, now), bucket::SECOND_NS);
    }
}
