//! The one writer of everything that changes: services, resting numbers, conflicts, the running configuration.
//!
//! Every change goes registry first (durable), then kernel, then answer. If the kernel refuses, the
//! change stays; the port is down with the reason, and the next round tries again.

mod addresses;
mod advertised;
mod allocate;
mod announcements;
mod background;
mod backup;
mod certificates;
mod clock;
mod configuration;
mod conflicts;
mod copying;
pub(crate) mod emptied;
mod error;
mod event_file;
mod flow_filter;
pub(crate) mod follow;
mod fullness;
mod handle;
pub(crate) mod health;
mod instances;
mod missing;
mod nodes;
mod pool_changes;
mod pool_engine;
mod pools;
mod ports;
mod proxied;
mod publish;
mod refusals;
pub(crate) mod relisten;
mod reserved_ports;
mod senders;
mod services;
mod share_claims;
mod share_state;
pub(crate) mod shared_registry;
mod snapshot;
pub(crate) mod systemd;
pub(crate) mod tick;
mod unrecorded;
mod uploaded_certificates;

pub(crate) use error::{AgentError, Tried};
pub(crate) use handle::Handle;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    config::Loaded,
    discovery::{KnownHosts, Leases},
    forwarding::{
        Engines,
        kernel::{Change, ForwardingError, HARDLY},
    },
    http::TcpProblem,
    metrics::Meters,
    model::{BackendRule, Pools, Protocol, Refusal, RefusalKind, Service, Share},
    registry::{Contents, Registry, RegistryError},
    views::{Rates, facts::Unapplied},
};
use addresses::backend_rule;
use background::Reading;
use certificates::Certificates;
use clock::Clock;
use conflicts::Conflicts;
use error::refused;
use health::Health;
use proxied::Proxied;
use publish::EventTracker;
use refusals::Refusals;
use reserved_ports::Reserved;
use services::Services;
use share_state::{Copying, Shares};

/// The kernel must have a change within this time, or the answer says that it has not.
const APPLY_LIMIT: Duration = Duration::from_secs(10);
/// How often a change is made again because somebody else was faster.
const AMEND_TRIES: usize = 8;

/// What has to be brought to the kernel.
#[derive(Clone, Debug)]
enum Pending {
    /// Everything is to be looked at.
    All,
    /// Services with these ids.
    These(BTreeSet<String>),
}

impl Default for Pending {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

impl Pending {
    /// Whether the kernel has everything.
    fn is_empty(&self) -> bool {
        matches!(self, Self::These(ids) if ids.is_empty())
    }

    /// A service was changed, begun or ended.
    fn note(&mut self, id: &str) {
        if let Self::These(ids) = self {
            ids.insert(id.to_owned());
        }
    }
}

/// All of the agent's changing state.
#[derive(Debug)]
pub(crate) struct Controller<R> {
    registry: R,
    services: Services,
    pools: Pools,
    /// What is told to whom of flows, and how that goes.
    copying: Copying,
    shares: Shares,
    resting: BTreeMap<(Protocol, u16), u64>,
    engines: Engines,
    /// What the kernel does not have yet.
    pending: Pending,
    /// What is in force: keys that apply at once follow the file, others stay as at start.
    running: Loaded,
    /// What the files say now.
    written: Loaded,
    /// Services that are in force as the registry could not record them.
    unrecorded: BTreeSet<String>,
    /// It has ports that nobody has decided about.
    leaves_kernel_alone: bool,
    /// Why the kernel does not have the last change.
    not_applied: Option<String>,
    conflicts: Conflicts,
    health: Health,
    reserved: Reserved,
    rates: Rates,
    leases: Leases,
    refusals: Refusals,
    /// App hosts that are somebody.
    app_hosts_known: KnownHosts,
    certificates: Certificates,
    tcp_problem: TcpProblem,
    gateway_problem: TcpProblem,
    metrics_problem: TcpProblem,
    console_problem: TcpProblem,
    meters: Meters,
    /// Why somebody who may look cannot connect.
    socket_problem: Option<String>,
    told: EventTracker,
    clock: Clock,
    configuration: Unapplied,
    /// Of the configuration.
    reading: Reading,
    proxied: Proxied,
    started: Instant,
}

impl<R: Registry> Controller<R> {
    /// Takes over what the registry has, and brings the engines to it.
    pub(crate) async fn start(
        loaded: Loaded,
        registry: R,
        contents: Contents,
        engines: Engines,
    ) -> Result<Self, AgentError> {
        let mut controller = Self::new(loaded, registry, contents, engines);
        controller.begin_events();
        let known = controller.read_app_hosts();
        known.map_err(|text| AgentError::AppHosts { text })?;
        controller.believe_or_hold().await;
        controller.right_deadlines().await;
        let applied = controller.apply().await;
        applied.map_err(|error| AgentError::Fatal(error.to_string()))?;
        let turn = controller.certificates.turn().await;
        controller.following(turn).run().await;
        controller.keep_reserved().await;
        Ok(controller)
    }

