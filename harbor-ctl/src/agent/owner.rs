//! The one owner of everything that changes: services, rests, conflicts, the running configuration.
//!
//! Every change goes registry first (durable), then kernel, then answer. If the kernel refuses, the
//! change stays; the port is down with the reason, and the next round tries again.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant, SystemTime},
};

use super::{
    conflicts::Conflicts,
    forwarding::{Forwarding, ForwardingError},
    reserved::Reserved,
    view::{Rates, Snapshot},
};
use crate::{
    allocator::Numbers,
    config::{Config, Loaded},
    model::{BackendRule, PortRef, Protocol, Refusal, RefusalKind, Service},
    registry::{Contents, Registry, RegistryError},
};

/// The kernel must have a change within this time, or the answer says that it has not.
const APPLY_LIMIT: Duration = Duration::from_secs(10);
/// How often a change is made again because somebody else was faster.
const AMEND_TRIES: usize = 8;

/// The datapath, or why there is none.
#[derive(Clone, Debug)]
pub(super) enum Link {
    Up(Forwarding),
    Down {
        reason: String,
        fix: Option<String>,
        can_retry: bool,
    },
}

impl Link {
    pub(super) fn down(error: &ForwardingError) -> Self {
        let (fix, can_retry) = match error {
            ForwardingError::NoObject => {
                let fix = "build it with the eBPF toolchain: cargo xtask setup, then build again";
                (Some(fix.to_owned()), false)
            }
            ForwardingError::Datapath(error) => (error.fix.clone(), true),
            ForwardingError::Ended => (None, true),
        };
        Self::Down {
            reason: error.to_string(),
            fix,
            can_retry,
        }
    }
}

/// All of the agent's changing state.
#[derive(Debug)]
pub(super) struct Owner<R> {
    pub(super) registry: R,
    pub(super) services: Vec<Service>,
    pub(super) resting: BTreeMap<(Protocol, u16), u64>,
    pub(super) link: Link,
    /// What is in force: keys that apply at once follow the file, others stay as at start.
    pub(super) running: Loaded,
    /// What the files say now.
    pub(super) written: Loaded,
    /// Why the kernel does not have the last change.
    pub(super) not_applied: Option<String>,
    pub(super) conflicts: Conflicts,
    pub(super) reserved: Reserved,
    pub(super) rates: Rates,
    pub(super) started: Instant,
}

impl<R: Registry> Owner<R> {
    pub(super) fn new(loaded: Loaded, registry: R, contents: Contents, link: Link) -> Self {
        Self {
            registry,
            services: contents.services,
            resting: contents.resting,
            link,
            running: loaded.clone(),
            written: loaded,
            not_applied: None,
            conflicts: Conflicts::default(),
            reserved: Reserved::default(),
            rates: Rates::default(),
            started: Instant::now(),
        }
    }

    /// Brings the kernel to what is desired. Only a dead forwarding thread is an error: everything
    /// else is remembered, shown and tried again.
    pub(super) async fn apply(&mut self) -> Result<(), ForwardingError> {
        let Link::Up(forwarding) = &self.link else {
            return Ok(());
        };
        let applied = tokio::time::timeout(APPLY_LIMIT, forwarding.apply(self.served()));
        let problem = match applied.await {
            Ok(Ok(())) => None,
            Ok(Err(ForwardingError::Ended)) => return Err(ForwardingError::Ended),
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!(
                "the datapath did not answer within {APPLY_LIMIT:?}"
            )),
        };
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

    /// Applies after a change; a dead thread is found by the next round, which ends the agent.
    pub(super) async fn apply_change(&mut self) {
        if let Err(error) = self.apply().await {
            self.not_applied = Some(error.to_string());
        }
        self.keep_reserved().await;
    }

    /// Why nothing is forwarded, or not the latest.
    pub(super) fn not_forwarded(&self) -> Option<String> {
        match &self.link {
            Link::Down { reason, .. } => Some(format!("nothing is forwarded: {reason}")),
            Link::Up(_) => self.not_applied.clone(),
        }
    }

