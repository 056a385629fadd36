//! Where the packet program is attached.

use super::Forwarder;
use crate::datapath::{DatapathError, Interface};

impl Forwarder {
    /// Attaches to every chosen interface that is not attached yet, was made anew or lost its pin.
    pub(super) fn attach(&mut self) {
        let chosen = self.settings.chosen(&self.snapshot);
        self.problems = self.settings.missing(&self.snapshot);
        let pinned = self.datapath.pins.attached().unwrap_or_default();
        self.attached.retain(|name, (index, _)| {
            let exists =
                |interface: &Interface| interface.name == *name && interface.index == *index;
            chosen.iter().any(exists) && pinned.iter().any(|attached| attached.interface == *name)
        });
        for interface in chosen {
            if self.attached.contains_key(&interface.name) {
                continue;
            }
            match self.datapath.attach(&interface, self.settings.hook) {
                Ok(hook) => {
                    tracing::info!("attached to {} by {}", interface.name, hook.name());
                    self.attached
                        .insert(interface.name, (interface.index, hook));
                }
                Err(error) => {
                    tracing::error!("{error}");
                    self.problems.insert(error.message);
                }
            }
        }
        if let Err(error) = self.prune() {
            tracing::warn!("{error}");
        }
        if self.attached.is_empty() {
            self.problems.insert("attached to no interface".into());
        }
    }

    /// Takes the program off interfaces that are no longer configured, and removes the pins of
    /// those that no longer exist. One that is merely down keeps its program.
    fn prune(&self) -> Result<(), DatapathError> {
        for attached in self.datapath.pins.attached()? {
            let name = &attached.interface;
            let exists = self
                .snapshot
                .interfaces
                .iter()
                .any(|found| found.name == *name);
            let is_wanted =
                self.settings.interfaces.is_empty() || self.settings.interfaces.contains(name);
            if !exists || !is_wanted {
                attached.detach()?;
                tracing::info!("detached from {name}");
            }
        }
        Ok(())
    }
}
