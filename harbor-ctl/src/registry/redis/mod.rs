//! The engine that several nodes share: a Redis, with a journal of the last good state beside it.
//!
//! What this node knows ([`state`]) is what it forwards. It changes by this node's own verbs, by
//! news and by snapshots ([`follower`]), and by nothing that goes wrong: a registry that is away,
//! empty or full of garbage leaves it as it is.

mod announcements;
mod answers;
mod audit;
mod bounded;
mod connection;
mod decide;
mod follower;
mod held;
mod keep;
mod pools;
mod scripts;
mod state;
mod sync;
mod verbs;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::mpsc;

use super::{
    Contents, Quota, RegistryError,
    journal::Journal,
    keys,
    watch::{Away, Back, Claim, Condition, Lapses, News},
};
use crate::model::{BackendRule, Pools, Service};
pub(crate) use announcements::Announcements;
use answers::Rules;
use connection::{Fault, Link};
pub(crate) use connection::{Password, Target};
use held::Held;
use scripts::Scripts;
use state::State;

/// News that may wait to be heard; a snapshot makes up for a listener that is slower.
const NEWS: usize = 4_096;
const SCHEMA: &str = "1";

/// What the engine needs to know.
#[derive(Clone, Debug)]
pub(crate) struct RedisSettings {
    pub(crate) target: Target,
    /// Names the keys: nodes of one cluster share them.
    pub(crate) cluster: String,
    /// This node.
    pub(crate) node: String,
    pub(crate) journal: PathBuf,
    pub(crate) rule: BackendRule,
    /// Where this node hears of other nodes' flows.
    pub(crate) sync: Option<SocketAddr>,
}

/// The registry in a Redis.
#[derive(Clone, Debug)]
pub(crate) struct RedisRegistry(Arc<Engine>);

#[derive(Debug)]
struct Engine {
    node: String,
    sync: Option<SocketAddr>,
    cluster: String,
    /// Names this agent: the registry lets only one write for a node.
    token: String,
    link: Arc<Link>,
    scripts: Arc<Scripts>,
    journal: Journal,
    memory: Mutex<Memory>,
    /// Held while rows are written: the last to write has the latest.
    keeping: tokio::sync::Mutex<()>,
    news: Mutex<Option<mpsc::Sender<News>>>,
}

#[derive(Debug, Default)]
struct Memory {
    state: State,
    rule: BackendRule,
    quota: Quota,
    away: Option<Away>,
    lapses: Lapses,
    /// What the kernel serves and it does not hold.
    held: Option<Held>,
    /// Nobody here remembers anything, and what the kernel serves was not compared with it.
    is_undecided: bool,
    back: Option<Back>,
    /// Counts this node's own changes: an answer that was on its way meanwhile is older than they.
    own_changes: u64,
    has_joined: bool,
    is_fenced: bool,
    has_left: bool,
    not_kept: Option<String>,
    /// Pools for which this node does what has to be done once.
    kept_pools: BTreeSet<String>,
    /// What it is in the shares that it may have.
    said: Vec<(String, Claim)>,
    /// The pools are not in the journal as they are known.
    has_unkept_pools: bool,
    /// Services that are not in the journal as they are known.
    unkept: BTreeSet<String>,
}

impl RedisRegistry {
    /// Joins and reads everything; starts from the journal if the registry is away. Without a
    /// journal there is nothing to start from.
    pub(crate) async fn open(settings: RedisSettings) -> Result<Self, RegistryError> {
        let RedisSettings {
            target,
            cluster,
            node,
            journal,
            rule,
            sync,
        } = settings;
        let journal = Journal::open(&journal)?;
        let (services, position) = journal.read(&rule)?;
        let deleted = journal.deleted()?;
        let (pools, pools_seq) = journal.pools()?;
        let was_in_sync = !position.incarnation.is_empty();
        let is_undecided = journal.begin_undecided(was_in_sync)?;
        let mut state = State {
            position,
            pools,
            pools_seq,
            deleted: deleted.into_iter().collect(),
            ..State::default()
        };
        state.remember(services);
        let engine = Engine {
            link: Arc::new(Link::new(target, keys::of(&cluster))),
            node,
            sync,
            cluster,
            token: uuid::Uuid::new_v4().to_string(),
            scripts: Arc::new(Scripts::new()),
            journal,
            memory: Mutex::new(Memory {
                state,
                rule,
                is_undecided,
                ..Memory::default()
            }),
            keeping: tokio::sync::Mutex::default(),
            news: Mutex::default(),
        };
        let registry = Self(Arc::new(engine));
        match registry.0.synchronise().await {
            Ok(()) => {
                tracing::info!("joined, {}", registry.0.describe());
                follower::live(&registry.0);
            }
            Err(error @ RegistryError::Schema { .. }) => return Err(error),
            Err(error) if was_in_sync => {
                tracing::error!("starting from the journal: {error}");
                registry.0.be_away(&error.to_string());
            }
            Err(error) => {
                tracing::error!("there is no journal to start from either");
                return Err(error);
            }
        }
        Ok(registry)
    }
}

