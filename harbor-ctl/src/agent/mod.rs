//! The agent's composition root: what is started, in which order, and how it ends.
//!
//! Configuration, logs, lock, registry, forwarding, control socket, then a round every second.
//! Ending the agent never ends the datapath: programs, maps and links stay in the kernel.

mod addresses;
mod allocate;
mod backend_view;
mod certificates;
mod change;
mod clock;
mod conflicts;
mod console_side;
mod datapath_desk;
mod desk;
mod directories;
mod discovery;
mod emptied;
mod engines;
mod event_record;
mod events;
mod explain;
mod fd_store;
mod flow_filter;
mod flow_list;
mod flow_reader;
mod follow;
mod forwarder;
mod forwarding;
mod fullness;
mod gateway;
mod gateway_desk;
mod gateway_side;
mod given_certificates;
mod health;
mod health_part;
mod heap;
mod kept_counts;
mod metrics;
mod metrics_side;
mod nodes;
mod notify;
mod owner;
mod place;
mod process_metrics;
mod refusals;
mod registry_view;
mod relisten;
mod reload;
mod reserved;
mod round;
mod senders;
mod services;
mod settings;
mod shared;
mod shared_desk;
mod snapshot;
mod socket_side;
mod source_ports;
mod state;
mod status_parts;
mod status_view;
mod tcp_side;
mod unrecorded;
mod view;

use std::{io, os::fd::OwnedFd, path::PathBuf, time::Duration};

use nix::sys::signal::{SigHandler, Signal};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};

use crate::{
    config::{self, ConfigError, Loaded, Source},
    control::{self, Groups, LockError, Operations as _},
    datapath::DatapathError,
    model::{Refusal, RefusalKind, RegistryUrl},
    registry::{self, RedisRegistry, Registry, RegistryError},
    telemetry,
};
use desk::Desk;
use engines::Engines;
use fd_store::FdStore;
use owner::Owner;
use socket_side::SocketSide;

/// After SIGTERM the agent is gone within 5 s; this is what each of two steps may take.
const STOP_STEP: Duration = Duration::from_millis(1_500);

/// Why the agent did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// Another agent has the pins, or they are not this version's.
    #[error(transparent)]
    Pins(DatapathError),
    /// Another agent uses the lock or the registry.
    #[error("{text}")]
    SecondAgent { text: String },
    /// A file of `[discovery].hosts` is wrong.
    #[error("discovery.hosts: {text}")]
    AppHosts { text: String },
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("{0}")]
    Registry(RegistryError),
    /// What this node's own registry holds is not what was written.
    #[error("{text}")]
    Spoilt { text: String, fix: String },
    #[error("the agent cannot go on: {0}")]
    Fatal(String),
}

impl From<RegistryError> for AgentError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::InUse(_) => Self::SecondAgent {
                text: error.to_string(),
            },
            other => Self::Registry(other),
        }
    }
}

impl From<LockError> for AgentError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Held(_) => Self::SecondAgent {
                text: error.to_string(),
            },
            LockError::Io { path, source } => Self::Io {
                what: format!("cannot lock {}", path.display()),
                source,
            },
        }
    }
}

impl From<AgentError> for Refusal {
    fn from(error: AgentError) -> Self {
        let text = error.to_string();
        match error {
            AgentError::Config(error) => error.into(),
            AgentError::Pins(error) => {
                let refusal = Self::new(RefusalKind::Conflict, text);
                match error.fix {
                    Some(fix) => refusal.fix(fix),
                    None => refusal,
                }
            }
            AgentError::SecondAgent { .. } => Self::new(RefusalKind::Conflict, text)
                .fix("stop it first (systemctl stop harbor), or give this one other [paths]"),
            AgentError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Self::new(RefusalKind::Denied, text)
                    .fix("run the agent as root, or give it other [paths]")
            }
            AgentError::AppHosts { .. } => Self::invalid("discovery.hosts", text),
            AgentError::Spoilt { fix, .. } => Self::new(RefusalKind::Conflict, text).fix(fix),
            AgentError::Registry(RegistryError::Spoilt { .. }) => {
                Self::new(RefusalKind::Conflict, text)
                    .fix("move it away, or put a backup in its place; then start the agent")
            }
            AgentError::Registry(RegistryError::Schema { .. }) => {
                Self::new(RefusalKind::Conflict, text)
                    .fix("start the version of Harbor that wrote it, or go back to a backup")
            }
            AgentError::Registry(RegistryError::Unopened { .. }) => {
                Self::failed(text).fix("see to its rights, its folder and its disk")
            }
            AgentError::Registry(RegistryError::Away(_)) => Self::new(RefusalKind::NotReady, text)
                .fix("what the kernel forwards stays; start the registry, then this agent"),
            AgentError::Io { .. } | AgentError::Registry(_) | AgentError::Fatal(_) => {
                Self::failed(text)
            }
        }
    }
}

