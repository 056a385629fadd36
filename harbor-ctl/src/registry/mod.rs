//! Durable state: services, numbers that rest after their release, and how far app hosts have spoken.
//!
//! A verb returns only when its change would survive a loss of power. Every verb is idempotent:
//! a caller that did not hear the answer asks again. Seconds are those of this host's clock.

mod backing;
mod embedded;
mod file;
mod journal;
mod keys;
mod panics;
mod record;
mod redis;
#[cfg(test)]
mod tests;
mod watch;

use std::{
    collections::BTreeMap,
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::sync::mpsc;

pub(crate) use embedded::{EmbeddedRegistry, moved};
pub(crate) use journal::write as write_journal;
pub(crate) use panics::is_answered;
pub(crate) use record::check as check_record;
pub(crate) use redis::{Announcements, Password, RedisRegistry, RedisSettings, Target, probe};
#[cfg(test)]
pub(crate) use watch::Away;
pub(crate) use watch::{Back, Backends, Claim, Condition, Emptied, InKernel, News, named};

use crate::model::{AppHost, BackendRule, NodeRecord, Pool, Pools, Protocol, Service, Spoken};

/// Seconds since 1970, by this host's clock.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Everything the registry holds, but for app hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// By creation; of every node.
    pub(crate) services: Vec<Service>,
    /// Released halves, with the second (since 1970) at which their rest ends.
    pub(crate) resting: BTreeMap<(Protocol, u16), u64>,
    pub(crate) pools: Pools,
}

/// Whether a resting number may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rests {
    /// It was drawn: the rest counts.
    Respected,
    /// It was asked for by name.
    Ended,
}

/// How many services there may be; 0: as many as there are numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quota {
    pub(crate) ports: usize,
    pub(crate) ports_per_organization: usize,
    pub(crate) ports_per_space: usize,
}

/// Why the registry did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryError {
    #[error("another agent uses the registry {0}")]
    InUse(PathBuf),
    #[error("the registry {path} has schema {found}; this version reads schema {known}")]
    Schema {
        path: PathBuf,
        found: u64,
        known: u64,
    },
    /// It cannot be opened, for example for its rights; nothing was changed.
    #[error("{path} cannot be opened: {why}")]
    Unopened { path: PathBuf, why: String },
    /// What it holds is not what was written.
    #[error("{path} is spoilt: {why}")]
    Spoilt { path: PathBuf, why: String },
    /// The disk refuses, for now.
    #[error("the registry failed: {0}")]
    Failed(String),
    /// It was made anew where ports exist: nothing is changed until that is decided.
    #[error("{0}: nothing is changed until it is decided what is to become of them")]
    Emptied(Arc<Emptied>),
    #[error("port {port}/{protocol} is assigned to another service")]
    NumberTaken { protocol: Protocol, port: u16 },
    /// A quota is used up, by services of others too; its name is that of its key in `[limits]`.
    #[error("limits.{0} is reached")]
    QuotaReached(String),
    #[error("no service with id {0}")]
    NoService(String),
    /// Somebody else was faster: what the caller knew of the service is no longer so.
    #[error("service {0} was changed by somebody else meanwhile")]
    Changed(String),
    /// The shared registry does not answer, or not as it should; nothing was changed.
    #[error("the registry is away: {0}")]
    Away(String),
    #[error("another agent has taken over node {0}: this one may not change anything")]
    Fenced(String),
    #[error("node {0} is drained: it takes no new ports")]
    Drained(String),
    /// Services that an import could not place, and why; nothing was changed.
    #[error("{}", .0.iter().map(|(id, why)| format!("service {id}: {why}")).collect::<Vec<_>>().join("\n"))]
    NotPlaced(Vec<(String, String)>),
    #[error("the registry failed: {0}")]
    Engine(Box<dyn std::error::Error + Send + Sync>),
}

