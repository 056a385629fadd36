//! Following the registry: a look at the change stream many times a second, a heartbeat, and a
//! snapshot at the start, after a gap, in a new incarnation, and every minute.
//!
//! The looks are scripts, so that a value is measured before it travels; a blocking read would
//! carry whatever somebody has put into the stream.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{
    super::{Back, News, RegistryError, journal::BROUGHT_ALONG},
    Engine, NEWS, SCHEMA,
    answers::{self, Look},
    link::Fault,
    state::Snapshot,
};
use crate::model::Service;

const LOOK: Duration = Duration::from_millis(50);
const BEAT: Duration = Duration::from_millis(500);
const SNAPSHOT: Duration = Duration::from_secs(60);
/// How many changes, and announcements, one look brings.
const AT_ONCE: usize = 200;
/// How many services are put back by one script.
const PLACED_AT_ONCE: usize = 50;
/// A registry that was emptied gives no new ports for so long: every node puts its own back first.
const GUARD_MS: &str = "3000";
/// Announcements that came while nobody listened are heard if they are not older than this.
const MEMORY_MS: &str = "60000";
/// An agent that has the node and has not said so for this long has ended: six beats.
const ALONE: Duration = Duration::from_secs(3);

/// When what was done last.
struct Pace {
    beat: Option<Instant>,
    snapshot: Instant,
    /// The last announcement heard; empty: none yet.
    announced: String,
    /// How far back is looked for the first one.
    memory_ms: &'static str,
    /// The last attempt to hear has failed.
    is_deaf: bool,
}

/// Starts to follow, for as long as the engine lives.
pub(super) fn start(engine: &Arc<Engine>) -> mpsc::Receiver<News> {
    let (sender, receiver) = mpsc::channel(NEWS);
    *engine
        .news
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(sender);
    tokio::spawn(run(Arc::downgrade(engine)));
    receiver
}

/// Says that this node lives from the moment it has joined: until it follows, a start takes seconds.
pub(super) fn live(engine: &Arc<Engine>) {
    let engine = Arc::downgrade(engine);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(BEAT);
        loop {
            ticks.tick().await;
            let Some(engine) = engine.upgrade().filter(|engine| !engine.is_followed()) else {
                return;
            };
            // What goes wrong is found by whoever follows, or asks for a change.
            let _ = engine.ask::<i64>(&engine.scripts.beat, &[], 1).await;
        }
    });
}

async fn run(engine: Weak<Engine>) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut pace = Pace {
        beat: None,
        snapshot: Instant::now(),
        announced: String::new(),
        memory_ms: MEMORY_MS,
        is_deaf: false,
    };
    loop {
        ticks.tick().await;
        let Some(engine) = engine.upgrade().filter(|engine| !engine.memory().has_left) else {
            return;
        };
        match engine.round(&mut pace).await {
            Ok(()) | Err(RegistryError::Fenced(_)) => {}
            Err(RegistryError::Away(reason)) => engine.be_away(&reason),
            Err(error) => engine.be_away(&error.to_string()),
        }
    }
}

impl Engine {
    async fn round(&self, pace: &mut Pace) -> Result<(), RegistryError> {
        let own_changes = self.memory().own_changes;
        let look = self.look().await?;
        let (position, was_away) = {
            let memory = self.memory();
            (memory.state.position.clone(), memory.away.is_some())
        };
        let is_taken_back = self.keep_node(&look, was_away, pace).await?;
        let is_new = look.incarnation != position.incarnation || look.seq < position.seq;
        let is_whole = follows(&look, position.seq);
        if is_new || was_away || is_taken_back || !is_whole || pace.snapshot.elapsed() >= SNAPSHOT {
            pace.snapshot = Instant::now();
            if is_new {
                (pace.announced, pace.memory_ms) = (String::new(), MEMORY_MS);
            }
            self.synchronise().await?;
        } else if !look.changes.is_empty() {
            self.take_changes(&look, own_changes).await;
        }
        if was_away {
            self.be_back();
        }
        self.hear(pace).await;
        Ok(())
    }

