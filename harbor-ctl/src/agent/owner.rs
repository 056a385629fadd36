//! The one owner of everything that changes: services, rests, conflicts, the running configuration.
//!
//! Every change goes registry first (durable), then kernel, then answer. If the kernel refuses, the
//! change stays; the port is down with the reason, and the next round tries again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{
    addresses::backend_rule,
    certificates::Certificates,
    clock::Clock,
    conflicts::Conflicts,
    engines::Engines,
    events::Told,
    forwarding::{Change, ForwardingError},
    health::Health,
    refusals::Refusals,
    reload::Configuration,
    reserved::Reserved,
    services::Services,
    tcp_side::TcpProblem,
    view::Rates,
};
use crate::{
    allocator::Numbers,
    config::Loaded,
    discovery::{KnownHosts, Leases},
    metrics::Meters,
    model::{BackendRule, PortRef, Protocol, Refusal, RefusalKind, Service},
    registry::{Contents, Registry, RegistryError},
};

/// What to do about a registry that was made anew where ports exist.
pub(super) const EMPTIED_FIX: &str = "put the file back where it was and restart the agent; or take \
    the ports in: harbor-ctl state import FILE (state export prints those of the journal); or let \
    them go: harbor-ctl state confirm";
/// The kernel must have a change within this time, or the answer says that it has not.
const APPLY_LIMIT: Duration = Duration::from_secs(10);
/// How often a change is made again because somebody else was faster.
const AMEND_TRIES: usize = 8;

/// What has to be brought to the kernel.
#[derive(Clone, Debug)]
pub(super) enum Pending {
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
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::These(ids) if ids.is_empty())
    }

    /// A service was changed, begun or ended.
    pub(super) fn note(&mut self, id: &str) {
        if let Self::These(ids) = self {
            ids.insert(id.to_owned());
        }
    }
}

/// All of the agent's changing state.
#[derive(Debug)]
pub(super) struct Owner<R> {
    pub(super) registry: R,
    pub(super) services: Services,
    pub(super) resting: BTreeMap<(Protocol, u16), u64>,
    pub(super) engines: Engines,
    /// What the kernel does not have yet.
    pub(super) pending: Pending,
    /// What is in force: keys that apply at once follow the file, others stay as at start.
    pub(super) running: Loaded,
    /// What the files say now.
    pub(super) written: Loaded,
    /// Services that are in force as the registry could not record them.
    pub(super) unrecorded: BTreeSet<String>,
    /// It has ports that nobody has decided about.
    pub(super) leaves_kernel_alone: bool,
    /// Why the kernel does not have the last change.
    pub(super) not_applied: Option<String>,
    pub(super) conflicts: Conflicts,
    pub(super) health: Health,
    pub(super) reserved: Reserved,
    pub(super) rates: Rates,
    pub(super) leases: Leases,
    pub(super) refusals: Refusals,
    /// App hosts that are somebody.
    pub(super) app_hosts_known: KnownHosts,
    pub(super) certificates: Certificates,
    pub(super) tcp_problem: TcpProblem,
    pub(super) gateway_problem: TcpProblem,
    pub(super) metrics_problem: TcpProblem,
    pub(super) console_problem: TcpProblem,
    pub(super) meters: Meters,
    /// Why somebody who may look cannot connect.
    pub(super) socket_problem: Option<String>,
    pub(super) told: Told,
    pub(super) clock: Clock,
    pub(super) configuration: Configuration,
    pub(super) started: Instant,
}

