//! Serves the platform API; a listener that cannot be opened is reported and retried.

use std::{io, time::Duration};

use crate::{
    config::GatewayConfig,
    controller::Handle,
    gateway::{self, BasicAuth},
    http::{Certificates, TcpProblem, TcpSide, Tls},
    model::Secret,
    registry::Registry,
    telemetry::TARGET_GATEWAY,
};

/// How long to wait before listening is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Serves until the runtime ends.
pub(super) async fn run<R: Registry>(
    config: Option<GatewayConfig>,
    handle: Handle<R>,
    problem: TcpProblem,
) {
    let Some(config) = config else {
        tracing::info!(target: TARGET_GATEWAY, "no gateway: gateway.password_file is not given");
        return;
    };
    loop {
        match open(&config).await {
            Ok((listener, keeper)) => {
                problem.clear();
                let way = if config.tls.is_some() {
                    "TLS"
                } else {
                    "no TLS"
                };
                tracing::info!(target: TARGET_GATEWAY, "platform API: {}, {way}", listener.address());
                let names = handle.names(&config.hosts).await;
                gateway::serve(listener, (keeper, names), (handle.clone(), config.limits)).await;
            }
            Err(error) => {
                let text = format!("the platform API does not run: {error}");
                if problem.show(&text) {
                    tracing::error!(target: TARGET_GATEWAY, "{text}");
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn open(config: &GatewayConfig) -> io::Result<(TcpSide, BasicAuth)> {
    let file = &config.password_file;
    let wrong = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", file.display()));
    let password = Secret::read(file).map_err(wrong)?;
    let tls = config.tls.as_ref().map(|(certificate, key)| Tls {
        certificate,
        key,
        client_ca: None,
        certificates: Certificates::Required,
    });
    let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", config.listen));
    let listener = TcpSide::bind(config.listen, tls).await.map_err(named)?;
    let user = config.user.clone();
    Ok((listener, BasicAuth { user, password }))
}
