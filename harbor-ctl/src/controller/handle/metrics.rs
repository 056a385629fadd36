//! Gathers the metrics when somebody scrapes them.

use std::sync::Arc;

use super::{Handle, reading::readings};
use crate::{
    forwarding::{WhichBackends, heap},
    metrics::{OneAtATime, Source},
    reconcile::Scope,
    registry::Registry,
    views::{
        metrics::{Own, collect},
        source_ports::SourcePorts,
    },
};

/// An answer larger than this is worth giving its memory back.
const LARGE: usize = 1 << 20;

impl<R: Registry> Source for Handle<R> {
    async fn metrics(&self) -> Arc<str> {
        let scrapes: OneAtATime = self.scrapes().clone();
        scrapes.share(self.scrape()).await
    }
}

impl<R: Registry> Handle<R> {
    /// The controller is only asked for a copy of what it knows: no change waits for a scrape.
    async fn scrape(&self) -> String {
        let (snapshot, own) = {
            let controller = self.lock().await;
            let config = &controller.running.config;
            let own = Own {
                config: config.metrics.clone(),
                meters: controller.meters.clone(),
                source_ports: SourcePorts::of(config),
                bpf: config.paths.bpf.clone(),
            };
            (controller.snapshot(), own)
        };
        let found = readings(&snapshot.engines, (Scope::Whole, WhichBackends::Every)).await;
        let report = snapshot.engines.report().await;
        let report = report.map_err(|error| error.to_string());
        let write = move || {
            let text = collect(&snapshot, &found, report, &own).written(&own.meters);
            if text.len() > LARGE {
                heap::give_back();
            }
            text
        };
        // A panic there ends the agent, so there is always an answer.
        tokio::task::spawn_blocking(write).await.unwrap_or_default()
    }
}
