//! How backends join and leave a service: pure changes on one [`Service`].
//!
//! The order of `Service::backends` is the order of first registration and decides UDP's primary.
//! A backend that had left and comes back goes to the end: it must not steal live clients.

use std::net::SocketAddr;

use super::{
    address::default_instance,
    refusal::{Refusal, RefusalKind},
    service::{Backend, BackendState, Service},
};

/// The most backends of one service.
pub(crate) const BACKEND_LIMIT: usize = 128;

/// The largest share of new flows of one backend.
pub(crate) const WEIGHT_LIMIT: u8 = 100;

/// How a removed backend goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Departure {
    /// Keeps its flows until this moment (seconds since 1970).
    DrainUntil(u64),
    /// Its flows end at once.
    Now,
}

impl Departure {
    /// With so many seconds for its flows.
    pub(crate) fn after(drain_s: u32, now: u64) -> Self {
        match drain_s {
            0 => Self::Now,
            seconds => Self::DrainUntil(now.saturating_add(u64::from(seconds))),
        }
    }
}

impl Service {
    /// Adds an instance, or makes a known one active again. Repeating it changes nothing.
    pub(crate) fn add_backend(
        &mut self,
        address: SocketAddr,
        instance: Option<&str>,
        now: u64,
    ) -> Result<Backend, Refusal> {
        let default = default_instance(address);
        let known = self.backends.iter().position(|b| b.address == address);
        let instance = match (instance, known) {
            (Some(instance), _) => instance.to_owned(),
            (None, Some(index)) => self.backends[index].instance.clone(),
            (None, None) => default,
        };
        if let Some(other) = self
            .backends
            .iter()
            .find(|b| b.instance == instance && b.address != address)
        {
            let text = format!(
                "instance {instance} of {} is already registered at {}",
                self.name, other.address
            );
            return Err(Refusal::new(RefusalKind::InstanceTaken, text)
                .field("instance")
                .fix(format!(
                    "harbor-ctl backends remove {} {instance} --now, or give another --instance",
                    self.name
                )));
        }
        let fresh = Backend {
            instance,
            address,
            weight: known.map_or(1, |index| self.backends[index].weight),
            state: BackendState::Active,
            registered_at: now,
            announced: known.and_then(|index| self.backends[index].announced.clone()),
            failing: None,
        };
        match known {
            Some(index) if self.backends[index].state == BackendState::Active => {
                let current = &self.backends[index];
                if current.instance == fresh.instance {
                    return Ok(current.clone());
                }
                let text = format!(
                    "{address} is already a backend of {} as instance {}",
                    self.name, current.instance
                );
                return Err(Refusal::new(RefusalKind::InstanceTaken, text).field("address"));
            }
            Some(index) => {
                self.backends.remove(index);
            }
            None if self.backends.len() >= BACKEND_LIMIT => {
                let text = format!(
                    "{} already has {BACKEND_LIMIT} backends, the most allowed",
                    self.name
                );
                return Err(Refusal::new(RefusalKind::TooManyBackends, text).field("address"));
            }
            None => {}
        }
        self.backends.push(fresh.clone());
        Ok(fresh)
    }

    /// Sets the share of new flows of the backend at this address.
    pub(crate) fn weigh_backend(
        &mut self,
        address: SocketAddr,
        weight: u8,
    ) -> Result<Backend, Refusal> {
        if !(1..=WEIGHT_LIMIT).contains(&weight) {
            let text = format!("weight = {weight}: 1 to {WEIGHT_LIMIT} is allowed");
            return Err(Refusal::invalid("weight", text));
        }
        let index = self.find_backend(&address.to_string())?;
        self.backends[index].weight = weight;
        Ok(self.backends[index].clone())
    }

    /// Takes an instance out; returns it as it was left.
    pub(crate) fn remove_backend(
        &mut self,
        named: &str,
        departure: Departure,
    ) -> Result<Backend, Refusal> {
        let index = self.find_backend(named)?;
        match departure {
            Departure::Now if self.backends[index].announced.is_some() => {
                self.backends[index].state = BackendState::Removed;
                Ok(self.backends[index].clone())
            }
            Departure::Now => Ok(self.backends.remove(index)),
            Departure::DrainUntil(until) => {
                let backend = &mut self.backends[index];
                // A second removal never lengthens the first one's drain.
                let is_sooner = match backend.state {
                    BackendState::Leaving { until: set } => set <= until,
                    BackendState::Removed => true,
                    BackendState::Active | BackendState::Draining => false,
                };
                if !is_sooner {
                    backend.state = BackendState::Leaving { until };
                }
                Ok(backend.clone())
            }
        }
    }

    /// Stops new flows to an instance until it is removed or added again.
    pub(crate) fn drain_backend(&mut self, named: &str) -> Result<Backend, Refusal> {
        let index = self.find_backend(named)?;
        let backend = &mut self.backends[index];
        if backend.state == BackendState::Active {
            backend.state = BackendState::Draining;
        }
        Ok(backend.clone())
    }

