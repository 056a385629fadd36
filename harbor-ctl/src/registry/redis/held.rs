//! What a node's kernel serves and a shared registry does not hold.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    super::{Emptied, InKernel},
    state::State,
};

/// What the kernel serves, and how the registry stands to it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) found: InKernel,
    pub(super) emptied: Arc<Emptied>,
}

/// What the kernel serves and no service of this node's in the registry has, if there is any; another
/// node's may have drawn the number since.
pub(super) fn weigh(state: &State, node: &str, found: InKernel) -> Option<Held> {
    let own = state.own(node);
    let halves = own.iter().flat_map(|service| {
        let each = service.protocols.each().iter();
        each.map(|&protocol| (protocol, service.port))
    });
    let own: BTreeSet<_> = halves.collect();
    let unnamed: BTreeSet<_> = found.served.difference(&own).copied().collect();
    let numbers: BTreeSet<u16> = unnamed.iter().map(|(_, port)| *port).collect();
    let backends = |half: &_| found.backends.get(half).cloned().unwrap_or_default();
    let emptied = Emptied {
        ports: numbers.len(),
        known_to: found.who_knows(&unnamed),
        proxied: found.proxied.clone(),
        holds: state.known.len(),
        is_new: false,
        is_shared: true,
        lacking: unnamed.iter().map(|half| (*half, backends(half))).collect(),
        moved: Default::default(),
        unnamed,
        backup: None,
    };
    (emptied.ports > 0).then(|| Held {
        found,
        emptied: Arc::new(emptied),
    })
}
