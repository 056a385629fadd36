//! The digest by which an app host and Harbor find out whether they agree.

use std::net::SocketAddr;

use sha2::{Digest as _, Sha256};

use crate::model::{Readiness, Service};

/// One instance as both sides know it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    /// In the words of the app host.
    pub(crate) service: String,
    pub(crate) instance: String,
    pub(crate) address: SocketAddr,
    /// `up` or `draining`; what is down is not registered.
    pub(crate) state: Readiness,
}

/// What is registered of an app host.
pub(crate) fn registered<'a>(services: impl Iterator<Item = &'a Service>, dea: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    for backend in services.flat_map(|service| &service.backends) {
        let own = backend.announced.as_ref().filter(|said| said.dea == dea);
        entries.extend(own.map(|said| Entry {
            service: said.service.clone(),
            instance: backend.instance.clone(),
            address: backend.address,
            state: said.said,
        }));
    }
    entries
}

/// SHA-256, in hexadecimal digits, over one line an entry, in the order of their octets:
/// `SERVICE INSTANCE IP:PORT STATE` and a line feed.
pub(crate) fn digest(entries: impl IntoIterator<Item = Entry>) -> String {
    let line = |entry: Entry| {
        let Entry {
            service,
            instance,
            address,
            state,
        } = entry;
        format!("{service} {instance} {address} {}\n", state.name())
    };
    let mut lines: Vec<String> = entries.into_iter().map(line).collect();
    lines.sort();
    let mut hash = Sha256::new();
    lines.iter().for_each(|line| hash.update(line));
    let octets = hash.finalize();
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(service: &str, last: u8, state: Readiness) -> Entry {
        Entry {
            service: service.into(),
            instance: format!("i-{last}"),
            address: SocketAddr::new([10, 0, 0, last].into(), 80),
            state,
        }
    }

    #[test]
    fn the_digest_is_that_of_the_sorted_lines() {
        // printf 'b i-1 10.0.0.1:80 draining\nweb i-2 10.0.0.2:80 up\n' | sha256sum
        let known = "13ed6c98";
        let entries = [
            entry("web", 2, Readiness::Up),
            entry("b", 1, Readiness::Draining),
        ];
        let forward = digest(entries.clone());
        let backward = digest(entries.into_iter().rev());
        assert_eq!(forward, backward);
        assert_eq!(&forward[..8], known);
        assert_eq!(&digest([])[..8], "e3b0c442");
    }
}