impl<R: Registry> Owner<R> {
    pub(super) fn new(loaded: Loaded, registry: R, contents: Contents, engines: Engines) -> Self {
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
            told: Told::new(&services),
            clock: Clock::start(),
            services,
            resting: contents.resting,
            engines,
            pending: Pending::All,
            unrecorded: BTreeSet::new(),
            leaves_kernel_alone: false,
            configuration: Configuration {
                left_out: loaded.left_out.clone(),
                ..Configuration::default()
            },
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
    pub(super) async fn apply(&mut self) -> Result<(), ForwardingError> {
        self.tell_changes();
        let engines = self.engines.clone();
        let pending = std::mem::take(&mut self.pending);
        let all_down = self.running.config.health.all_down;
        let apply = async {
            match &pending {
                _ if self.leaves_kernel_alone => engines.hold(self.served(), all_down).await,
                Pending::All => engines.apply(self.served(), all_down).await,
                Pending::These(ids) => engines.change(self.changes(ids)).await,
            }
        };
        let apply = self.meters.reconcile(apply);
        let problem = match tokio::time::timeout(APPLY_LIMIT, apply).await {
            Ok(Ok(())) => None,
            Ok(Err(ForwardingError::Ended)) => return Err(ForwardingError::Ended),
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!(
                "the datapath did not answer within {APPLY_LIMIT:?}"
            )),
        };
        if problem.is_some() {
            self.pending = Pending::All;
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
    pub(super) async fn apply_change(&mut self) {
        if let Err(error) = self.apply().await {
            self.not_applied = Some(error.to_string());
        }
        self.keep_certificates().await;
        self.keep_reserved().await;
    }

    pub(super) fn numbers(&self) -> Numbers {
        let resting: BTreeSet<_> = self.resting.keys().copied().collect();
        Numbers::new(self.services(), resting)
    }

    pub(super) fn find(&self, port: &PortRef) -> Result<Arc<Service>, Refusal> {
        self.services.find(port).cloned()
    }

    /// Changes a service: durable first, then current, then in the kernel.
    pub(super) async fn amend<T>(
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
    pub(super) async fn record<T>(
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

    /// Whether this node serves it.
    pub(super) fn serves(&self, service: &Service) -> bool {
        !R::IS_SHARED || service.node == self.running.config.node
    }

    /// Every service that is known.
    pub(super) fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.iter().map(Arc::as_ref)
    }

    /// The services that are forwarded here; others are only listed.
    pub(super) fn served(&self) -> Vec<Arc<Service>> {
        let own = self.services.iter().filter(|service| self.serves(service));
        own.cloned().collect()
    }

    /// Takes over a record as it is in the registry now.
    pub(super) fn take_over(&mut self, recorded: Service) {
        self.pending.note(&recorded.id);
        self.services.put(recorded);
    }

    /// Reads the registry again: somebody who shares it has changed something.
    pub(super) async fn look_again(&mut self) -> Result<(), Refusal> {
        let loaded = self.meters.registry("load", self.registry.load()).await;
        self.take_all(loaded.map_err(|error| refused(&error))?);
        Ok(())
    }

    /// Takes over everything as it is in the registry now.
    pub(super) fn take_all(&mut self, mut contents: Contents) {
        self.keep_unrecorded(&mut contents.services);
        self.services = Services::from_iter(contents.services);
        self.resting = contents.resting;
        self.pending = Pending::All;
        self.keep_health();
    }

    /// A service is no more.
    pub(super) fn forget(&mut self, id: &str) {
        self.services.remove(id);
        self.pending.note(id);
    }

    /// The name that this node's services bear.
    pub(super) fn node(&self) -> String {
        match R::IS_SHARED {
            true => self.running.config.node.clone(),
            false => String::new(),
        }
    }

    pub(super) fn backend_rule(&self) -> BackendRule {
        backend_rule(&self.running.config)
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// A registry's failure as an answer.
pub(super) fn refused(error: &RegistryError) -> Refusal {
    match error {
        RegistryError::NumberTaken { .. } => {
            Refusal::new(RefusalKind::PortAssigned, error.to_string())
        }
        RegistryError::QuotaReached(key) => {
            Refusal::new(RefusalKind::QuotaExceeded, error.to_string())
                .field(&format!("limits.{key}"))
                .fix(format!(
                    "delete some, or: harbor-ctl config set limits.{key} NUMBER"
                ))
        }
        RegistryError::NoService(_) => Refusal::new(RefusalKind::NotFound, error.to_string()),
        RegistryError::Away(_) => Refusal::new(RefusalKind::NotReady, error.to_string())
            .fix("what is forwarded stays; see harbor-ctl status, and try again when it is back"),
        RegistryError::Failed(_) => Refusal::new(RefusalKind::NotReady, error.to_string())
            .fix("what is forwarded stays; make room on, or repair, its disk: it is tried again"),
        RegistryError::Emptied(_) => {
            Refusal::new(RefusalKind::NotReady, error.to_string()).fix(EMPTIED_FIX)
        }
        RegistryError::Fenced(_) => Refusal::new(RefusalKind::Conflict, error.to_string()).fix(
            "stop the other agent, or give one of them another node.id; then restart this one",
        ),
        RegistryError::Drained(node) => Refusal::new(RefusalKind::Conflict, error.to_string()).fix(
            format!("create it on another node, or: harbor-ctl node resume {node}"),
        ),
        RegistryError::NotPlaced(_) => Refusal::new(RefusalKind::Conflict, error.to_string()),
        _ => {
            tracing::error!("{error}");
            Refusal::failed(error.to_string()).fix("harbor-ctl status")
        }
    }
}
