//! Serves metrics; a listener that cannot be opened is reported and retried.

use std::{io, net::SocketAddr, time::Duration};

use crate::{
    config::MetricsConfig,
    controller::Handle,
    http::{TcpProblem, TcpSide},
    metrics,
    model::HttpLimits,
    registry::Registry,
};

/// How long to wait before listening is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// Those who scrape are few.
const LIMITS: HttpLimits = HttpLimits {
    header_timeout: Duration::from_secs(10),
    idle_timeout: Duration::from_secs(120),
    connections: 64,
    connections_per_peer: 16,
};

/// Serves until the runtime ends.
pub(super) async fn run<R: Registry>(handle: Handle<R>) {
    let (config, problem): (MetricsConfig, TcpProblem) = handle.metrics_listener().await;
    let Some(address) = config.listen else {
        return;
    };
    loop {
        match open(address).await {
            Ok(listener) => {
                problem.clear();
                tracing::info!("metrics: http://{}/metrics", listener.address());
                let names = handle.names(&config.hosts).await;
                metrics::serve(listener, names, (handle.clone(), LIMITS)).await;
            }
            Err(error) => {
                let text = format!("metrics are not served by TCP: {error}");
                if problem.show(&text) {
                    tracing::error!("{text}");
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn open(address: SocketAddr) -> io::Result<TcpSide> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("{address}: {e}"));
    TcpSide::bind(address, None).await.map_err(named)
}
