//! Operations on the kernel's tables as a whole.

use super::Handle;
use crate::{
    control::{Answer, DatapathOperations},
    forwarding::not_ready,
    model::{Refusal, RefusalKind, Verification},
    registry::Registry,
};

impl<R: Registry> DatapathOperations for Handle<R> {
    async fn verify(&self, repair: bool) -> Answer<Verification> {
        let engines = self.snapshot().await.engines.clone();
        match engines.verify(repair).await {
            Some(verified) => verified.map_err(not_ready),
            None => Err(Refusal::new(
                RefusalKind::NotReady,
                "the agent has no programs in the kernel: the proxy forwards alone",
            )
            .fix("harbor-ctl status")),
        }
    }
}
