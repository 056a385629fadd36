//! Operations on the kernel's tables as a whole.

use super::{
    Handle,
    trace::{PacketList, wish},
};
use crate::{
    api::TracePackets,
    control::{Answer, DatapathOperations},
    forwarding::not_ready,
    model::{Refusal, RefusalKind, Verification},
    registry::Registry,
};

fn no_programs() -> Refusal {
    let text = "the agent has no programs in the kernel: the proxy forwards alone";
    Refusal::new(RefusalKind::NotReady, text).fix("harbor-ctl status")
}

impl<R: Registry> DatapathOperations for Handle<R> {
    type Packets = PacketList;

    async fn verify(&self, repair: bool) -> Answer<Verification> {
        let engines = self.snapshot().await.engines.clone();
        match engines.verify(repair).await {
            Some(verified) => verified.map_err(not_ready),
            None => Err(no_programs()),
        }
    }

    async fn trace(&self, request: TracePackets) -> Answer<PacketList> {
        let snapshot = self.snapshot().await;
        let (tracing, filter) = wish(&request, &snapshot.services)?;
        let begun = snapshot.engines.trace(tracing).await;
        let trace = begun.ok_or_else(no_programs)?.map_err(not_ready)?;
        Ok(PacketList::new(trace, filter))
    }
}