    fn new(loaded: Loaded, registry: R, contents: Contents, engines: Engines) -> Self {
        let leases = Leases::new(loaded.config.lease, Instant::now());
        let services = Services::from_iter(contents.services);
        Self {
            registry,
            leases,
            refusals: Refusals::default(),
            app_hosts_known: KnownHosts::default(),
            certificates: Certificates::default(),
            tcp_problem: TcpProblem::default(),
            gateway_problem: TcpProblem::default(),
            metrics_problem: TcpProblem::default(),
            console_problem: TcpProblem::default(),
            meters: Meters::default(),
            socket_problem: None,
            told: EventTracker::new(&services),
            clock: Clock::start(),
            services,
            pools: contents.pools,
            shares: Shares::default(),
            copying: Copying::default(),
            resting: contents.resting,
            engines,
            pending: Pending::All,
            unrecorded: BTreeSet::new(),
            leaves_kernel_alone: false,
            configuration: Unapplied {
                left_out: configuration::left_out(&loaded),
                ..Unapplied::default()
            },
            reading: Reading::default(),
            proxied: Proxied::default(),
            running: loaded.clone(),
            written: loaded,
            not_applied: None,
            conflicts: Conflicts::default(),
            health: Health::default(),
            reserved: Reserved::default(),
            rates: Rates::default(),
            started: Instant::now(),
        }
    }

    /// Brings the kernel to what is desired. Only a dead forwarding thread is an error: everything
    /// else is remembered, shown and tried again.
    async fn apply(&mut self) -> Result<(), ForwardingError> {
        self.tell_changes();
        let engines = self.engines.clone();
        let pending = std::mem::take(&mut self.pending);
        let all_down = self.running.config.health.all_down;
        let shares = self.untold_shares();
        let apply = async {
            if let Some((shares, hold)) = &shares {
                engines.set_shares(shares.clone(), *hold).await?;
            }
            match &pending {
                _ if self.leaves_kernel_alone => engines.hold(self.served(), all_down).await,
                Pending::All => engines.apply(self.served(), all_down).await,
                Pending::These(ids) => engines.change(self.changes(ids)).await,
            }
        };
        let apply = self.meters.reconcile(apply);
        // A thread that hangs does so for the next one too; it makes the change when it goes on.
        let limit = match engines.are_silent() {
            true => HARDLY,
            false => APPLY_LIMIT,
        };
        let problem = match tokio::time::timeout(limit, apply).await {
            Ok(Ok(())) => None,
            Ok(Err(ForwardingError::Ended)) => return Err(ForwardingError::Ended),
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("the datapath did not answer within {limit:?}")),
        };
        match &problem {
            Some(_) => self.pending = Pending::All,
            None => self.shares.told = shares.or(self.shares.told.take()),
        }
        if problem != self.not_applied {
            match &problem {
                Some(reason) => {
                    tracing::error!("the kernel does not have the last change: {reason}")
                }
                None => tracing::info!("the kernel has every change again"),
            }
            self.not_applied = problem;
        }
        Ok(())
    }