    /// A copy of what readers need, taken without waiting for the kernel.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            services: self.services.clone(),
            resting: self.resting.keys().copied().collect(),
            link: self.link.clone(),
            not_forwarded: self.not_forwarded(),
            held: self.conflicts.held().clone(),
            not_reserved: self.reserved.problem().cloned(),
            rates: self.rates.clone(),
            range: self.running.config.range,
            config: self.running.source.path.clone(),
            registry: self.registry.describe(),
            condition: self.registry.condition(),
            node: self.node(),
            uptime: self.started.elapsed(),
        }
    }

    pub(super) fn numbers(&self) -> Numbers {
        let resting: BTreeSet<_> = self.resting.keys().copied().collect();
        Numbers::new(&self.services, resting)
    }

    pub(super) fn find(&self, port: &PortRef) -> Result<Service, Refusal> {
        port.resolve(&self.services).cloned()
    }

    /// Changes a service: durable first, then current, then in the kernel. The change is made
    /// again on a newer record when somebody else was faster.
    pub(super) async fn amend<T>(
        &mut self,
        id: &str,
        change: impl Fn(&mut Service) -> Result<T, Refusal>,
    ) -> Result<(Service, T), Refusal> {
        for _ in 0..AMEND_TRIES {
            let current = self.services.iter().find(|service| service.id == id);
            let gone = || Refusal::new(RefusalKind::NotFound, "the port was deleted meanwhile");
            let current = current.ok_or_else(gone)?;
            let mut service = current.clone();
            let answer = change(&mut service)?;
            if service == *current {
                return Ok((service, answer));
            }
            match self.registry.update(&service).await {
                Ok(recorded) => {
                    self.take_over(recorded.clone());
                    self.apply_change().await;
                    return Ok((recorded, answer));
                }
                Err(RegistryError::Changed(_)) => self.look_again().await?,
                Err(error) => return Err(refused(&error)),
            }
        }
        let text = "others change this port all the time";
        Err(Refusal::new(RefusalKind::Conflict, text).fix("try again"))
    }

    /// Takes over a record as it is in the registry now.
    pub(super) fn take_over(&mut self, recorded: Service) {
        let known = self.services.iter_mut().find(|s| s.id == recorded.id);
        match known {
            Some(current) => *current = recorded,
            None => self.services.push(recorded),
        }
    }

    /// Reads the registry again: somebody who shares it has changed something.
    pub(super) async fn look_again(&mut self) -> Result<(), Refusal> {
        let loaded = self.registry.load().await;
        let contents = loaded.map_err(|error| refused(&error))?;
        self.services = contents.services;
        self.resting = contents.resting;
        Ok(())
    }

    /// The name that this node's services bear.
    pub(super) fn node(&self) -> String {
        match R::IS_SHARED {
            true => self.running.config.node.clone(),
            false => String::new(),
        }
    }

    /// Whether this node serves it.
    pub(super) fn serves(&self, service: &Service) -> bool {
        !R::IS_SHARED || service.node == self.running.config.node
    }

    /// The services that are forwarded here; others are only listed.
    pub(super) fn served(&self) -> Vec<Service> {
        let own = self.services.iter().filter(|service| self.serves(service));
        own.cloned().collect()
    }

    pub(super) fn backend_rule(&self) -> BackendRule {
        backend_rule(&self.running.config)
    }
}

/// The rule for backends as of now: addresses of the node come and go.
pub(super) fn backend_rule(config: &Config) -> BackendRule {
    let mut own = config.addresses.clone();
    own.extend(host_addresses());
    BackendRule {
        own,
        allowed: config.allow_networks.clone(),
    }
}

/// Addresses of every interface.
fn host_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| Some(IpAddr::V6(address.as_sockaddr_in6()?.ip())))
        })
        .collect()
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
        RegistryError::NoService(_) => Refusal::new(RefusalKind::NotFound, error.to_string()),
        RegistryError::Away(_) => Refusal::new(RefusalKind::NotReady, error.to_string())
            .fix("what is forwarded stays; see harbor-ctl status, and try again when it is back"),
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
