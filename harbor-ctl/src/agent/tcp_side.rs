//! Keeps the TCP side of the control API open: what stands in the way is shown and tried again.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::desk::Desk;
use crate::{
    config::ControlConfig,
    control::{self, Subjects, Tokens},
    http::{Certificates, TcpSide, Tls},
    model::Secret,
    registry::Registry,
};

/// How long to wait before listening is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Why nobody listens by TCP, while nobody does although somebody should.
#[derive(Clone, Debug, Default)]
pub(super) struct TcpProblem(Arc<Mutex<Option<String>>>);

impl TcpProblem {
    pub(super) fn text(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Shows what stands in the way; whether that is new.
    pub(super) fn show(&self, text: &str) -> bool {
        let is_new = self.text().as_deref() != Some(text);
        self.set(Some(text.to_owned()));
        is_new
    }

    /// Somebody listens.
    pub(super) fn clear(&self) {
        self.set(None);
    }

    fn set(&self, problem: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}

/// Serves until the runtime ends.
pub(super) async fn run<R: Registry>(config: ControlConfig, desk: Desk<R>, problem: TcpProblem) {
    loop {
        match open(&config, &desk).await {
            Ok(None) => return,
            Ok(Some((listener, tokens))) => {
                problem.clear();
                let way = if config.tls.is_some() {
                    "TLS"
                } else {
                    "no TLS"
                };
                tracing::info!("control API by TCP: {}, {way}", listener.address());
                let names = desk.names(&config.hosts).await;
                let limits = config.limits;
                control::serve_tcp(listener, (tokens, names), (desk.clone(), limits)).await;
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
    desk: &Desk<R>,
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
        hosts: desk.lock().await.app_hosts_known.clone(),
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