    /// Forgets backends whose drain time is over; returns those. What its app host still announces
    /// is not forgotten: it would come back with the next announcement.
    pub(crate) fn expire_backends(&mut self, now: u64) -> Vec<Backend> {
        let mut gone = Vec::new();
        self.backends.retain_mut(|backend| {
            if !backend.is_over(now) {
                return true;
            }
            gone.push(backend.clone());
            backend.state = BackendState::Removed;
            backend.announced.is_some()
        });
        gone
    }

    /// By instance or by `IP:PORT`.
    fn find_backend(&self, named: &str) -> Result<usize, Refusal> {
        let address = named.parse::<SocketAddr>().ok();
        self.backends
            .iter()
            .position(|b| b.instance == named || Some(b.address) == address)
            .ok_or_else(|| {
                let shown: String = named.chars().take(80).collect();
                let text = format!("{} has no backend {shown:?}", self.name);
                Refusal::new(RefusalKind::NotFound, text)
                    .field("backend")
                    .fix(format!("harbor-ctl backends list {}", self.name))
            })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::model::{Protocols, testing::service};

    fn address(last: u8) -> SocketAddr {
        SocketAddr::new([10, 0, 0, last].into(), 8080)
    }

    fn order(service: &Service) -> Vec<u8> {
        service
            .backends
            .iter()
            .map(|b| match b.address.ip() {
                IpAddr::V4(ip) => ip.octets()[3],
                IpAddr::V6(ip) => ip.octets()[15],
            })
            .collect()
    }

    #[test]
    fn adding_twice_changes_nothing() {
        let mut web = service("web", 35000, Protocols::Tcp);
        let first = web.add_backend(address(1), None, 5).unwrap();
        assert_eq!(first.instance, "10.0.0.1-8080");
        assert_eq!(web.add_backend(address(1), None, 9).unwrap(), first);
        assert_eq!(web.backends.len(), 1);
    }

    #[test]
    fn a_recovered_backend_goes_to_the_end() {
        let mut web = service("web", 35000, Protocols::Udp);
        for last in [1, 2] {
            web.add_backend(address(last), None, 1).unwrap();
        }
        web.drain_backend("10.0.0.1:8080").unwrap();
        assert_eq!(order(&web), [1, 2]);
        web.add_backend(address(1), None, 2).unwrap();
        assert_eq!(order(&web), [2, 1]);
    }

    #[test]
    fn a_backend_keeps_its_weight_until_it_is_given_another() {
        let mut web = service("web", 35000, Protocols::Tcp);
        web.add_backend(address(1), None, 1).unwrap();
        assert_eq!(web.weigh_backend(address(1), 7).unwrap().weight, 7);
        web.drain_backend("10.0.0.1:8080").unwrap();
        assert_eq!(web.add_backend(address(1), None, 2).unwrap().weight, 7);
        for weight in [0, 101] {
            let refusal = web.weigh_backend(address(1), weight).unwrap_err();
            assert_eq!(refusal.field.as_deref(), Some("weight"));
        }
    }

    #[test]
    fn one_instance_has_one_address_and_the_other_way_round() {
        let mut web = service("web", 35000, Protocols::Tcp);
        web.add_backend(address(1), Some("a"), 1).unwrap();
        let kinds = [
            web.add_backend(address(2), Some("a"), 1).unwrap_err().kind,
            web.add_backend(address(1), Some("b"), 1).unwrap_err().kind,
        ];
        assert_eq!(kinds, [RefusalKind::InstanceTaken; 2]);
    }

    #[test]
    fn a_removed_backend_leaves_and_then_is_gone() {
        let mut web = service("web", 35000, Protocols::Tcp);
        web.add_backend(address(1), Some("a"), 1).unwrap();
        web.remove_backend("a", Departure::DrainUntil(31)).unwrap();
        assert_eq!(web.backends[0].state, BackendState::Leaving { until: 31 });
        web.remove_backend("a", Departure::DrainUntil(60)).unwrap();
        assert_eq!(web.backends[0].state, BackendState::Leaving { until: 31 });
        assert!(web.expire_backends(30).is_empty());
        assert_eq!(web.expire_backends(31).len(), 1);
        assert!(web.backends.is_empty());
        assert_eq!(
            web.remove_backend("a", Departure::Now).unwrap_err().kind,
            RefusalKind::NotFound
        );
    }

    #[test]
    fn the_129th_backend_is_refused() {
        let mut web = service("web", 35000, Protocols::Tcp);
        for last in 0..128 {
            web.add_backend(address(last), None, 1).unwrap();
        }
        let kind = web.add_backend(address(200), None, 1).unwrap_err().kind;
        assert_eq!(kind, RefusalKind::TooManyBackends);
    }
}
