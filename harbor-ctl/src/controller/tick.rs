//! The work done every second: ends what is over, repairs what differs, feeds the watchdog.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::{
    Controller, Pending,
    conflicts::{self, Assigned},
    handle::Handle,
    services::Mark,
    systemd,
};
use crate::{
    forwarding::{
        Engines, KernelEngine,
        kernel::{Forwarding, ForwardingError},
        settings,
    },
    model::{Service, now},
    proxy::Unheld,
    reconcile::Scope,
    registry::Registry,
};

const ROUND: Duration = Duration::from_secs(1);
/// How often the host's listeners are read.
const LOOK: Duration = Duration::from_secs(3);
/// How often a datapath that did not start is tried again.
const RETRY: Duration = Duration::from_secs(30);
const COUNTERS_LIMIT: Duration = Duration::from_secs(5);
/// What the kernel's table holds, as events call it.
const FLOWS: &str = "flows";

/// Rounds for ever; a reason on `fatal` ends the agent.
pub(crate) async fn run<R: Registry>(handle: Handle<R>, fatal: mpsc::Sender<String>) {
    let watchdog = systemd::watchdog();
    let period = watchdog.map_or(ROUND, |limit| ROUND.min(limit / 3));
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut last_look, mut last_try) = (None, Instant::now());
    loop {
        ticks.tick().await;
        if last_try.elapsed() >= RETRY {
            last_try = Instant::now();
            retry_forwarding(&handle).await;
        }
        let mut controller = handle.lock().await;
        controller.keep_time().await;
        controller.note_proxied();
        controller.expire().await;
        controller.end_leases().await;
        controller.record_late().await;
        controller.tell_registry();
        controller.keep_shares();
        controller.look_at_pools().await;
        if controller.untold_shares().is_some() {
            controller.apply_change().await;
        }
        controller.tell_full_proxy();
        controller.told.log.write_late();
        // The forwarding thread keeps what it has up to date by itself.
        if controller.not_applied.is_some()
            && !controller.engines.are_silent()
            && let Err(error) = controller.apply().await
        {
            let _ = fatal.send(error.to_string()).await;
            return;
        }
        let engines = controller.engines.clone();
        drop(controller);
        let answers = match read_counters(&handle, engines.clone()).await {
            Ok(answers) => answers,
            Err(error) => {
                let _ = fatal.send(error.to_string()).await;
                return;
            }
        };
        if last_look.is_none_or(|last: Instant| last.elapsed() >= LOOK) {
            last_look = Some(Instant::now());
            look_around(&handle).await;
            tell_full_flows(&handle, engines).await;
        }
        // Both the controller and the forwarding thread answered in this round.
        if answers && watchdog.is_some() {
            systemd::alive();
        }
        systemd::status(&handle.headline().await);
    }
}

/// Follows the files of certificates for ever: apart from the rounds, which no file holds up.
pub(crate) async fn follow_certificates<R: Registry>(handle: Handle<R>) {
    let mut ticks = tokio::time::interval(ROUND);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        handle.keep_certificates().await;
    }
}

/// Looks for ever whether something is wrong with the files of the configuration, as whoever edits them
/// leaves them: apart from the rounds, which no file holds up.
pub(crate) async fn follow_configuration<R: Registry>(handle: Handle<R>) {
    let mut ticks = tokio::time::interval(ROUND);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last = None;
    loop {
        ticks.tick().await;
        handle.recheck_configuration(&mut last).await;
    }
}

impl<R: Registry> Controller<R> {
    /// Forgets backends whose drain is over and rests that ended.
    async fn expire(&mut self) {
        // A registry that is away forgets nothing, and what it holds stays in force.
        if self.registry.condition().away.is_some() {
            return;
        }
        self.end_expired().await;
        let time = now();
        let over: Vec<String> = self
            .services
            .with(Mark::Leaving)
            .filter(|service| self.keeps(service))
            .filter(|service| service.backends.iter().any(|b| b.is_over(time)))
            .map(|service| service.id.clone())
            .collect();
        for id in over {
            let expire = |service: &mut Service| Ok(service.expire_backends(time));
            match self.enforce(&id, expire).await {
                Ok((service, gone)) => {
                    self.apply_change().await;
                    for backend in gone {
                        let (name, instance) = (&service.name, &backend.instance);
                        tracing::info!(name, instance, address = %backend.address, "backend is gone");
                    }
                }
                Err(refusal) => tracing::error!("a backend that left was not forgotten: {refusal}"),
            }
        }
        self.shorten_rests().await;
        // What was given up rests until the kernel has heard of it: an agent that starts would take it for
        // a port that the registry has lost.
        if self.kernel_lags() {
            return;
        }
        if self.resting.values().any(|until| *until <= time) {
            match self.registry.end_rests().await {
                Err(_) if self.registry.condition().cannot_record() => {}
                Ok(()) => self.resting.retain(|_, until| *until > time),
                Err(error) => tracing::error!("rests were not ended: {error}"),
            }
        }
    }