/// Gives an I/O error the words for what was tried.
trait Tried<T> {
    fn tried(self, what: impl FnOnce() -> String) -> Result<T, AgentError>;
}

impl<T> Tried<T> for io::Result<T> {
    fn tried(self, what: impl FnOnce() -> String) -> Result<T, AgentError> {
        self.map_err(|source| AgentError::Io {
            what: what(),
            source,
        })
    }
}

/// Runs the agent until it is told to stop.
pub(crate) fn run(path: Option<PathBuf>, flags: Vec<String>) -> Result<(), AgentError> {
    heap::limit_pools();
    ignore_signals_of_others()?;
    let inherited = fd_store::inherited();
    let loaded = config::load(&Source::new(path.as_deref(), flags))?;
    directories::prepare(&loaded.config.paths)?;
    let _lock = control::take_lock(&loaded.config.paths.run)?;
    telemetry::start(&loaded.config.paths.log, &loaded.config.log)
        .tried(|| "cannot start to log".into())?;
    end_on_panic();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .tried(|| "cannot start the runtime".into())?;
    let outcome = runtime.block_on(serve(loaded, inherited));
    runtime.shutdown_timeout(STOP_STEP);
    if let Err(error) = &outcome {
        tracing::error!("{error}");
    }
    outcome
}

/// Sockets that an earlier agent has left, with their names.
type Inherited = Vec<(String, OwnedFd)>;

async fn serve(loaded: Loaded, inherited: Inherited) -> Result<(), AgentError> {
    announce(&loaded);
    // Each boxed: the compiler computes the layout of a future with all that it awaits, to a limit.
    match &loaded.config.registry.url {
        RegistryUrl::Embedded => {
            let registry = emptied::open(&loaded.config.paths.state)?;
            Box::pin(serve_from(loaded, registry, inherited)).await
        }
        RegistryUrl::Redis(url) => {
            shared::bring_along(&loaded.config).await?;
            let settings = shared::settings(&loaded.config, url.clone())?;
            let registry = Box::pin(RedisRegistry::open(settings)).await?;
            Box::pin(serve_from(loaded, registry, inherited)).await
        }
    }
}

