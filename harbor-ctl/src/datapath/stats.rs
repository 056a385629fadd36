//! Reads the counters that the datapath keeps per CPU.

use aya::maps::{MapData, PerCpuArray};
use harbor_common::{
    maps::{COUNTERS, VERDICTS},
    stats::FrontendCounters,
    verdict::{FIRST_DROP, VERDICT_NUMBERS, Verdict},
};

use super::{DatapathError, Pins, Tried as _, tables::open};
use crate::model::VerdictCount;

/// Counters of the frontend slots.
pub(crate) struct Counters {
    map: PerCpuArray<MapData, FrontendCounters>,
}

impl Counters {
    pub(crate) fn open(pins: &Pins) -> Result<Self, DatapathError> {
        let map = open(pins, COUNTERS)?;
        Ok(Self {
            map: map
                .try_into()
                .tried(|| format!("cannot open map {COUNTERS}"))?,
        })
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
    let map: PerCpuArray<_, u64> = open(pins, VERDICTS)?
        .try_into()
        .tried(|| format!("cannot open map {VERDICTS}"))?;
    let mut counts = Vec::new();
    for number in 0..VERDICT_NUMBERS as u32 {
        let Some((name, meaning)) = Verdict::describe(number) else {
            continue;
        };
        let values = map
            .get(&number, 0)
            .tried(|| format!("cannot read {VERDICTS}"))?;
        let verdict = match number {
            0 => "forward",
            number if number < FIRST_DROP => "pass",
            _ => "drop",
        };
        counts.push(VerdictCount {
            verdict: verdict.into(),
            name: name.into(),
            meaning: meaning.into(),
            packets: values.iter().sum(),
        });
    }
    Ok(counts)
}
