//! Attaches the XDP program to interfaces that can have it.

use std::collections::{BTreeMap, BTreeSet};

use super::Forwarder;
use crate::{
    datapath::{Device, Framing, Hook, Interface, devices},
    model::{Mode, XdpReport},
};

/// What was found of interfaces at the last look.
#[derive(Default)]
pub(super) struct XdpState {
    /// By the interface's index.
    attached: BTreeSet<u32>,
    pub(super) reports: Vec<XdpReport>,
    /// The configuration allows it.
    is_wanted: bool,
}

impl XdpState {
    pub(super) fn is_on(&self) -> bool {
        !self.attached.is_empty()
    }

    /// The programs were loaded anew.
    pub(super) fn forget(&mut self) {
        self.attached.clear();
    }
}

impl Forwarder {
    /// Attaches the XDP program where that is right, and takes it off where it is no longer. TC forwards all
    /// the same, so whatever stands in the way is told and no more.
    pub(super) fn keep_xdp(&mut self, chosen: &[Interface]) {
        // The kernel is asked only where the answer can matter.
        let is_open = match self.settings.mode {
            Mode::Tc | Mode::Proxy => false,
            Mode::Auto => chosen.iter().any(|interface| interface.is_physical),
            Mode::Xdp => true,
        };
        let found = match is_open {
            true => devices(),
            false => Ok(BTreeMap::new()),
        };
        let lack = found
            .as_ref()
            .err()
            .map(|error| format!("the kernel does not say which devices can (Linux 6.3): {error}"));
        if let Some(lack) = lack.as_ref().filter(|_| self.xdp.is_on()) {
            // It did before: what is attached stays.
            tracing::warn!("{lack}");
            return;
        }
        let found = found.unwrap_or_default();
        if let Err(error) = self.interfaces.tell(&self.snapshot.interfaces, &found) {
            self.problems.insert(error.message);
            return;
        }
        let mut reports = Vec::new();
        for interface in chosen {
            let verdict = match (&lack, self.settings.mode) {
                (_, Mode::Tc | Mode::Proxy) => continue,
                (Some(lack), _) => Err(lack.clone()),
                (None, mode) => self.settle_xdp(interface, found.get(&interface.index), mode),
            };
            reports.push(XdpReport {
                interface: interface.name.clone(),
                attached: verdict.is_ok(),
                reason: verdict.unwrap_or_else(|reason| reason),
            });
        }
        self.xdp.is_wanted = matches!(self.settings.mode, Mode::Auto | Mode::Xdp);
        self.prune_xdp(&reports);
        for report in &reports {
            if !report.attached && self.settings.mode == Mode::Xdp {
                let XdpReport {
                    interface, reason, ..
                } = report;
                self.problems
                    .insert(format!("no XDP on {interface}: {reason}"));
            }
        }
        self.xdp.reports = reports;
    }

    /// Attaches to an interface, if it is one for it: why it is, or why not.
    fn settle_xdp(
        &mut self,
        interface: &Interface,
        device: Option<&Device>,
        mode: Mode,
    ) -> Result<String, String> {
        let Interface { index, name, .. } = interface;
        if interface.framing != Framing::Ethernet {
            return Err("its packets have no Ethernet header".into());
        }
        if mode == Mode::Auto && !interface.is_physical {
            return Err("it is no physical device, where TC serves better".into());
        }
        let device = device.ok_or("the kernel does not say what its driver can do")?;
        if let Some(obstacle) = device.obstacle(name) {
            return Err(obstacle);
        }
        let is_known = self.xdp.attached.contains(index);
        if is_known && self.datapath.is_attached(interface, Hook::Xdp, &self.host) {
            return Ok(attached_because(mode));
        }
        self.datapath.attach_xdp(interface)?;
        if self.xdp.attached.insert(*index) {
            tracing::info!("attached to {name} by xdp");
        }
        Ok(attached_because(mode))
    }

    /// Takes the program off interfaces that are no longer for it.
    fn prune_xdp(&mut self, reports: &[XdpReport]) {
        let pinned = self.datapath.pins.attached().unwrap_or_default();
        for attached in pinned.iter().filter(|attached| attached.hook == Hook::Xdp) {
            let name = attached.interface().unwrap_or_else(|| attached.words());
            let mut reports = reports.iter();
            let keeps = match reports.find(|report| report.interface == name) {
                Some(report) => report.attached,
                // Down, for example: it stays as long as the one at TC does.
                None => self.xdp.is_wanted && self.attached.contains_key(&attached.ifindex),
            };
            if keeps {
                continue;
            }
            match self.datapath.detach_xdp(attached.ifindex) {
                Ok(_) => tracing::info!("took xdp off {name}"),
                Err(error) => tracing::warn!("{error}"),
            }
            self.xdp.attached.remove(&attached.ifindex);
        }
    }
}

fn attached_because(mode: Mode) -> String {
    match mode {
        Mode::Xdp => "as configured".into(),
        _ => "a physical device whose driver can".into(),
    }
}
