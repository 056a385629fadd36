//! Packets that somebody follows through the programs.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use harbor_common::verdict::{DropReason, PassReason};

use crate::{
    api::TracePackets,
    control::{Answer, PacketSource},
    forwarding::TraceReader,
    model::{ClientName, PortRef, Refusal, Service, TraceFilter, TracedPacket, Tracing, nearest},
};

/// How often the rings are looked at.
const PAUSE: Duration = Duration::from_millis(50);
/// The most packets that are read at once.
const MOST: usize = 512;
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
    let is_drop = |name: &str| DropReason::ALL.iter().any(|reason| reason.name() == name);
    let is_pass = |name: &str| PassReason::ALL.iter().any(|reason| reason.name() == name);
    if let Some(verdict) = &request.verdict
        && !ENDS.contains(&verdict.as_str())
        && !is_drop(verdict)
        && !is_pass(verdict)
    {
        return Err(unknown(verdict));
    }
    let verdict = request.verdict.as_deref();
    let tracing = Tracing {
        one_in: request.one_in.unwrap_or(NonZeroU32::MIN),
        drops_alone: verdict.is_some_and(|name| name == "drop" || is_drop(name)),
    };
    let filter = TraceFilter {
        port: port.transpose()?,
        client: client.transpose()?,
        verdict: request.verdict.clone(),
    };
    Ok((tracing, filter))
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
    pub(super) trace: TraceReader,
    pub(super) filter: TraceFilter,
}

impl PacketSource for PacketList {
    async fn next(&mut self) -> Option<Vec<TracedPacket>> {
        loop {
            let goes_on = self.trace.goes_on();
            let told: Vec<_> = std::iter::from_fn(|| self.trace.next())
                .take(MOST)
                .collect();
            let is_behind = told.len() == MOST;
            let is_meant = |packet: &TracedPacket| self.filter.is_meant(packet);
            let meant: Vec<_> = told.into_iter().filter(is_meant).collect();
            match (meant.is_empty(), is_behind) {
                (false, _) => return Some(meant),
                // Others have their turn, however many come that nobody asked for.
                (true, true) => tokio::task::yield_now().await,
                (true, false) if goes_on => tokio::time::sleep(PAUSE).await,
                (true, false) => return None,
            }
        }
    }
}
