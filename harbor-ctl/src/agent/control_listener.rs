//! Serves the control API over TCP; a listener that cannot be opened is reported and retried.

use std::{io, path::PathBuf, time::Duration};

use crate::{
    config::ControlConfig,
    control::{self, Subjects, Tokens},
    controller::Handle,
    http::{Certificates, TcpProblem, TcpSide, Tls},
    model::Secret,
    registry::Registry,
};

/// How long to wait before listening is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Serves until the runtime ends.
pub(super) async fn run<R: Registry>(
    config: ControlConfig,
    handle: Handle<R>,
    problem: TcpProblem,
) {
    loop {
        match open(&config, &handle).await {
            Ok(None) => return,
            Ok(Some((listener, tokens))) => {
                problem.clear();
                let way = if config.tls.is_some() {
                    "TLS"
                } else {
                    "no TLS"
                };
                tracing::info!("control API by TCP: {}, {way}", listener.address());
                let names = handle.names(&config.hosts).await;
                let limits = config.limits;
                control::serve_tcp(listener, (tokens, names), (handle.clone(), limits)).await;
            }
            Err(error) => {
                let text = format!("the control API by TCP does not run: {error}");
                if problem.show(&text) {
                    tracing::error!("{text}");
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn open<R: Registry>(
    config: &ControlConfig,
    handle: &Handle<R>,
) -> io::Result<Option<(TcpSide, Tokens)>> {
    let Some(address) = config.listen else {
        return Ok(None);
    };
    let read = |path: &PathBuf| {
        let wrong = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        Secret::read(path).map_err(wrong)
    };
    let tokens = Tokens {
        all: config.token_file.as_ref().map(read).transpose()?,
        announce: config.announcer_token_file.as_ref().map(read).transpose()?,
        hosts: handle.known_app_hosts().await,
        subjects: Subjects {
            admin: config.subjects.admin.clone(),
            read: config.subjects.read.clone(),
            announce: config.subjects.announce.clone(),
        },
    };
    let tls = config.tls.as_ref().map(|(certificate, key)| Tls {
        certificate,
        key,
        client_ca: config.client_ca.as_deref(),
        certificates: match config.is_certificate_optional {
            true => Certificates::Optional,
            false => Certificates::Required,
        },
    });
    let bound = TcpSide::bind(address, tls).await;
    let named = |e: io::Error| io::Error::new(e.kind(), format!("{address}: {e}"));
    Ok(Some((bound.map_err(named)?, tokens)))
}
