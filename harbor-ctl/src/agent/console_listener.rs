//! Serves the console; a listener that cannot be opened is reported and retried.

use std::{io, time::Duration};

use crate::{
    config::ConsoleConfig,
    console::{self, Accounts},
    controller::Handle,
    http::{Certificates, TcpSide, Tls},
    model::HttpLimits,
    registry::Registry,
};

/// How long to wait before listening is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// People are few; each has a stream and what a page fetches.
const LIMITS: HttpLimits = HttpLimits {
    header_timeout: Duration::from_secs(10),
    idle_timeout: Duration::from_secs(120),
    connections: 256,
    connections_per_peer: 64,
};

/// Serves until the runtime ends.
pub(super) async fn run<R: Registry>(handle: Handle<R>) {
    let (config, sessions, problem) = handle.console_listener().await;
    loop {
        match open(&config).await {
            Ok(None) => return,
            Ok(Some((listener, accounts))) => {
                problem.clear();
                tracing::info!("console: {}", listener.address());
                let names = handle.names(&config.hosts).await;
                let known = (accounts, sessions.clone(), names);
                console::serve(listener, known, (handle.clone(), LIMITS)).await;
            }
            Err(error) => {
                let text = format!("the console does not run: {error}");
                if problem.show(&text) {
                    tracing::error!("{text}");
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn open(config: &ConsoleConfig) -> io::Result<Option<(TcpSide, Accounts)>> {
    let Some(address) = config.listen else {
        return Ok(None);
    };
    let accounts = Accounts::read(
        config.token_file.as_deref(),
        config.password_file.as_deref(),
    )?;
    let tls = config.tls.as_ref().map(|(certificate, key)| Tls {
        certificate,
        key,
        client_ca: config.client_ca.as_deref(),
        certificates: Certificates::Required,
    });
    let bound = TcpSide::bind(address, tls).await;
    let named = |e: io::Error| io::Error::new(e.kind(), format!("{address}: {e}"));
    Ok(Some((bound.map_err(named)?, accounts)))
}
