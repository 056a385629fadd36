//! The loop that probes: follows the owner's services, begins what is due, hands on what changed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::MissedTickBehavior};

use super::super::desk::Desk;
use crate::{
    health::{Change, Fault, Key, Roster, probe},
    model::HealthRule,
    registry::Registry,
};

/// How often the loop looks at what is due and at what has changed.
const TICK: Duration = Duration::from_millis(100);

/// A probe that has ended.
struct Answer {
    key: Key,
    rule: Arc<HealthRule>,
    begun: Instant,
    sight: Result<(), Fault>,
}

/// Probes for ever.
pub(in crate::agent) async fn run<R: Registry>(desk: Desk<R>) {
    let mut watch = Watch {
        desk,
        roster: Roster::new(Instant::now()),
        probes: JoinSet::new(),
        mark: None,
    };
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let changes = tokio::select! {
            _ = ticks.tick() => watch.tick().await,
            Some(ended) = watch.probes.join_next() => match ended {
                Ok(answer) => watch.answers(answer),
                Err(error) => {
                    tracing::error!("a probe has ended without an answer: {error}");
                    Vec::new()
                }
            },
        };
        if !changes.is_empty() {
            watch.desk.lock().await.judged(changes).await;
        }
    }
}

struct Watch<R> {
    desk: Desk<R>,
    roster: Roster,
    probes: JoinSet<Answer>,
    /// Of the owner's state that the roster follows.
    mark: Option<u64>,
}

impl<R: Registry> Watch<R> {
    /// Follows what has changed and begins what is due.
    async fn tick(&mut self) -> Vec<Change> {
        let now = Instant::now();
        let mut owner = self.desk.lock().await;
        let mark = owner.health_mark();
        let mut changes = Vec::new();
        if self.mark != Some(mark) {
            self.mark = Some(mark);
            self.roster.follow(owner.targets(), now);
            changes = owner.forgotten();
        }
        owner.health.summary = self.roster.summary(now);
        owner.record_health().await;
        let rate = owner.running.config.health.rate;
        drop(owner);
        for (key, rule) in self.roster.begin(rate, now) {
            self.probes.spawn(async move {
                let begun = Instant::now();
                let sight = probe(key.address, &rule).await;
                Answer {
                    key,
                    rule,
                    begun,
                    sight,
                }
            });
        }
        changes
    }

    /// Takes in this answer and all others that are there: what they change is in force together.
    fn answers(&mut self, first: Answer) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut next = Some(first);
        while let Some(answer) = next {
            changes.extend(self.note(&answer));
            next = self.probes.try_join_next().and_then(Result::ok);
        }
        changes
    }

    fn note(&mut self, answer: &Answer) -> Option<Change> {
        let Answer {
            key,
            rule,
            begun,
            sight,
        } = answer;
        if let Err(fault) = sight {
            let address = key.address;
            tracing::debug!(%address, kind = ?fault.kind, "probe failed: {}", fault.reason);
        }
        let times = (*begun, Instant::now());
        self.roster
            .note((key, rule), sight, times, rand::random::<f64>())
    }
}
