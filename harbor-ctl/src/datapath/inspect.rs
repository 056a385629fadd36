//! State and removal of what is pinned, without an agent.

use std::{fs, path::Path};

use aya::{
    maps::MapInfo,
    programs::ProgramInfo,
    programs::links::{FdLink, PinnedLink},
};
use harbor_common::maps::{self as names, LAYOUT};

use super::{
    error::{DatapathError, DatapathErrorKind, Tried as _},
    features,
    program::{
        ENTRIES_PER_FLOW,
        attach::{Attached, Hook},
        pins::{self, Pins},
    },
    tables::counters,
};
use crate::model::{DatapathReport, DetachReport, LinkReport, MapReport};

/// The state of what is pinned, without an agent.
pub(crate) fn status(bpf: &Path) -> Result<DatapathReport, DatapathError> {
    let pins = existing(bpf)?;
    let links: Vec<_> = pins.attached()?.iter().map(link_report).collect();
    let mut problems: Vec<_> = links
        .iter()
        .filter(|link| link.is_gone)
        .map(|link| format!("{} is gone", link.interface))
        .collect();
    let is_nowhere = links.iter().all(|link| link.kind == Hook::Xdp.name());
    if is_nowhere {
        problems.push("attached to no interface".into());
    }
    let state = if is_nowhere {
        "down"
    } else if problems.is_empty() {
        "ok"
    } else {
        "degraded"
    };
    Ok(DatapathReport {
        state: state.into(),
        problems,
        layout: LAYOUT,
        pins: pins.version(),
        links,
        verdicts: counters::verdicts(&pins)?,
        carried: None,
        kernel: features::kernel(),
        xdp: Vec::new(),
        traced: false,
        filled: Vec::new(),
        flow_capacity: MapInfo::from_pin(pins.map(names::FLOWS))
            .tried(|| format!("cannot open map {}", names::FLOWS))?
            .max_entries()
            / ENTRIES_PER_FLOW,
    })
}

pub(super) fn existing(bpf: &Path) -> Result<Pins, DatapathError> {
    let pins = Pins::new(bpf);
    match pins.map(names::META).try_exists() {
        Ok(true) => return Ok(pins),
        Ok(false) => {}
        Err(error) => {
            let place = pins.version();
            return Err(DatapathError {
                kind: DatapathErrorKind::Denied,
                ..DatapathError::with_fix(
                    format!("{} cannot be looked into: {error}", place.display()),
                    "run it as root",
                )
            });
        }
    }
    Err(DatapathError::with_fix(
        format!("no datapath is pinned under {}", pins.version().display()),
        "start the agent, or name its configuration with --config",
    ))
}

fn link_report(attached: &Attached) -> LinkReport {
    let (link_id, program_id) = match attached.hook {
        Hook::Tcx | Hook::Xdp => {
            let info = PinnedLink::from_pin(&attached.pin)
                .and_then(|link| FdLink::from(link).info())
                .ok();
            (
                info.as_ref().map(|info| info.id()),
                info.map_or(0, |info| info.program_id()),
            )
        }
        Hook::Clsact => (
            None,
            ProgramInfo::from_pin(&attached.pin).map_or(0, |program| program.id()),
        ),
    };
    let name = attached.interface();
    LinkReport {
        is_gone: name.is_none(),
        interface: name.unwrap_or_else(|| attached.words()),
        ifindex: attached.ifindex,
        kind: attached.hook.name().into(),
        link_id,
        program_id,
        put_back_s: None,
    }
}

/// Interfaces on which programs of any agent are pinned, of this layout and of older ones.
pub(crate) fn attached(bpf: &Path) -> Result<Vec<String>, DatapathError> {
    let mut names = Vec::new();
    for ((layout, _), pins) in Pins::every_layout(bpf)? {
        if layout <= LAYOUT {
            let attached = pins.attached()?;
            let of = attached
                .iter()
                .map(|at| at.interface().unwrap_or_else(|| at.words()));
            names.extend(of);
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// The pinned maps, without an agent.
pub(crate) fn maps(bpf: &Path) -> Result<Vec<MapReport>, DatapathError> {
    let pins = existing(bpf)?;
    let report = |name: &&str| {
        let pin = pins.map(name);
        let info = MapInfo::from_pin(&pin).tried(|| format!("cannot open map {name}"))?;
        Ok(MapReport {
            name: (*name).into(),
            kind: info
                .map_type()
                .map_or_else(|_| "unknown".into(), |kind| format!("{kind:?}")),
            key_bytes: info.key_size(),
            value_bytes: info.value_size(),
            max_entries: info.max_entries(),
            pin,
        })
    };
    names::ALL.iter().map(report).collect()
}

/// Removes programs, links, maps and directories of this layout and of older ones; refuses while an
/// agent holds them.
pub(crate) fn detach(bpf: &Path) -> Result<DetachReport, DatapathError> {
    let mut report = DetachReport::default();
    for ((layout, _), pins) in Pins::every_layout(bpf)? {
        if layout <= LAYOUT {
            detach_layout(&pins, &mut report)?;
        }
    }
    Ok(report)
}

fn detach_layout(pins: &Pins, report: &mut DetachReport) -> Result<(), DatapathError> {
    let lock = pins.lock()?;
    pins.adopt_named_links()?;
    for attached in pins.attached()? {
        let name = attached.interface().unwrap_or_else(|| attached.words());
        attached.detach()?;
        report.links.push(name);
    }
    if let Ok(entries) = fs::read_dir(pins.maps()) {
        for entry in entries.flatten() {
            pins::remove(&entry.path()).tried(|| format!("{}", entry.path().display()))?;
            report
                .maps
                .push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    report.maps.sort();
    drop(lock);
    for directory in pins.directories().iter().rev() {
        // The outermost one may hold another version's pins: then it stays.
        if pins::remove(directory).unwrap_or(false) {
            report.directories.push(directory.clone());
        }
    }
    Ok(())
}
