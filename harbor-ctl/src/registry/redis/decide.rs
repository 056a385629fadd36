//! A node that has no journal, whose kernel serves ports that the registry does not hold: nobody here can
//! tell whether they were deleted or lost, so they stay until somebody decides.

use std::sync::Arc;

use super::{
    super::{InKernel, RegistryError},
    Engine,
    held::weigh,
};

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
    pub(super) async fn hold(&self, found: InKernel) {
        let emptied = {
            let mut memory = self.memory();
            memory.held = weigh(&memory.state, &self.node, found);
            memory.held.as_ref().map(|held| Arc::clone(&held.emptied))
        };
        match emptied {
            Some(emptied) => tracing::error!(
                "{emptied}: they stay until it is decided what is to become of them"
            ),
            None => self.decide().await,
        }
    }

    /// The registry may hold since then what it lacked.
    pub(super) async fn weigh_again(&self) {
        let is_right = {
            let mut memory = self.memory();
            let Some(held) = memory.held.take() else {
                return;
            };
            memory.held = weigh(&memory.state, &self.node, held.found);
            memory.held.is_none()
        };
        if is_right {
            self.decide().await;
        }
    }

    /// What the registry holds is all there is to be; how many ports it does not hold.
    pub(super) async fn let_go(&self) -> usize {
        let held = self.memory().held.take();
        self.decide().await;
        held.map_or(0, |held| held.emptied.ports)
    }

    /// What is not written down is looked at once more at the next start.
    async fn decide(&self) {
        if !std::mem::take(&mut self.memory().is_undecided) {
            return;
        }
        let journal = self.journal.clone();
        let written = tokio::task::spawn_blocking(move || journal.set_undecided(false)).await;
        let written = written.unwrap_or_else(|error| Err(RegistryError::Engine(error.into())));
        if let Err(error) = written {
            tracing::warn!("the journal does not say what was decided: {error}");
        }
    }
}
