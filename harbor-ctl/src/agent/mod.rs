//! The agent's composition root: starts everything in order, and stops it.
//!
//! Configuration, logs, lock, registry, forwarding, control socket, then a round every second.
//! Ending the agent never ends the datapath: programs, maps and links stay in the kernel.

mod console_listener;
pub(super) mod control_listener;
mod control_socket;
mod directories;
mod fd_store;
mod gateway_listener;
mod metrics_listener;

use std::{io, os::fd::OwnedFd, path::PathBuf, time::Duration};

use nix::sys::signal::{SigHandler, Signal};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};

use crate::{
    config::{self, Loaded, Source},
    control::{self, Groups, Operations as _},
    controller::{
        AgentError, Controller, Handle, Tried as _, emptied, follow, health, relisten,
        shared_registry, systemd, tick,
    },
    forwarding::{Engines, heap},
    model::RegistryUrl,
    registry::{self, RedisRegistry, Registry},
    telemetry,
};
use control_socket::SocketSide;
use fd_store::FdStore;

/// After SIGTERM the agent is gone within 5 s; this is what each of two steps may take.
const STOP_STEP: Duration = Duration::from_millis(1_500);

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
            shared_registry::bring_along(&loaded.config).await?;
            let settings = shared_registry::settings(&loaded.config, url.clone())?;
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
    let controller = Controller::start(loaded, registry, contents, engines).await?;
    let handle = Handle::new(controller);
    let following = tokio::spawn(follow::run(handle.clone()));

    let socket_side = SocketSide::bind(socket.clone(), (groups, limits), &handle)
        .await
        .tried(|| format!("cannot listen at {}", socket.display()))?;
    let (stop_server, stopped) = watch::channel(false);
    let server = tokio::spawn(socket_side.run(handle.clone(), stopped));
    let (report_fatal, fatal) = mpsc::channel(1);
    let (config, problem) = handle.control_listener().await;
    let mut sides = vec![following];
    sides.push(tokio::spawn(control_listener::run(
        config,
        handle.clone(),
        problem,
    )));
    let (config, problem) = handle.gateway_listener().await;
    sides.extend([
        tokio::spawn(gateway_listener::run(config, handle.clone(), problem)),
        tokio::spawn(metrics_listener::run(handle.clone())),
        tokio::spawn(console_listener::run(handle.clone())),
        tokio::spawn(tick::run(handle.clone(), report_fatal)),
        tokio::spawn(relisten::run(handle.clone())),
        tokio::spawn(tick::follow_certificates(handle.clone())),
        tokio::spawn(tick::follow_configuration(handle.clone())),
        tokio::spawn(health::run(handle.clone())),
        tokio::spawn(handle.clone().copy_flows()),
    ]);
    systemd::ready(&handle.headline().await);
    tracing::info!("control socket: {}", socket.display());

    let outcome = until_told(&handle, fatal).await;
    systemd::stopping();
    tracing::info!("the agent stops; the datapath stays");
    handle.tell_end(&outcome);
    sides.iter().for_each(tokio::task::JoinHandle::abort);
    handle.events().close();
    let _ = stop_server.send(true);
    let _ = tokio::time::timeout(STOP_STEP, server).await;
    let _ = tokio::time::timeout(STOP_STEP, handle.stop_forwarding()).await;
    let _ = std::fs::remove_file(&socket);
    outcome.map(|_signal| ())
}

/// Waits for a signal, and answers which; or for something that cannot be lived with.
async fn until_told<R: Registry>(
    handle: &Handle<R>,
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
            _ = hangup.recv() => handle.reload_soon(),
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
