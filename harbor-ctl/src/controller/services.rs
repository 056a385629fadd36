//! Every service that is known, and where to find those with some mark: a change of one must not
//! cost a look at all of them and all of their backends.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use indexmap::IndexMap;

use crate::model::{BackendState, PortRange, PortRef, Refusal, Service};

/// Something that a service has and by which it is looked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mark {
    Name(String),
    Number(u16),
    /// Instances that this app host has announced.
    AppHost(String),
    /// An instance that was announced there.
    Announced(SocketAddr),
    /// Backends that have left, and are to be forgotten.
    Leaving,
    /// An end of its own.
    Expires,
    EndsTls,
}

/// In the order in which they became known.
#[derive(Debug, Default)]
pub(crate) struct Services {
    all: IndexMap<Arc<str>, Arc<Service>>,
    marks: BTreeSet<(Mark, Arc<str>)>,
    version: u64,
}

/// The last version that any of them has had: who reads them anew has another one too.
static VERSIONS: AtomicU64 = AtomicU64::new(0);

impl Services {
    /// Is another one after every change.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    fn turn_version(&mut self) {
        self.version = VERSIONS.fetch_add(1, Ordering::Relaxed) + 1;
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.all.values()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn get(&self, id: &str) -> Option<&Arc<Service>> {
        self.all.get(id)
    }

    /// Changes a service in a way that leaves its marks as they are.
    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Service> {
        self.turn_version();
        self.all.get_mut(id).map(Arc::make_mut)
    }

    /// Adds a service, or replaces what is known of it.
    pub(super) fn put(&mut self, mut service: Service) {
        // A record that was just read has room for backends to come.
        service.backends.shrink_to_fit();
        self.turn_version();
        let known = self.all.get_key_value(service.id.as_str());
        let (id, old) = match known {
            Some((id, known)) => (Arc::clone(id), marks(known)),
            None => (service.id.as_str().into(), BTreeSet::new()),
        };
        let new = marks(&service);
        for mark in old.difference(&new) {
            self.marks.remove(&(mark.clone(), Arc::clone(&id)));
        }
        let added = new.difference(&old);
        let added = added.map(|mark| (mark.clone(), Arc::clone(&id)));
        self.marks.extend(added);
        self.all.insert(id, Arc::new(service));
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.turn_version();
        if let Some((id, old)) = self.all.shift_remove_entry(id) {
            for mark in marks(&old) {
                self.marks.remove(&(mark, Arc::clone(&id)));
            }
        }
    }

    /// Services with this mark.
    pub(super) fn with(&self, mark: Mark) -> impl Iterator<Item = &Arc<Service>> {
        let from = self.marks.range((mark.clone(), "".into())..);
        let those = from.take_while(move |(found, _)| *found == mark);
        those.filter_map(|(_, id)| self.all.get(id))
    }

    /// The one service that is meant.
    pub(super) fn find(&self, port: &PortRef) -> Result<&Arc<Service>, Refusal> {
        self.find_among(port, |_| true)
    }

    /// The one that is meant by somebody who sees no others than these.
    pub(super) fn find_among(
        &self,
        port: &PortRef,
        is_seen: impl Fn(&Service) -> bool,
    ) -> Result<&Arc<Service>, Refusal> {
        let named = self.with(Mark::Name(port.text().into()));
        let numbered = port.number().into_iter();
        let numbered = numbered.flat_map(|number| self.with(Mark::Number(number)));
        let all = named.chain(numbered).chain(self.get(port.text()));
        let places: BTreeSet<usize> = all.filter_map(|s| self.all.get_index_of(&*s.id)).collect();
        let found = places.into_iter().map(|place| &*self.all[place]);
        let found: Vec<&Service> = found.filter(|service| is_seen(service)).collect();
        let found = port.resolve(&found)?;
        Ok(&self.all[found.id.as_str()])
    }

    /// App hosts that have announced an instance.
    pub(super) fn app_hosts(&self) -> BTreeSet<&str> {
        let from = self
            .marks
            .range((Mark::AppHost(String::new()), "".into())..);
        let names = from.map_while(|(mark, _)| match mark {
            Mark::AppHost(dea) => Some(dea.as_str()),
            _ => None,
        });
        names.collect()
    }

