//! Which of the kernel's programs are Harbor's, and what the kernel says of them: those that use a map
//! that is pinned here. Works without an agent, because the kernel knows them by itself.

use std::{collections::BTreeSet, path::Path};

use aya::{
    maps::MapInfo,
    programs::{ProgramInfo, loaded_programs},
};
use harbor_common::maps::{self as names};

use crate::{
    datapath::{
        error::{DatapathError, Tried as _},
        inspect::existing,
    },
    model::ProgramReport,
};

/// Every program over the pinned maps, by name and number.
pub(crate) fn programs(bpf: &Path) -> Result<Vec<ProgramReport>, DatapathError> {
    let pins = existing(bpf)?;
    let mut own = BTreeSet::new();
    for name in names::ALL {
        let info = MapInfo::from_pin(pins.map(name)).tried(|| format!("cannot open map {name}"))?;
        own.insert(info.id());
    }
    let mut found = Vec::new();
    for program in loaded_programs() {
        // One that ends while it is looked at is no longer anybody's.
        let Ok(program) = program else { continue };
        let maps = program.map_ids().ok().flatten().unwrap_or_default();
        if maps.iter().any(|id| own.contains(id)) {
            found.push(report(&program));
        }
    }
    found.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
    Ok(found)
}

fn report(program: &ProgramInfo) -> ProgramReport {
    let age = program.loaded_at().and_then(|at| at.elapsed().ok());
    ProgramReport {
        name: program.name_as_str().unwrap_or_default().into(),
        id: program.id(),
        kind: format!("{:?}", program.program_type())
            .trim_start_matches("BPF_PROG_TYPE_")
            .to_lowercase(),
        verified_instructions: program.verified_instruction_count(),
        translated_bytes: program.size_translated(),
        jit_bytes: program.size_jitted(),
        age_s: age.map(|age| age.as_secs()),
        runs: program.run_count(),
        run_time_ns: u64::try_from(program.run_time().as_nanos()).unwrap_or(u64::MAX),
    }
}
