//! Reads the counters that the datapath keeps per CPU.

use aya::maps::{Array, MapData, PerCpuArray};
use harbor_common::{
    backend::BackendState,
    frontend::FrontendState,
    maps::{BACKEND_STATE, COUNTERS, FRONTEND_STATE, VERDICTS},
    stats::FrontendCounters,
    verdict::{FIRST_DROP, VERDICT_NUMBERS, Verdict},
};

use super::{DatapathError, Pins, Tried as _, tables::open};
use crate::model::VerdictCount;

/// Counters of the frontend slots, and what is known of the backend slots.
pub(crate) struct Counters {
    map: PerCpuArray<MapData, FrontendCounters>,
    frontends: Array<MapData, FrontendState>,
    backends: Array<MapData, BackendState>,
}

impl Counters {
    pub(crate) fn open(pins: &Pins) -> Result<Self, DatapathError> {
        Ok(Self {
            map: open(pins, COUNTERS)?,
            frontends: open(pins, FRONTEND_STATE)?,
            backends: open(pins, BACKEND_STATE)?,
        })
    }

    /// Flows that a limit, a list or a full table refused.
    pub(crate) fn refused(&self, slot: u32) -> Result<u64, DatapathError> {
        let state = self.frontends.get(&slot, 0);
        Ok(state
            .tried(|| format!("cannot read {FRONTEND_STATE}"))?
            .refused)
    }

    /// What the datapath has learnt of the tenant of a backend slot.
    pub(crate) fn of_backend(&self, slot: u32) -> Result<BackendState, DatapathError> {
        self.backends
            .get(&slot, 0)
            .tried(|| format!("cannot read {BACKEND_STATE}"))
    }

    /// All CPUs' counts of one slot.
    pub(crate) fn of_slot(&self, slot: u32) -> Result<FrontendCounters, DatapathError> {
        let values = self
            .map
            .get(&slot, 0)
            .tried(|| format!("cannot read {COUNTERS}"))?;
        let mut sum = FrontendCounters::default();
        values.iter().for_each(|share| sum.add(share));
        Ok(sum)
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