    /// Keeps the right to write for this node; whether it was lost, and is back.
    ///
    /// Another token is a takeover only as long as its agent says that it lives: the registry may
    /// have come back from a time at which an earlier agent had the node.
    async fn keep_node(
        &self,
        look: &Look,
        was_away: bool,
        pace: &mut Pace,
    ) -> Result<bool, RegistryError> {
        let (has_joined, is_fenced) = {
            let memory = self.memory();
            (memory.has_joined, memory.is_fenced)
        };
        // Whoever starts from the journal has not joined yet: that is part of being in sync.
        if !has_joined {
            return Ok(false);
        }
        if !look.token.is_empty() && look.token != self.token {
            if look.silence < ALONE {
                self.be_fenced();
                return Ok(false);
            }
            tracing::warn!("nobody else speaks for node {}: taken back", self.node);
            self.join().await?;
        } else if was_away || pace.beat.is_none_or(|beat| beat.elapsed() >= BEAT) {
            pace.beat = Some(Instant::now());
            self.beat(look).await?;
        }
        self.memory().is_fenced = false;
        Ok(is_fenced)
    }

    async fn look(&self) -> Result<Look, RegistryError> {
        let seq = self.memory().state.position.seq;
        let words = [seq.to_string(), AT_ONCE.to_string()];
        let answer = self.run(&self.scripts.look, &words, 1).await?;
        Ok(self.with_rules(|rules| answers::look(answer, rules)))
    }

    /// Says that this node lives; finds out at the same time whether the server takes changes.
    async fn beat(&self, look: &Look) -> Result<(), RegistryError> {
        if look.token.is_empty() {
            // It is joined again, below or by the snapshot.
            return self.join().await.map(drop);
        }
        self.run::<i64>(&self.scripts.beat, &[], 1).await.map(drop)
    }

    /// Joins; answers the incarnation.
    async fn join(&self) -> Result<String, RegistryError> {
        let facts = serde_json::json!({ "version": env!("CARGO_PKG_VERSION") }).to_string();
        let guard = match self.memory().state.own(&self.node).is_empty() {
            true => "0",
            false => GUARD_MS,
        };
        let words = [
            facts,
            uuid::Uuid::new_v4().to_string(),
            SCHEMA.to_owned(),
            guard.to_owned(),
        ];
        let incarnation = self.run(&self.scripts.join, &words, 1).await?;
        self.memory().has_joined = true;
        Ok(incarnation)
    }

    /// Brings this node into sync: joins if it has not, puts its ports back into a registry that
    /// lost them, and takes everything over.
    pub(super) async fn synchronise(&self) -> Result<(), RegistryError> {
        let (is_fenced, own_changes) = {
            let memory = self.memory();
            (memory.is_fenced, memory.own_changes)
        };
        let mut snapshot = self.snapshot().await?;
        let (known, has_joined) = {
            let memory = self.memory();
            (memory.state.position.clone(), memory.has_joined)
        };
        if !is_fenced {
            let found = &snapshot.position;
            let is_new = found.incarnation != known.incarnation || found.seq < known.seq;
            if is_new || !has_joined {
                self.join().await?;
            }
            match known.incarnation.as_str() {
                "" => {}
                BROUGHT_ALONG => tracing::info!("this node's ports are taken along"),
                _ if is_new => tracing::error!(
                    "the registry has lost what it knew: this node's ports are put back"
                ),
                _ => {}
            }
            let unplaced: Vec<String> = self.memory().state.unplaced.keys().cloned().collect();
            if is_new || !unplaced.is_empty() {
                self.put_back().await?;
            }
            if is_new || !has_joined {
                snapshot = self.snapshot().await?;
            }
        }
        let differ = self.take_all(snapshot, own_changes).await?;
        self.keep(&differ).await;
        self.tell(News::Synchronised);
        Ok(())
    }

    /// Takes a snapshot over, or a newer one if this node has changed something since.
    async fn take_all(
        &self,
        mut snapshot: Snapshot,
        mut own_changes: u64,
    ) -> Result<Vec<String>, RegistryError> {
        for is_last in [false, false, false, true] {
            {
                let mut memory = self.memory();
                if memory.has_left {
                    return Ok(Vec::new());
                }
                if memory.own_changes == own_changes || is_last {
                    return Ok(memory.state.take_all(&self.node, snapshot));
                }
                own_changes = memory.own_changes;
            }
            snapshot = self.snapshot().await?;
        }
        unreachable!("the last attempt always returns")
    }

    pub(super) async fn snapshot(&self) -> Result<Snapshot, RegistryError> {
        let answer = self.run(&self.scripts.snapshot, &[], 5).await?;
        Ok(self.with_rules(|rules| answers::snapshot(answer, rules)))
    }

