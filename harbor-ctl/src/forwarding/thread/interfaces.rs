//! Attaches the TC program to interfaces.

use std::time::Instant;

use super::Forwarder;
use crate::datapath::{DatapathError, Hook, Interface};

impl Forwarder {
    /// Attaches to every chosen interface that has the program no longer, or not yet.
    pub(super) fn attach(&mut self) {
        let before: Vec<u32> = self.attached.keys().copied().collect();
        let chosen = self.chosen();
        self.problems = self.settings.missing(&self.snapshot);
        let pinned = self.datapath.pins.attached().unwrap_or_default();
        let is_ours = |index: u32| {
            let mut pins = pinned.iter().filter(|attached| attached.hook != Hook::Xdp);
            pins.any(|attached| attached.ifindex == index)
        };
        self.attached.retain(|index, _| is_ours(*index));
        for interface in &chosen {
            if self.attach_to(interface) && before.contains(&interface.index) {
                self.put_back.insert(interface.index, Instant::now());
            }
            if !self.settings.is_named(interface) {
                self.problems.insert(format!(
                    "{} keeps the program, as it may be a missing interface under a new name: name \
                     it in [node].interfaces",
                    interface.name
                ));
            }
        }
        if let Err(error) = self.prune() {
            tracing::warn!("{error}");
        }
        self.keep_xdp(&chosen);
        self.inputs.is_unjudged |= !self.attached.keys().eq(&before);
        if self.attached.is_empty() {
            self.problems.insert("attached to no interface".into());
        }
    }

    /// Whether the interface did not have the program, and has it now.
    fn attach_to(&mut self, interface: &Interface) -> bool {
        let Interface { index, name, .. } = interface;
        if let Some(hook) = self.kept_for_former(interface) {
            self.attached.insert(*index, hook);
            return false;
        }
        if let Some(hook) = self.attached.get(index) {
            if self.datapath.is_attached(interface, *hook, &self.host) {
                return false;
            }
            tracing::warn!("{name} has lost the program");
            self.attached.remove(index);
        }
        match self.datapath.attach(interface, self.settings.hook) {
            Ok(hook) => {
                tracing::info!("attached to {name} by {}", hook.name());
                self.attached.insert(*index, hook);
                true
            }
            Err(error) => {
                tracing::error!("{error}");
                self.problems.insert(error.message);
                false
            }
        }
    }

    /// Takes the program off interfaces that are no longer configured, and removes the pins of
    /// those that no longer exist. One that is merely down keeps its program, and so does one that
    /// may be a configured interface under a new name.
    fn prune(&mut self) -> Result<(), DatapathError> {
        for attached in self.datapath.pins.attached()? {
            if attached.hook == Hook::Xdp {
                continue;
            }
            let mut interfaces = self.snapshot.interfaces.iter();
            let found = interfaces.find(|found| found.index == attached.ifindex);
            if found.is_some_and(|found| self.settings.may_keep(found, &self.snapshot)) {
                continue;
            }
            attached.detach()?;
            self.attached.remove(&attached.ifindex);
            let name = attached.interface().unwrap_or_else(|| attached.words());
            tracing::info!("detached from {name}");
        }
        Ok(())
    }
}