/// Durable state, whoever keeps it.
pub(crate) trait Registry: Send + Sync + 'static {
    /// Several nodes keep their state here: a service belongs to the node that it names.
    const IS_SHARED: bool;

    /// Everything, as of one moment.
    fn load(&self) -> impl Future<Output = Result<Contents, RegistryError>> + Send;

    /// Records a new service and takes its number in all its protocols, or changes nothing.
    /// Answers the record.
    fn allocate(
        &self,
        service: &Service,
        rests: Rests,
    ) -> impl Future<Output = Result<Service, RegistryError>> + Send;

    /// Replaces what is known about a service, if its record has the same revision still; its
    /// number and protocols do not change. Answers the record, with its new revision.
    fn update(
        &self,
        service: &Service,
    ) -> impl Future<Output = Result<Service, RegistryError>> + Send;

    /// Forgets a service; its number rests for so long. Unknown services are no error.
    fn release(
        &self,
        id: &str,
        rest: Duration,
    ) -> impl Future<Output = Result<(), RegistryError>> + Send;

    /// Forgets rests that are over.
    fn end_rests(&self) -> impl Future<Output = Result<(), RegistryError>> + Send;

    /// Ends every rest at this second at the latest.
    fn limit_rests(&self, latest: u64) -> impl Future<Output = Result<(), RegistryError>> + Send;

    /// Every app host with what is left of its lease.
    fn app_hosts(&self) -> impl Future<Output = Result<Vec<AppHost>, RegistryError>> + Send;

    /// Records how far an app host has spoken, never backwards, and begins its lease anew unless
    /// `lease` is `None`.
    fn heard(
        &self,
        dea: &str,
        spoken: Spoken,
        lease: Option<Duration>,
    ) -> impl Future<Output = Result<(), RegistryError>> + Send;

    /// Forgets an app host of which nothing is left.
    fn forget_app_host(&self, dea: &str) -> impl Future<Output = Result<(), RegistryError>> + Send;

    /// Takes over services with their numbers, all or none; what is there already is left alone.
    fn import(
        &self,
        services: &[Service],
    ) -> impl Future<Output = Result<(), RegistryError>> + Send;

    /// Writes a copy of what is on this machine, as of one moment.
    fn backup(&self, to: &Path) -> impl Future<Output = Result<(), RegistryError>> + Send;

    /// Begins to hear what others change; called once. An engine of one node's own sends nothing.
    fn follow(&self) -> mpsc::Receiver<News> {
        mpsc::channel(1).1
    }

    /// What is known of a service without asking anybody.
    fn known(&self, _id: &str) -> Option<Service> {
        None
    }

    /// Everything that is known, without asking anybody.
    fn current(&self) -> Option<Contents> {
        None
    }

    /// How the registry is.
    fn condition(&self) -> Condition {
        Condition::default()
    }

    /// What backends in foreign records are held against from now on.
    fn obey(&self, _rule: BackendRule) {}

    /// What [`Self::allocate`] keeps to from now on, where others may allocate at the same time.
    fn keep_to(&self, _quota: Quota) {}

    /// Whether it was made anew at this start, or at one before that was left undecided.
    fn is_new(&self) -> bool {
        false
    }

    /// Says what the kernel serves. If it does not hold all of that, nothing is changed in it until an
    /// import names the rest, or [`Self::confirm`] decides; if it does, a new one is new by right.
    fn hold(&self, _found: InKernel) -> impl Future<Output = Result<(), RegistryError>> + Send {
        async { Ok(()) }
    }

    /// Removes what was withheld because it was too much at once; how many ports.
    fn confirm(&self) -> impl Future<Output = Result<usize, RegistryError>> + Send {
        async { Ok(0) }
    }

    /// Every pool, as it is known.
    fn pools(&self) -> Pools;

    /// Records a pool, if its record has the same revision still (0: there is none). Answers the record,
    /// with its new revision.
    fn put_pool(&self, pool: &Pool) -> impl Future<Output = Result<Pool, RegistryError>> + Send;

    /// Forgets a pool, if its record has the same revision still.
    fn remove_pool(&self, pool: &Pool) -> impl Future<Output = Result<(), RegistryError>> + Send;

    /// Whether this node is the one of a pool's that does what has to be done once.
    fn keeps(&self, _pool: &str) -> bool {
        true
    }

    /// What this node says from now on of each share that it may have.
    fn say_of_shares(&self, _said: Vec<(String, Claim)>) {}

    /// What nodes have said lately of shares, in the order in which they are asked for.
    fn claims(
        &self,
        asked: &[(String, String)],
    ) -> impl Future<Output = Result<Vec<Option<Claim>>, RegistryError>> + Send {
        let none = vec![None; asked.len()];
        async { Ok(none) }
    }

    /// Every node that has joined.
    fn nodes(&self) -> impl Future<Output = Result<Vec<NodeRecord>, RegistryError>> + Send {
        async { Ok(Vec::new()) }
    }

    /// Says whether a node takes new ports; false: there is no such node.
    fn drain_node(
        &self,
        _id: &str,
        _is_drained: bool,
    ) -> impl Future<Output = Result<bool, RegistryError>> + Send {
        async { Ok(false) }
    }

    /// Takes this node's services out and forgets it; the last good state stays as it is, and
    /// nothing is changed or followed from then on.
    fn leave(&self) -> impl Future<Output = Result<(), RegistryError>> + Send {
        async { Ok(()) }
    }

    /// Looks whether what is kept fits together; one line for each thing that does not.
    fn audit(&self) -> impl Future<Output = Result<Vec<String>, RegistryError>> + Send;

    /// Forgets a node that has left.
    fn forget_node(&self, _id: &str) -> impl Future<Output = Result<(), RegistryError>> + Send {
        async { Ok(()) }
    }

    /// Engine and place, for `status`.
    fn describe(&self) -> String;
}
