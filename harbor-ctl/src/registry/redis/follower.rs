//! Following the registry: a look at the change stream many times a second, a heartbeat, and a
//! snapshot at the start, after a gap, in a new incarnation, and every minute.
//!
//! The looks are scripts, so that a value is measured before it travels; a blocking read would
//! carry whatever somebody has put into the stream.

use std::{
    net::IpAddr,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{
    super::RegistryError,
    Engine, NEWS, SCHEMA,
    answers::{self, Heard, Look},
    connection::Fault,
};
use crate::registry::watch::{Back, News};

const LOOK: Duration = Duration::from_millis(50);
const BEAT: Duration = Duration::from_millis(500);
const SNAPSHOT: Duration = Duration::from_secs(60);
/// How many changes, and announcements, one look brings.
const AT_ONCE: usize = 200;
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
    journal: Instant,
    /// The last announcement heard; empty: none yet.
    announced: String,
    /// How often the server was connected to when everything was compared last.
    connections: u64,
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
    let connections = engine.link.connections();
    tokio::spawn(run(Arc::downgrade(engine), connections));
    receiver
}

/// Says that this node lives from the moment it has joined: until it follows, a start takes seconds.
pub(super) fn live(engine: &Arc<Engine>) {
    // Not the engine itself: whoever lets go of that may open its journal again.
    let (link, scripts) = (Arc::clone(&engine.link), Arc::clone(&engine.scripts));
    let words = [&engine.node, &engine.token].map(|word| word.as_bytes().to_vec());
    let engine = Arc::downgrade(engine);
    let is_needed = move || engine.upgrade().is_some_and(|engine| !engine.is_followed());
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(BEAT);
        ticks.tick().await;
        while is_needed() {
            // What goes wrong is found by whoever follows, or asks for a change.
            let _ = link.run::<Vec<String>>(&scripts.beat, &words, 1).await;
            ticks.tick().await;
        }
    });
}

async fn run(engine: Weak<Engine>, connections: u64) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut pace = Pace {
        beat: None,
        snapshot: Instant::now(),
        journal: Instant::now(),
        announced: String::new(),
        connections,
        memory_ms: MEMORY_MS,
        is_deaf: false,
    };
    loop {
        ticks.tick().await;
        let Some(engine) = engine.upgrade().filter(|engine| !engine.memory().has_left) else {
            return;
        };
        if pace.journal.elapsed() >= BEAT {
            pace.journal = Instant::now();
            engine.look_at_journal().await;
        }
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
        let mut look = self.look(pace).await?;
        let (position, was_away) = {
            let memory = self.memory();
            (memory.state.position.clone(), memory.away.is_some())
        };
        let is_taken_back = self.keep_node(&look, was_away, pace).await?;
        let is_new = look.incarnation != position.incarnation || look.seq < position.seq;
        let is_whole = follows(&look, position.seq);
        // Behind a new connection may be the same server as it was some time ago.
        let connections = self.link.connections();
        let is_reached_anew = pace.connections != connections;
        if is_new
            || was_away
            || is_taken_back
            || is_reached_anew
            || !is_whole
            || pace.snapshot.elapsed() >= SNAPSHOT
        {
            (pace.snapshot, pace.connections) = (Instant::now(), connections);
            if is_new {
                // What was heard was looked for where another incarnation was.
                (pace.announced, pace.memory_ms) = (String::new(), MEMORY_MS);
                look.heard = Ok(Heard::default());
            }
            self.synchronise().await?;
        } else if look.pools != self.memory().state.pools_seq {
            self.synchronise_pools(false).await?;
        } else if !look.changes.is_empty() {
            self.take_changes(&look, own_changes).await;
        }
        if was_away {
            self.be_back();
        }
        self.hear(look.heard, pace);
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

    async fn look(&self, pace: &Pace) -> Result<Look, RegistryError> {
        let seq = self.memory().state.position.seq;
        let words = [
            seq.to_string(),
            AT_ONCE.to_string(),
            pace.announced.clone(),
            pace.memory_ms.to_owned(),
        ];
        let answer = self.run(&self.scripts.look, &words, 1).await?;
        Ok(self.with_rules(|rules| answers::look(answer, rules)))
    }

    /// Says that this node lives; finds out at the same time whether the server takes changes.
    async fn beat(&self, look: &Look) -> Result<(), RegistryError> {
        if look.token.is_empty() {
            // It is joined again, below or by the snapshot.
            return self.join().await.map(drop);
        }
        let words = self.said_of_pools();
        let kept: Vec<String> = self.run(&self.scripts.beat, &words, 1).await?;
        self.memory().kept_pools = kept.into_iter().collect();
        Ok(())
    }

    /// Joins; answers the incarnation.
    pub(super) async fn join(&self) -> Result<String, RegistryError> {
        // More than these no peer needs to know; the field has its limit in the script.
        let own = self.memory().rule.own.clone();
        let own = own.iter().filter(|address| is_global(address)).take(16);
        let own: Vec<String> = own.map(ToString::to_string).collect();
        let facts = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"), "addresses": own, "sync": self.sync,
        });
        let facts = facts.to_string();
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
                    None => {
                        let (is_news, oldest) = memory.state.delete(id);
                        differ.extend(oldest);
                        is_news
                    }
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
    fn hear(&self, heard: Result<Heard, String>, pace: &mut Pace) {
        match heard {
            Ok(heard) => {
                if !heard.place.is_empty() {
                    pace.announced = heard.place;
                }
                for words in heard.words {
                    self.tell(News::Announced(words));
                }
                pace.is_deaf = false;
            }
            Err(why) => {
                if !pace.is_deaf {
                    tracing::error!("announcements are skipped: {why}");
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

/// Whether another host may know an address.
fn is_global(address: &IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !address.is_loopback() && !is_link_local
}

/// Whether the changes go on where this node is, without a gap.
fn follows(look: &Look, known: u64) -> bool {
    let numbers = look.changes.iter().map(|(number, ..)| *number);
    let is_contiguous = numbers.eq(known + 1..=known + look.changes.len() as u64);
    let is_all = look.changes.len() == AT_ONCE || look.seq == known + look.changes.len() as u64;
    is_contiguous && is_all
}
