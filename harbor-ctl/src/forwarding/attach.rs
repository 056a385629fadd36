//! Puts the programs onto the interfaces while no agent runs: they go by what the last one told them, but
//! for the ways out of the node, which an interface that was made anew has changed.
//!
//! XDP is left to the next agent: whatever lacks it goes by TC.

use std::collections::{BTreeMap, BTreeSet};

use super::{kernel::Settings, settings};
use crate::{
    config::Config,
    datapath::{
        self, Attached, Datapath, DatapathError, Heart, Hook, Host, Pins, RouteTables, Snapshot,
    },
    model::{DatapathReport, Mode},
};

/// Attaches to every interface that the configuration chooses, as an agent's start does, and tells what is
/// attached then. Refused while an agent has the pins, and where nothing is pinned.
pub(crate) fn attach_without_agent(config: &Config) -> Result<DatapathReport, DatapathError> {
    if config.mode == Mode::Proxy {
        return Err(DatapathError::with_fix(
            "[datapath].mode is proxy: no programs are wanted",
            "harbor-ctl config set datapath.mode auto",
        ));
    }
    // What is there to attach is what an agent has left.
    datapath::status(&config.paths.bpf)?;
    let settings = settings::of(config);
    // `Host` waits in a runtime of its own, and whoever asks sits in another.
    let work = std::thread::spawn(move || attach(&settings));
    work.join()
        .unwrap_or_else(|_| Err(DatapathError::new("the thread that attaches has panicked")))
}

fn attach(settings: &Settings) -> Result<DatapathReport, DatapathError> {
    let (pins, options) = (Pins::new(&settings.bpf), settings.options());
    if Datapath::has_to_take_over(&pins, &options)? {
        return Err(DatapathError::with_fix(
            "the tables have another size or layout than is wanted",
            "start the agent: it takes the open flows over, and attaches",
        ));
    }
    let mut datapath = Datapath::load(pins, &options)?;
    let host = Host::connect()?;
    let snapshot = host.snapshot()?;
    remove_gone(&datapath.pins, &snapshot)?;
    let pinned = datapath.pins.attached()?;
    let at_tc: BTreeMap<u32, &Attached> = pinned
        .iter()
        .filter(|attached| attached.hook != Hook::Xdp)
        .map(|attached| (attached.ifindex, attached))
        .collect();
    let hooks = at_tc.iter().map(|(index, at)| (*index, at.hook)).collect();
    let towards: BTreeSet<u32> = at_tc.keys().copied().collect();
    let (mut problems, mut put_back) = (settings.missing(&snapshot), BTreeSet::new());
    for interface in settings.chosen(&snapshot, &hooks, &towards) {
        let found = at_tc.get(&interface.index);
        let has_program = found.is_some_and(|found| found.is_in_force(&interface, &host));
        match datapath.attach(&interface, settings.hook) {
            Ok(_) if has_program => {}
            Ok(_) => {
                put_back.insert(interface.index);
            }
            Err(error) => {
                problems.insert(error.message);
            }
        }
    }
    tell_ways(&datapath.pins, settings, (&host, &snapshot))?;
    let mut report = datapath::status(&settings.bpf)?;
    for link in &mut report.links {
        let is_new = put_back.contains(&link.ifindex) && link.kind != Hook::Xdp.name();
        link.put_back_s = is_new.then_some(0);
    }
    report.problems.extend(problems);
    if report.state == "ok" && !report.problems.is_empty() {
        report.state = "degraded".into();
    }
    Ok(report)
}

/// Writes the ways as they are now, which flows look up anew if that changed any.
fn tell_ways(
    pins: &Pins,
    settings: &Settings,
    (host, snapshot): (&Host, &Snapshot),
) -> Result<(), DatapathError> {
    let mut ways = RouteTables::open(pins)?;
    let mut heart = Heart::open(pins, &settings.terms)?;
    let is_changed = ways.update(&host.ways()?, snapshot)?;
    heart.tell_ways(!ways.views().is_empty(), ways.gap().is_some());
    if is_changed {
        heart.turn_generation();
    }
    heart.beat()
}

/// Removes the pins of interfaces that are gone.
fn remove_gone(pins: &Pins, snapshot: &Snapshot) -> Result<(), DatapathError> {
    let is_there = |index| snapshot.interfaces.iter().any(|found| found.index == index);
    let attached = pins.attached()?.into_iter();
    for gone in attached.filter(|attached| !is_there(attached.ifindex)) {
        gone.detach()?;
    }
    Ok(())
}