    /// Whether the kernel may have more than is desired.
    fn kernel_lags(&self) -> bool {
        let is_down = matches!(self.engines.kernel, KernelEngine::Down { .. });
        is_down || self.not_applied.is_some() || self.leaves_kernel_alone || self.proxied.lags()
    }

    fn assigned(&self) -> Assigned {
        let own = self.services.iter().filter(|service| self.serves(service));
        let keys = own.flat_map(|service| {
            let each = service.protocols.each().iter();
            each.map(|&protocol| (protocol, service.port))
        });
        let unheld = self.engines.proxy.unheld();
        let (taken, ours) = keys.partition(|key| matches!(unheld.get(key), Some(Unheld::Taken)));
        Assigned { ours, taken }
    }
}

/// Reads the counters for the rates; whether the forwarding thread answered, if there is one. That
/// it has ended is an error.
async fn read_counters<R: Registry>(
    handle: &Handle<R>,
    engines: Engines,
) -> Result<bool, ForwardingError> {
    match tokio::time::timeout(COUNTERS_LIMIT, engines.frontends(Scope::Whole)).await {
        Ok(Ok(reports)) => {
            handle.lock().await.rates.update(&reports, Instant::now());
            Ok(true)
        }
        Ok(Err(ForwardingError::Ended)) => Err(ForwardingError::Ended),
        Ok(Err(error)) => {
            tracing::warn!("counters were not read: {error}");
            handle.lock().await.rates.forget();
            // An error is an answer too.
            Ok(!matches!(error, ForwardingError::Silent(_)))
        }
        Err(_) => {
            tracing::error!("the forwarding thread did not answer within {COUNTERS_LIMIT:?}");
            handle.lock().await.rates.forget();
            Ok(false)
        }
    }
}

/// Tells what of the flow table is full, and what is no longer. A thread that does not answer is told of
/// where its counters are read.
async fn tell_full_flows<R: Registry>(handle: &Handle<R>, engines: Engines) {
    if let Ok(Ok(full)) = tokio::time::timeout(COUNTERS_LIMIT, engines.full()).await {
        handle.lock().await.tell_full(FLOWS, &full);
    }
}

pub(super) async fn look_around<R: Registry>(handle: &Handle<R>) {
    let controller = handle.lock().await;
    controller.registry.obey(controller.backend_rule());
    let (range, assigned) = (controller.running.config.range, controller.assigned());
    let known = controller.conflicts.held().clone();
    drop(controller);
    let look = tokio::task::spawn_blocking(move || conflicts::look(range, &assigned, &known));
    match look.await {
        Ok(Ok(held)) => {
            let mut controller = handle.lock().await;
            let assigned = controller.assigned();
            for told in controller.conflicts.replace(held, &assigned) {
                controller.told.log.tell(told);
            }
            controller.tell_nodes().await;
            if controller.reserved.problem().is_some() {
                controller.keep_reserved().await;
            }
        }
        Ok(Err(error)) => tracing::warn!("the host's sockets were not read: {error}"),
        Err(error) => tracing::error!("looking at the host's sockets failed: {error}"),
    }
}

/// Starts a datapath that could not be started before.
async fn retry_forwarding<R: Registry>(handle: &Handle<R>) {
    let (settings, bpf) = {
        let controller = handle.lock().await;
        match &controller.engines.kernel {
            KernelEngine::Down {
                can_retry: true, ..
            } => {
                let config = &controller.running.config;
                (settings::of(config), config.paths.bpf.clone())
            }
            _ => return,
        }
    };
    let link = match Forwarding::start(settings).await {
        Ok(forwarding) => {
            tracing::info!("the datapath runs now");
            KernelEngine::Up(forwarding)
        }
        Err(error) => KernelEngine::down(&error, &bpf),
    };
    let mut controller = handle.lock().await;
    controller.engines.kernel = link;
    // Another thread knows of no shares yet.
    controller.shares.told = None;
    controller.believe_or_hold_late().await;
    controller.pending = Pending::All;
    // Does nothing while there is still none.
    controller.apply_change().await;
}
