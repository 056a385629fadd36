//! Binds the socket of a port as soon as the process that held its number is gone.

use std::time::Duration;

use super::{handle::Handle, tick::look_around};
use crate::{registry::Registry, telemetry::TARGET_PROXY};

/// Clients wait no longer than this for a port that has become free.
const PERIOD: Duration = Duration::from_millis(200);

/// Tries for ever; looks at the host again when something was taken back.
pub(crate) async fn run<R: Registry>(handle: Handle<R>) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let healed = handle.lock().await.engines.proxy.retry_unheld();
        if healed.is_empty() {
            continue;
        }
        for (protocol, port) in healed {
            tracing::info!(target: TARGET_PROXY, "port {port}/{protocol} is Harbor's again");
        }
        look_around(&handle).await;
    }
}
