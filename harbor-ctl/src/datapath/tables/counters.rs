//! Reads the counters that the datapath keeps per CPU.

use std::{collections::BTreeSet, os::fd::AsFd as _};

use aya::maps::{Array, MapData, PerCpuArray};
use harbor_common::{
    backend::BackendState,
    frontend::FrontendState,
    maps::{BACKEND_STATE, COUNTERS, FRONTEND_STATE, VERDICTS},
    stats::FrontendCounters,
    verdict::{FIRST_DROP, VERDICT_NUMBERS, Verdict},
};

use super::{batch, data, open};
use crate::{
    datapath::{
        clock::is_ahead,
        error::{DatapathError, Tried as _},
        program::pins::Pins,
    },
    model::VerdictCount,
};

/// Counters of the frontend slots, and what is known of the backend slots.
pub(crate) struct Counters {
    map: PerCpuArray<MapData, FrontendCounters>,
    frontends: Array<MapData, FrontendState>,
    backends: Array<MapData, BackendState>,
    /// All three again, to be read as a whole.
    whole: [MapData; 3],
}

/// What a frontend slot has counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SlotCounts {
    /// By all CPUs.
    pub(crate) carried: FrontendCounters,
    /// Flows that a limit, a list or a full table refused.
    pub(crate) refused: u64,
}

impl Counters {
    pub(crate) fn open(pins: &Pins) -> Result<Self, DatapathError> {
        Ok(Self {
            map: open(pins, COUNTERS)?,
            frontends: open(pins, FRONTEND_STATE)?,
            backends: open(pins, BACKEND_STATE)?,
            whole: [
                data(pins, COUNTERS)?,
                data(pins, FRONTEND_STATE)?,
                data(pins, BACKEND_STATE)?,
            ],
        })
    }

    /// What is known of the first frontend slots.
    pub(crate) fn of_first_slots(&self, most: usize) -> Result<Vec<SlotCounts>, DatapathError> {
        let mut all = vec![SlotCounts::default(); most];
        if most == 0 {
            return Ok(all);
        }
        let shares = aya::util::nr_cpus().map_err(|(what, error)| {
            DatapathError::new(format!("the processors cannot be counted: {what}: {error}"))
        })?;
        let map = self.whole[0].fd().as_fd();
        let read = batch::for_each_of(
            map,
            (shares, most),
            |slot: &u32, values: &[FrontendCounters]| {
                if let Some(counts) = all.get_mut(*slot as usize) {
                    values.iter().for_each(|share| counts.carried.add(share));
                }
            },
        );
        read.tried(|| format!("cannot read {COUNTERS}"))?;
        let map = self.whole[1].fd().as_fd();
        let read = batch::for_each_of(map, (1, most), |slot: &u32, state: &[FrontendState]| {
            if let Some(counts) = all.get_mut(*slot as usize) {
                counts.refused = state[0].refused;
            }
        });
        read.tried(|| format!("cannot read {FRONTEND_STATE}"))?;
        Ok(all)
    }

    /// Those of the first backend slots that the datapath avoids for what a tenant has done, who may
    /// be gone. They are few, so looking at all slots takes no memory.
    pub(crate) fn avoided(&self, most: usize) -> Result<BTreeSet<u32>, DatapathError> {
        let mut avoided = BTreeSet::new();
        let map = self.whole[2].fd().as_fd();
        let read = batch::for_each_of(map, (1, most), |slot: &u32, state: &[BackendState]| {
            if is_ahead(state[0].suspect_until_ns) {
                avoided.insert(*slot);
            }
        });
        read.tried(|| format!("cannot read {BACKEND_STATE}"))?;
        Ok(avoided)
    }

    /// What the datapath has learnt of the tenant of a backend slot.
    pub(crate) fn of_backend(&self, slot: u32) -> Result<BackendState, DatapathError> {
        self.backends
            .get(&slot, 0)
            .tried(|| format!("cannot read {BACKEND_STATE}"))
    }

    /// What is known of one frontend slot.
    pub(crate) fn of_slot(&self, slot: u32) -> Result<SlotCounts, DatapathError> {
        let values = self
            .map
            .get(&slot, 0)
            .tried(|| format!("cannot read {COUNTERS}"))?;
        let mut carried = FrontendCounters::default();
        values.iter().for_each(|share| carried.add(share));
        let state = self.frontends.get(&slot, 0);
        let state = state.tried(|| format!("cannot read {FRONTEND_STATE}"))?;
        Ok(SlotCounts {
            carried,
            refused: state.refused,
        })
    }
}

/// How often each verdict was reached, those of no use in this version left out.
pub(crate) fn verdicts(pins: &Pins) -> Result<Vec<VerdictCount>, DatapathError> {
    let map: PerCpuArray<_, u64> = open(pins, VERDICTS)?;
    let mut counts = Vec::new();
    for number in 0..VERDICT_NUMBERS as u32 {
        let Some((name, meaning)) = Verdict::describe(number) else {
            continue;
        };
        let values = map
            .get(&number, 0)
            .tried(|| format!("cannot read {VERDICTS}"))?;
        counts.push(VerdictCount {
            verdict: verdict_side(number).into(),
            name: name.into(),
            meaning: meaning.into(),
            packets: values.iter().sum(),
        });
    }
    Ok(counts)
}

/// What an index of the `verdicts` map means for the packet.
pub(crate) fn verdict_side(number: u32) -> &'static str {
    match number {
        0 => "forward",
        number if number < FIRST_DROP => "pass",
        _ => "drop",
    }
}
