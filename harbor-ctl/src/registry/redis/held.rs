//! A node that has no journal, whose kernel serves ports that the registry does not hold: nobody here can
//! tell whether they were deleted or lost, so they stay until somebody decides.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    super::{Emptied, InKernel, RegistryError},
    Engine, Memory,
};

/// What the kernel serves, and how the registry stands to it.
#[derive(Debug)]
pub(super) struct Held {
    found: InKernel,
    pub(super) emptied: Arc<Emptied>,
}

impl Engine {
    /// Whether changes can be made at all. While the registry is away nobody waits for it: the
    /// follower finds out when it is back, and brings this node into sync first.
    pub(super) fn reach(&self) -> Result<(), RegistryError> {
        let memory = self.memory();
        match &memory.away {
            _ if memory.has_left => {
                let text = "this node has left it: restart its agent";
                Err(RegistryError::Away(text.into()))
            }
            _ if memory.is_fenced => Err(RegistryError::Fenced(self.node.clone())),
            Some(away) => Err(RegistryError::Away(away.reason.clone())),
            None => Ok(()),
        }
    }

    /// Whether anything can be changed: not while it is open what is to become of what is served.
    pub(super) fn gate(&self) -> Result<(), RegistryError> {
        self.reach()?;
        match &self.memory().held {
            Some(held) => Err(RegistryError::Emptied(Arc::clone(&held.emptied))),
            None => Ok(()),
        }
    }

    /// Holds the registry against what the kernel serves.
    pub(super) async fn hold(&self, found: InKernel) -> Result<(), RegistryError> {
        let emptied = {
            let mut memory = self.memory();
            memory.held = weigh(&memory, found);
            memory.held.as_ref().map(|held| Arc::clone(&held.emptied))
        };
        match emptied {
            Some(emptied) => {
                tracing::error!(
                    "{emptied}: they stay until it is decided what is to become of them"
                );
                Ok(())
            }
            None => self.decide().await,
        }
    }

    /// The registry may hold since then what it lacked.
    pub(super) async fn weigh_again(&self) -> Result<(), RegistryError> {
        let is_right = {
            let mut memory = self.memory();
            let Some(held) = memory.held.take() else {
                return Ok(());
            };
            memory.held = weigh(&memory, held.found);
            memory.held.is_none()
        };
        match is_right {
            true => self.decide().await,
            false => Ok(()),
        }
    }

    /// What the registry holds is all there is to be; how many ports it does not hold.
    pub(super) async fn let_go(&self) -> Result<usize, RegistryError> {
        let held = self.memory().held.take();
        self.decide().await?;
        Ok(held.map_or(0, |held| held.emptied.ports))
    }

    async fn decide(&self) -> Result<(), RegistryError> {
        if !std::mem::take(&mut self.memory().is_undecided) {
            return Ok(());
        }
        let journal = self.journal.clone();
        let written = tokio::task::spawn_blocking(move || journal.set_undecided(false)).await;
        written.map_err(|error| RegistryError::Engine(error.into()))?
    }
}

/// What the kernel serves and no node's service in the registry has, if there is any.
fn weigh(memory: &Memory, found: InKernel) -> Option<Held> {
    let services = memory.state.known.values();
    let halves = services.flat_map(|service| {
        let each = service.protocols.each().iter();
        each.map(|&protocol| (protocol, service.port))
    });
    let known: BTreeSet<_> = halves.collect();
    let unnamed: BTreeSet<_> = found.served.difference(&known).copied().collect();
    let count = |halves: &BTreeSet<(_, u16)>| {
        let numbers: BTreeSet<u16> = halves.iter().map(|(_, port)| *port).collect();
        numbers.len()
    };
    let backends = |half: &_| found.backends.get(half).cloned().unwrap_or_default();
    let emptied = Emptied {
        ports: count(&unnamed),
        known_to: found.who_knows(&unnamed),
        proxied: found.proxied.clone(),
        holds: count(&known),
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