async fn serve_from<R: Registry>(
    loaded: Loaded,
    registry: R,
    inherited: Inherited,
) -> Result<(), AgentError> {
    let contents = registry.load().await?;
    tracing::info!(
        services = contents.services.len(),
        "services read from the registry"
    );
    let engines = Engines::start(&loaded.config).await?;
    let names = inherited.iter().map(|(name, _)| name.clone()).collect();
    let keeper = FdStore::start(names).tried(|| "cannot start the store of sockets".into())?;
    engines.proxy.inherit(keeper, inherited);
    let socket = loaded.config.paths.socket();
    let control = &loaded.config.control;
    let groups = Groups::find(&control.admin_group, &control.read_group);
    let limits = control.limits;
    let mut owner = Owner::new(loaded, registry, contents, engines);
    owner.begin_events();
    owner.read_app_hosts().map_err(app_hosts)?;
    owner.believe_or_hold().await;
    owner.right_deadlines().await;
    let applied = owner.apply().await;
    applied.map_err(|error| AgentError::Fatal(error.to_string()))?;
    owner.keep_certificates().await;
    owner.keep_reserved().await;
    let news = owner.registry.follow();
    let desk = Desk::new(owner);
    let following = tokio::spawn(follow::run(desk.clone(), news));

    let socket_side = SocketSide::bind(socket.clone(), (groups, limits), &desk)
        .await
        .tried(|| format!("cannot listen at {}", socket.display()))?;
    let (stop_server, stopped) = watch::channel(false);
    let server = tokio::spawn(socket_side.run(desk.clone(), stopped));
    let (report_fatal, fatal) = mpsc::channel(1);
    let (config, problem) = desk.tcp_side().await;
    let mut sides = vec![following];
    sides.push(tokio::spawn(tcp_side::run(config, desk.clone(), problem)));
    let (config, problem) = desk.gateway_side().await;
    sides.extend([
        tokio::spawn(gateway_side::run(config, desk.clone(), problem)),
        tokio::spawn(metrics_side::run(desk.clone())),
        tokio::spawn(console_side::run(desk.clone())),
        tokio::spawn(round::run(desk.clone(), report_fatal)),
        tokio::spawn(relisten::run(desk.clone())),
        tokio::spawn(health::run(desk.clone())),
    ]);
    notify::ready(&desk.headline().await);
    tracing::info!("control socket: {}", socket.display());

    let outcome = until_told(&desk, fatal).await;
    notify::stopping();
    tracing::info!("the agent stops; the datapath stays");
    desk.tell_end(&outcome);
    sides.iter().for_each(tokio::task::JoinHandle::abort);
    desk.events().close();
    let _ = stop_server.send(true);
    let _ = tokio::time::timeout(STOP_STEP, server).await;
    let _ = tokio::time::timeout(STOP_STEP, desk.stop_forwarding()).await;
    let _ = std::fs::remove_file(&socket);
    outcome.map(|_signal| ())
}

fn app_hosts(text: String) -> AgentError {
    AgentError::AppHosts { text }
}

/// Waits for a signal, and answers which; or for something that cannot be lived with.
async fn until_told<R: Registry>(
    desk: &Desk<R>,
    mut fatal: mpsc::Receiver<String>,
) -> Result<&'static str, AgentError> {
    let listen = |kind| signal(kind).tried(|| "cannot listen for signals".into());
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut hangup = listen(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok("SIGTERM"),
            _ = interrupt.recv() => return Ok("SIGINT"),
            _ = hangup.recv() => desk.reload_soon(),
            reason = fatal.recv() => {
                let reason = reason.unwrap_or_else(|| "the rounds have ended".into());
                return Err(AgentError::Fatal(reason));
            }
        }
    }
}

/// Other daemons look at something when they are sent these; nothing of Harbor's is meant, and ending is
/// not either.
fn ignore_signals_of_others() -> Result<(), AgentError> {
    for other in [Signal::SIGUSR1, Signal::SIGUSR2] {
        // SAFETY: to ignore a signal installs no handler.
        unsafe { nix::sys::signal::signal(other, SigHandler::SigIgn) }
            .map_err(io::Error::from)
            .tried(|| format!("cannot ignore {other}"))?;
    }
    Ok(())
}

fn announce(loaded: &Loaded) {
    let version = env!("CARGO_PKG_VERSION");
    let file = loaded.source.path.display();
    tracing::info!(
        version,
        pid = std::process::id(),
        "agent starts, configuration {file}"
    );
}

/// A panic in any task ends the process: a half-dead agent is worse than a restarted one, and the
/// datapath goes on meanwhile. A panic that somebody waits for is an answer.
fn end_on_panic() {
    std::panic::set_hook(Box::new(|info| {
        if registry::is_answered() {
            return;
        }
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let text = info.payload_as_str().unwrap_or("no message");
        let trace = std::backtrace::Backtrace::capture();
        tracing::error!(place, "the agent ends, it panicked: {text}; {trace}");
        std::process::abort();
    }));
}