#[cfg(test)]
impl RedisRegistry {
    /// The place and the words that a look at the announcements answers.
    pub(super) async fn heard_from(&self, words: &[String; 3]) -> (String, Vec<String>) {
        let [place, count, back] = words.each_ref().map(String::as_str);
        let words = ["0", count, place, back].map(str::to_owned);
        let answer = self.0.ask(&self.0.scripts.look, &words, 1).await;
        let answer = answer.unwrap_or_else(|fault| panic!("{}", fault.text));
        let look = self.0.with_rules(|rules| answers::look(answer, rules));
        let heard = look.heard.unwrap_or_else(|why| panic!("{why}"));
        (heard.place, heard.words)
    }
}

impl Engine {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn describe(&self) -> String {
        format!("redis {}, cluster {}", self.link.target().url, self.cluster)
    }

    fn condition(&self) -> Condition {
        let memory = self.memory();
        Condition {
            lapses: memory.lapses.clone(),
            away: memory.away.clone(),
            failed: None,
            emptied: memory.held.as_ref().map(|held| Arc::clone(&held.emptied)),
            mended: None,
            back: memory.back,
            is_fenced: memory.is_fenced,
            withheld: memory.state.withheld.clone(),
            unplaced: memory.state.unplaced.clone(),
            refused: memory.state.refused(),
            not_kept: memory.not_kept.clone().or_else(|| {
                let trouble = self.journal.trouble();
                trouble.map(|away| away.reason)
            }),
        }
    }

    fn contents(&self) -> Contents {
        let memory = self.memory();
        let mut services: Vec<Service> = memory.state.known.values().cloned().collect();
        services.sort_by(|a, b| (a.created_at, a.port, &a.id).cmp(&(b.created_at, b.port, &b.id)));
        Contents {
            services,
            resting: memory.state.resting.clone(),
            pools: memory.state.pools.clone(),
        }
    }

    fn with_rules<T>(&self, read: impl FnOnce(&Rules<'_>) -> T) -> T {
        let (rule, pools) = {
            let memory = self.memory();
            (memory.rule.clone(), memory.state.pools.clone())
        };
        read(&Rules {
            node: &self.node,
            own: &rule,
            pools: &pools,
        })
    }

    /// Remembers that the registry is away, and tells it once.
    fn be_away(&self, reason: &str) {
        let mut memory = self.memory();
        match &mut memory.away {
            Some(away) => reason.clone_into(&mut away.reason),
            None => {
                tracing::error!("the registry is away, the last good state stays: {reason}");
                let since = Instant::now();
                memory.lapses.note(reason);
                memory.away = Some(Away {
                    reason: reason.to_owned(),
                    since,
                });
                drop(memory);
                self.tell(News::Away);
            }
        }
    }

    fn be_fenced(&self) {
        let mut memory = self.memory();
        if !memory.is_fenced {
            tracing::error!("another agent has taken node {} over", self.node);
        }
        memory.is_fenced = true;
    }

    /// Hands news on; a listener that is too slow hears of it by the next snapshot.
    fn tell(&self, news: News) {
        let sender = self
            .news
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(sender) = sender
            && let Err(error) = sender.try_send(news)
        {
            tracing::error!("news was lost: {error}");
        }
    }

    fn is_followed(&self) -> bool {
        let sender = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        sender.is_some()
    }

    /// What a fault means to somebody who asked for a change, or for news.
    fn failed(&self, fault: Fault) -> RegistryError {
        match fault.code.as_str() {
            "FENCED" => {
                self.be_fenced();
                RegistryError::Fenced(self.node.clone())
            }
            "DRAINED" => RegistryError::Drained(self.node.clone()),
            "SCHEMA" => RegistryError::Schema {
                path: self.describe().into(),
                found: fault
                    .text
                    .trim_start_matches("SCHEMA ")
                    .trim()
                    .parse()
                    .unwrap_or_default(),
                known: SCHEMA.parse().unwrap_or_default(),
            },
            _ => RegistryError::Away(fault.text),
        }
    }
}

/// Asks a server for nothing but an answer: what `node attach` does before it changes anything.
/// Answers every service of the cluster, unchecked names and all.
pub(crate) async fn probe(target: Target, cluster: &str) -> Result<Vec<Service>, RegistryError> {
    let link = Link::new(target, keys::of(cluster));
    let arguments: Vec<Vec<u8>> = vec![Vec::new(), Vec::new()];
    let answer = link.run(&Scripts::new().snapshot, &arguments, 5).await;
    let answer = answer.map_err(|fault| RegistryError::Away(fault.text))?;
    let own = BackendRule::default();
    let snapshot = answers::snapshot(
        answer,
        &Rules {
            node: "",
            own: &own,
            pools: &Pools::default(),
        },
    );
    Ok(snapshot
        .records
        .into_iter()
        .filter_map(|(_, record)| record.ok())
        .collect())
}