    /// Places this node's own services where they were.
    async fn put_back(&self) -> Result<(), RegistryError> {
        let own = self.memory().state.own(&self.node);
        let mut unplaced = Vec::new();
        for part in own.chunks(PLACED_AT_ONCE) {
            unplaced.extend(self.place("each", part).await?);
        }
        for (id, why) in &unplaced {
            tracing::error!("service {id} was not put back, it stays on this node: {why}");
        }
        self.memory().state.unplaced = unplaced.into_iter().collect();
        Ok(())
    }

    /// Places services, all or each; answers those that could not be, and why.
    pub(super) async fn place(
        &self,
        how: &str,
        services: &[Service],
    ) -> Result<Vec<(String, String)>, RegistryError> {
        let mut words = vec![how.to_owned()];
        for service in services {
            let record = serde_json::to_string(service);
            let record = record.map_err(|error| RegistryError::Engine(error.into()))?;
            let halves = answers::halves(service);
            let (revision, count) = (service.revision.to_string(), halves.len().to_string());
            words.extend([service.id.clone(), record, revision, count]);
            words.extend(halves);
        }
        let failed = self.run(&self.scripts.place, &words, 5).await?;
        Ok(answers::not_placed(failed))
    }

    /// Takes over what the stream says, in order. What this node has changed since is newer than
    /// this answer may be; the next look brings it again.
    async fn take_changes(&self, look: &Look, own_changes: u64) {
        let mut differ = Vec::new();
        {
            let mut memory = self.memory();
            if memory.own_changes != own_changes || memory.has_left {
                return;
            }
            for (seq, id, record) in &look.changes {
                let is_news = match record {
                    Some(record) => memory.state.take(id, record.clone()),
                    None => memory.state.forget(id),
                };
                if is_news {
                    differ.push(id.clone());
                }
                memory.state.position.seq = *seq;
            }
        }
        // What this node has changed itself comes back here, and is kept already.
        if !differ.is_empty() {
            self.keep(&differ).await;
            self.tell(News::Changed(differ));
        }
    }

    fn be_back(&self) {
        let mut memory = self.memory();
        let Some(away) = memory.away.take() else {
            return;
        };
        let away_for = away.since.elapsed();
        memory.back = Some(Back {
            since: Instant::now(),
            away_for,
        });
        drop(memory);
        tracing::info!("the registry is back after {away_for:.1?}");
        self.tell(News::Back);
    }

    /// Hands on what app hosts have said. That it cannot be read takes nothing from the registry
    /// itself: it is skipped, and app hosts say it again.
    async fn hear(&self, pace: &mut Pace) {
        let words = [
            pace.announced.clone(),
            AT_ONCE.to_string(),
            pace.memory_ms.to_owned(),
        ];
        match self.ask(&self.scripts.hear, &words, 1).await {
            Ok(entries) => {
                let heard = answers::heard(entries);
                pace.announced = heard.place;
                for words in heard.words {
                    self.tell(News::Announced(words));
                }
                pace.is_deaf = false;
            }
            Err(fault) => {
                if !pace.is_deaf {
                    tracing::error!("announcements are skipped: {}", fault.text);
                }
                pace.is_deaf = true;
                (pace.announced, pace.memory_ms) = (String::new(), "0");
            }
        }
    }

    /// Runs a script in this node's name.
    pub(super) async fn run<T: redis::FromRedisValue>(
        &self,
        script: &redis::Script,
        words: &[String],
        patience: u32,
    ) -> Result<T, RegistryError> {
        self.ask(script, words, patience)
            .await
            .map_err(|fault| self.failed(fault))
    }

    /// As [`Self::run`], for verbs that read the fault themselves.
    pub(super) async fn ask<T: redis::FromRedisValue>(
        &self,
        script: &redis::Script,
        words: &[String],
        patience: u32,
    ) -> Result<T, Fault> {
        let own = [&self.node, &self.token];
        let words = own
            .into_iter()
            .chain(words)
            .map(|word| word.as_bytes().to_vec());
        self.link
            .run(script, &words.collect::<Vec<_>>(), patience)
            .await
    }
}

/// Whether the changes go on where this node is, without a gap.
fn follows(look: &Look, known: u64) -> bool {
    let numbers = look.changes.iter().map(|(number, ..)| *number);
    let is_contiguous = numbers.eq(known + 1..=known + look.changes.len() as u64);
    let is_all = look.changes.len() == AT_ONCE || look.seq == known + look.changes.len() as u64;
    is_contiguous && is_all
}