    /// Changed services as the datapath is to have them.
    fn changes(&self, ids: &BTreeSet<String>) -> Vec<Change> {
        let served = |id: &String| {
            let service = self.services.get(id);
            service.filter(|service| self.serves(service)).cloned()
        };
        ids.iter().map(|id| (id.clone(), served(id))).collect()
    }

    /// Applies after a change; a dead thread is found by the next round, which ends the agent.
    async fn apply_change(&mut self) {
        if let Err(error) = self.apply().await {
            self.not_applied = Some(error.to_string());
        }
        self.ask_for_certificates();
        self.keep_reserved().await;
    }

    /// Changes a service: durable first, then current, then in the kernel.
    async fn amend<T>(
        &mut self,
        id: &str,
        change: impl Fn(&mut Service) -> Result<T, Refusal>,
    ) -> Result<(Service, T), Refusal> {
        let before = self.services.get(id);
        let before = before.map(|service| service.revision);
        let (service, answer) = self.record(id, change).await?;
        if before != Some(service.revision) {
            self.apply_change().await;
        }
        Ok((service, answer))
    }

    /// Changes a service: durable first, then current; the caller brings it to the kernel. The
    /// change is made again on a newer record when somebody else was faster.
    async fn record<T>(
        &mut self,
        id: &str,
        change: impl Fn(&mut Service) -> Result<T, Refusal>,
    ) -> Result<(Service, T), Refusal> {
        for _ in 0..AMEND_TRIES {
            let current = self.services.get(id);
            let gone = || Refusal::new(RefusalKind::NotFound, "the port was deleted meanwhile");
            let current = current.ok_or_else(gone)?;
            let mut service = Service::clone(current);
            let answer = change(&mut service)?;
            if service == **current {
                return Ok((service, answer));
            }
            let update = self.registry.update(&service);
            match self.meters.registry("update", update).await {
                Ok(recorded) => {
                    self.unrecorded.remove(id);
                    self.take_over(recorded.clone());
                    return Ok((recorded, answer));
                }
                Err(RegistryError::Changed(_)) => self.look_again().await?,
                Err(error) => return Err(refused(&error)),
            }
        }
        let text = "others change this port all the time";
        Err(Refusal::new(RefusalKind::Conflict, text).fix("try again"))
    }

    /// Every service that is known.
    fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.iter().map(Arc::as_ref)
    }

    /// The services that are forwarded here; others are only listed.
    fn served(&self) -> Vec<Arc<Service>> {
        let own = self.services.iter().filter(|service| self.serves(service));
        own.cloned().collect()
    }

    /// Takes over a record as it is in the registry now.
    fn take_over(&mut self, recorded: Service) {
        self.pending.note(&recorded.id);
        self.services.put(recorded);
    }

    /// Reads the registry again: somebody who shares it has changed something.
    async fn look_again(&mut self) -> Result<(), Refusal> {
        let loaded = self.meters.registry("load", self.registry.load()).await;
        self.take_all(loaded.map_err(|error| refused(&error))?);
        Ok(())
    }

    /// Takes over everything as it is in the registry now.
    fn take_all(&mut self, mut contents: Contents) {
        self.keep_unrecorded(&mut contents.services);
        self.services = Services::from_iter(contents.services);
        self.resting = contents.resting;
        self.pools = contents.pools;
        self.pending = Pending::All;
        self.keep_health();
    }

    /// A service is no more.
    fn forget(&mut self, id: &str) {
        self.services.remove(id);
        self.pending.note(id);
    }

    /// The name that this node's services bear.
    fn node(&self) -> String {
        match R::IS_SHARED {
            true => self.running.config.node.clone(),
            false => String::new(),
        }
    }

    fn backend_rule(&self) -> BackendRule {
        let mut rule = backend_rule(&self.running.config);
        rule.own
            .extend(self.pools.shares().flat_map(Share::addresses));
        rule
    }
}
