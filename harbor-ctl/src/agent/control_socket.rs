//! Keeps the control socket where it is looked for: one that was taken away is made again, with its folder and
//! the agent's lock there, and whoever is connected to the one before stays so.

use std::{
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{net::UnixListener, sync::watch, task::JoinSet};

use super::directories;
use crate::{
    control::{self, AgentLock, Groups},
    controller::{AgentError, Handle, Tried as _},
    model::HttpLimits,
    registry::Registry,
};

/// How often it is looked for.
const LOOK: Duration = Duration::from_secs(1);

/// Where the socket is, and who may come in.
#[derive(Debug)]
pub(super) struct SocketSide {
    path: PathBuf,
    groups: Groups,
    limits: HttpLimits,
    listener: UnixListener,
    /// The socket's file, by device and number.
    bound: Option<(u64, u64)>,
}

impl SocketSide {
    /// Opens the socket; that somebody cannot get to it is told in `status`.
    pub(super) async fn bind<R: Registry>(
        path: PathBuf,
        (groups, limits): (Groups, HttpLimits),
        handle: &Handle<R>,
    ) -> io::Result<Self> {
        let listener = open(&path, groups, handle).await?;
        let bound = identity(&path);
        Ok(Self {
            path,
            groups,
            limits,
            listener,
            bound,
        })
    }

    /// Serves until it is told to stop and open requests are answered.
    pub(super) async fn run<R: Registry>(self, handle: Handle<R>, mut stop: watch::Receiver<bool>) {
        let Self {
            path,
            groups,
            limits,
            listener,
            mut bound,
        } = self;
        let ends = stop.clone();
        let serve = |listener| {
            let mut stop = ends.clone();
            let stopped = async move {
                let _ = stop.wait_for(|stops| *stops).await;
            };
            control::serve((listener, groups), (handle.clone(), limits), stopped)
        };
        let mut servers = JoinSet::new();
        servers.spawn(serve(listener));
        let (mut told, mut lock) = (None, None);
        loop {
            tokio::select! {
                _ = stop.wait_for(|stops| *stops) => break,
                () = tokio::time::sleep(LOOK) => {}
            }
            if identity(&path) == bound && bound.is_some() {
                continue;
            }
            match open_again(&path, (groups, &mut lock), &handle).await {
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

/// The folder may be gone too, and with it what keeps a second agent from starting.
async fn open_again<R: Registry>(
    path: &Path,
    (groups, lock): (Groups, &mut Option<AgentLock>),
    handle: &Handle<R>,
) -> Result<UnixListener, AgentError> {
    let run = path.parent().unwrap_or(Path::new("/"));
    directories::make_run(run)?;
    if !control::is_locked(run) {
        *lock = Some(control::take_lock(run)?);
    }
    let opened = open(path, groups, handle).await;
    opened.tried(|| format!("cannot listen at {}", path.display()))
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let data = std::fs::symlink_metadata(path).ok()?;
    Some((data.dev(), data.ino()))
}

async fn open<R: Registry>(
    path: &Path,
    groups: Groups,
    handle: &Handle<R>,
) -> io::Result<UnixListener> {
    let bound = control::bind(path, groups)?;
    if let Some(problem) = &bound.problem {
        tracing::error!("{problem}");
    }
    handle.show_socket_problem(bound.problem).await;
    Ok(bound.listener)
}
