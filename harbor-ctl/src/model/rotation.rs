//! Who of a service's backends takes new flows.

use super::{
    health::AllDown,
    service::{Backend, BackendState},
};

/// The backends that take new flows, of those that could: `reachable` are of one family, because
/// no backend of the other can take a client of it.
///
/// Failing ones are left out while another is well. When all are failing, no choice is better than
/// any other, and `all_down` says whether clients try at all.
pub(crate) fn takers<'a>(reachable: &[&'a Backend], all_down: AllDown) -> Vec<&'a Backend> {
    let is_active = |backend: &&&Backend| backend.state == BackendState::Active;
    let active = || reachable.iter().filter(is_active).copied();
    let well: Vec<&Backend> = active().filter(|b| b.failing.is_none()).collect();
    match all_down {
        AllDown::UseLast if well.is_empty() => active().collect(),
        AllDown::UseLast | AllDown::Refuse => well,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Failing, Protocols, Service, testing::service};

    fn names(service: &Service, all_down: AllDown) -> Vec<u16> {
        let all: Vec<&Backend> = service.backends.iter().collect();
        let takers = takers(&all, all_down);
        takers
            .iter()
            .map(|backend| backend.address.port())
            .collect()
    }

    #[test]
    fn failing_ones_are_left_out_unless_all_are() {
        let mut web = service("web", 35000, Protocols::Tcp);
        for port in [1, 2, 3] {
            let address = ([10, 0, 0, 1], port).into();
            web.add_backend(address, None, 1).unwrap();
        }
        web.drain_backend("10.0.0.1:3").unwrap();
        let failing = |service: &mut Service, index: usize| {
            let reason = "connection refused".into();
            service.backends[index].failing = Some(Box::new(Failing { since: 1, reason }));
        };
        for all_down in [AllDown::UseLast, AllDown::Refuse] {
            assert_eq!(names(&web, all_down), [1, 2]);
        }
        failing(&mut web, 0);
        for all_down in [AllDown::UseLast, AllDown::Refuse] {
            assert_eq!(names(&web, all_down), [2]);
        }
        failing(&mut web, 1);
        assert_eq!(names(&web, AllDown::UseLast), [1, 2]);
        assert_eq!(names(&web, AllDown::Refuse), [0; 0]);
    }
}
