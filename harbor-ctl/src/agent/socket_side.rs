//! Keeps the control socket where it is looked for: one that was taken away is made again, and whoever is
//! connected to the one before stays so.

use std::{io, os::unix::fs::MetadataExt as _, path::PathBuf, time::Duration};

use tokio::{net::UnixListener, sync::watch, task::JoinSet};

use super::desk::Desk;
use crate::{
    control::{self, Groups},
    registry::Registry,
};

/// How often it is looked for.
const LOOK: Duration = Duration::from_secs(1);

/// Where the socket is, and who may come in.
#[derive(Debug)]
pub(super) struct SocketSide {
    path: PathBuf,
    groups: Groups,
    listener: UnixListener,
    /// The socket's file, by device and number.
    bound: Option<(u64, u64)>,
}

impl SocketSide {
    pub(super) fn bind(path: PathBuf, groups: Groups) -> io::Result<Self> {
        let listener = control::bind(&path, groups)?;
        let bound = identity(&path);
        Ok(Self {
            path,
            groups,
            listener,
            bound,
        })
    }

    /// Serves until it is told to stop and open requests are answered.
    pub(super) async fn run<R: Registry>(self, desk: Desk<R>, mut stop: watch::Receiver<bool>) {
        let Self {
            path,
            groups,
            listener,
            mut bound,
        } = self;
        let ends = stop.clone();
        let serve = |listener| {
            let mut stop = ends.clone();
            let stopped = async move {
                let _ = stop.wait_for(|stops| *stops).await;
            };
            control::serve((listener, groups), desk.clone(), stopped)
        };
        let mut servers = JoinSet::new();
        servers.spawn(serve(listener));
        let mut told = None;
        loop {
            tokio::select! {
                _ = stop.wait_for(|stops| *stops) => break,
                () = tokio::time::sleep(LOOK) => {}
            }
            if identity(&path) == bound && bound.is_some() {
                continue;
            }
            match control::bind(&path, groups) {
                Ok(listener) => {
                    bound = identity(&path);
                    told = None;
                    tracing::warn!(
                        "the control socket was gone, and is made again: {}",
                        path.display()
                    );
                    servers.spawn(serve(listener));
                }
                Err(error) => {
                    let text = error.to_string();
                    if told.as_ref() != Some(&text) {
                        tracing::error!("no control socket at {}: {text}", path.display());
                    }
                    told = Some(text);
                }
            }
        }
        while servers.join_next().await.is_some() {}
    }
}

fn identity(path: &std::path::Path) -> Option<(u64, u64)> {
    let data = std::fs::symlink_metadata(path).ok()?;
    Some((data.dev(), data.ino()))
}