    /// Services whose number is not in the range.
    pub(super) fn outside(&self, range: PortRange) -> impl Iterator<Item = &Arc<Service>> {
        let numbers = self.marks.range((Mark::Number(0), "".into())..);
        let numbers = numbers.take_while(|(mark, _)| matches!(mark, Mark::Number(_)));
        let outside = numbers.filter(
            move |(mark, _)| matches!(mark, Mark::Number(number) if !range.contains(*number)),
        );
        outside.filter_map(|(_, id)| self.all.get(id))
    }
}

impl FromIterator<Service> for Services {
    fn from_iter<I: IntoIterator<Item = Service>>(services: I) -> Self {
        let mut all = Self::default();
        services.into_iter().for_each(|service| all.put(service));
        all
    }
}

fn marks(service: &Service) -> BTreeSet<Mark> {
    let mut marks = BTreeSet::from([Mark::Name(service.name.clone()), Mark::Number(service.port)]);
    for backend in &service.backends {
        if let Some(said) = &backend.announced {
            marks.insert(Mark::AppHost(said.dea.clone()));
            marks.insert(Mark::Announced(backend.address));
        }
        if matches!(backend.state, BackendState::Leaving { .. }) {
            marks.insert(Mark::Leaving);
        }
    }
    marks.extend(service.expires_at.map(|_| Mark::Expires));
    marks.extend(service.ends_tls().then_some(Mark::EndsTls));
    marks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Announced, Protocols, Readiness, testing::service};

    fn announced(name: &str, port: u16, dea: &str, last: u8) -> Service {
        let mut service = service(name, port, Protocols::Tcp);
        let address = ([10, 0, 0, last], 80).into();
        service.add_backend(address, None, 1).unwrap();
        service.backends[0].announced = Some(Box::new(Announced {
            dea: dea.into(),
            service: name.into(),
            said: Readiness::Up,
            app: None,
            index: None,
        }));
        service
    }

    fn names<'a>(services: impl Iterator<Item = &'a Arc<Service>>) -> Vec<&'a str> {
        services.map(|service| service.name.as_str()).collect()
    }

    #[test]
    fn a_service_is_found_by_what_it_has_now_and_not_by_what_it_had() {
        let mut services = Services::from_iter([
            announced("a", 35_000, "dea1", 1),
            announced("b", 35_001, "dea1", 2),
        ]);
        let host = || Mark::AppHost("dea1".into());
        assert_eq!(names(services.with(host())), ["a", "b"]);
        assert_eq!(services.app_hosts(), BTreeSet::from(["dea1"]));
        let there = |last: u8| Mark::Announced(([10, 0, 0, last], 80).into());
        assert_eq!(names(services.with(there(2))), ["b"]);

        services.put(announced("b", 35_002, "dea2", 3));
        assert_eq!(names(services.iter()), ["a", "b"]);
        assert_eq!(names(services.with(host())), ["a"]);
        assert_eq!(names(services.with(there(2))), [""; 0]);
        assert_eq!(names(services.with(there(3))), ["b"]);
        assert_eq!(
            names(services.outside(PortRange::new(35_000, 35_001).unwrap())),
            ["b"]
        );

        services.remove("id-a");
        assert_eq!(services.app_hosts(), BTreeSet::from(["dea2"]));
        services.remove("id-b");
        assert!(services.is_empty() && services.marks.is_empty());
    }

    #[test]
    fn a_port_is_found_as_among_all() {
        let all = [
            service("web", 35_217, Protocols::Tcp),
            service("35217", 35_218, Protocols::Udp),
            service("udp-dns", 35_217, Protocols::Udp),
        ];
        let services = Services::from_iter(all.clone());
        for text in [
            "web",
            "35217",
            "35217/udp",
            "35218",
            "id-web",
            "nobody",
            "35218/tcp",
        ] {
            let port = PortRef::parse(text).unwrap();
            let found = services.find(&port).map(|service| Service::clone(service));
            assert_eq!(found, port.resolve(&all).cloned(), "{text}");
        }
    }
}
