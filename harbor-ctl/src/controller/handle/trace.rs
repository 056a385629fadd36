//! Packets that somebody follows through the programs.

use std::{
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use harbor_common::verdict::{DropReason, FIRST_DROP, PassReason};

use crate::{
    api::TracePackets,
    control::{Answer, PacketSource},
    forwarding::TraceReader,
    model::{
        ClientName, MissedPackets, PortRef, Refusal, Service, TraceFilter, TraceLine, TracedPacket,
        Tracing, nearest,
    },
};

/// How often the rings are looked at.
const PAUSE: Duration = Duration::from_millis(50);
/// The most packets that are read at once.
const MOST: usize = 512;
/// How often it is said how many are left out.
const SAID_EACH: Duration = Duration::from_secs(1);
/// Packets that a processor tells in a second, unless more are asked for.
const PER_SECOND: NonZeroU32 = NonZeroU32::new(10_000).expect("not zero");
/// What verdicts come to.
const ENDS: [&str; 3] = ["forward", "pass", "drop"];

/// What the programs are to tell, and what of that is meant.
pub(super) fn wish(
    request: &TracePackets,
    services: &[Arc<Service>],
) -> Answer<(Tracing, TraceFilter)> {
    let port = request.port.as_deref().map(|text| {
        let service = PortRef::parse(text)?.resolve(services)?;
        Ok::<_, Refusal>(service.port)
    });
    let client = request.client.as_deref().map(ClientName::parse);
    let (port, client) = (port.transpose()?, client.transpose()?);
    let tracing = Tracing {
        one_in: request.one_in.unwrap_or(NonZeroU32::MIN),
        per_second: request.per_second.unwrap_or(PER_SECOND),
        verdicts: match request.verdict.as_deref() {
            Some(verdict) => numbers(verdict).ok_or_else(|| unknown(verdict))?,
            None => [0, u32::MAX],
        },
        port,
        client,
    };
    let filter = TraceFilter {
        port,
        client,
        verdict: request.verdict.clone(),
    };
    Ok((tracing, filter))
}

/// The least and the greatest number of a verdict, or of those that come to the same.
fn numbers(verdict: &str) -> Option<[u32; 2]> {
    match verdict {
        "forward" => return Some([0, 0]),
        "pass" => return Some([1, FIRST_DROP - 1]),
        "drop" => return Some([FIRST_DROP, u32::MAX]),
        _ => {}
    }
    let passes = PassReason::ALL.iter();
    let passes = passes.map(|reason| (reason.name(), *reason as u32));
    let drops = DropReason::ALL.iter();
    let drops = drops.map(|reason| (reason.name(), *reason as u32));
    let mut reasons = passes.chain(drops);
    let (_, number) = reasons.find(|(name, _)| *name == verdict)?;
    Some([number, number])
}

fn unknown(verdict: &str) -> Refusal {
    let shown: String = verdict.chars().take(64).collect();
    let names = || {
        let passes = PassReason::ALL.iter().map(|reason| reason.name());
        let drops = DropReason::ALL.iter().map(|reason| reason.name());
        ENDS.into_iter().chain(passes).chain(drops)
    };
    let fix = match nearest(&shown, names().map(str::to_owned)) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("one of {}", names().collect::<Vec<_>>().join(", ")),
    };
    Refusal::invalid("verdict", format!("there is no verdict {shown:?}")).fix(fix)
}

/// A trace, without what nobody asked for.
#[derive(Debug)]
pub(crate) struct PacketList {
    trace: TraceReader,
    filter: TraceFilter,
    /// How many it was said to have left out, and when.
    missed: u64,
    said: Instant,
}

impl PacketList {
    pub(super) fn new(trace: TraceReader, filter: TraceFilter) -> Self {
        Self {
            trace,
            filter,
            missed: 0,
            said: Instant::now(),
        }
    }

    /// What was left out since it was last said, if it is time to say so.
    fn missed(&mut self, is_over: bool) -> Option<TraceLine> {
        if !is_over && self.said.elapsed() < SAID_EACH {
            return None;
        }
        let before = std::mem::replace(&mut self.missed, self.trace.missed());
        self.said = Instant::now();
        let missed = self.missed.saturating_sub(before);
        (missed > 0).then_some(TraceLine::Missed(MissedPackets { missed }))
    }
}

impl PacketSource for PacketList {
    async fn next(&mut self) -> Option<Vec<TraceLine>> {
        loop {
            let goes_on = self.trace.goes_on();
            let told: Vec<_> = std::iter::from_fn(|| self.trace.next())
                .take(MOST)
                .collect();
            let is_behind = told.len() == MOST;
            let is_meant = |packet: &TracedPacket| self.filter.is_meant(packet);
            let meant = told.into_iter().filter(is_meant);
            let mut lines: Vec<_> = meant.map(|p| TraceLine::Packet(Box::new(p))).collect();
            lines.extend(self.missed(!goes_on && !is_behind));
            match (lines.is_empty(), is_behind) {
                (false, _) => return Some(lines),
                // Others have their turn, however many come that nobody asked for.
                (true, true) => tokio::task::yield_now().await,
                (true, false) if goes_on => tokio::time::sleep(PAUSE).await,
                (true, false) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_that_may_be_asked_for_has_its_numbers() {
        for reason in DropReason::ALL {
            let number = *reason as u32;
            assert_eq!(numbers(reason.name()), Some([number, number]));
        }
        for reason in PassReason::ALL {
            let number = *reason as u32;
            assert_eq!(numbers(reason.name()), Some([number, number]));
        }
        let all = ENDS.map(|end| numbers(end).unwrap()).concat();
        assert_eq!(all, [0, 0, 1, FIRST_DROP - 1, FIRST_DROP, u32::MAX]);
        assert_eq!(numbers("dropp"), None);
    }
}
