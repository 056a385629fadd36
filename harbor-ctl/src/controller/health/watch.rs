//! The loop that probes: follows the controller's services, begins what is due, hands on what changed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    task::{JoinError, JoinSet},
    time::MissedTickBehavior,
};

use super::{
    Seen,
    passive::{Ear, Told},
};
use crate::{
    controller::handle::Handle,
    health::{Change, Fault, Key, Schedule, probe},
    model::HealthRule,
    registry::Registry,
};

/// How often the loop looks at what is due.
const TICK: Duration = Duration::from_millis(100);
/// How often it looks at what has changed, which costs a look at every service.
const FOLLOW: Duration = Duration::from_millis(400);

/// A probe that has ended.
struct Answer {
    key: Key,
    rule: Arc<HealthRule>,
    begun: Instant,
    sight: Result<(), Fault>,
}

/// Probes for ever.
pub(crate) async fn run<R: Registry>(handle: Handle<R>) {
    let mut watch = Watch {
        handle,
        schedule: Schedule::new(Instant::now()),
        probes: JoinSet::new(),
        ear: Ear::new(Instant::now()),
        seen: Seen::default(),
        next_follow: Instant::now(),
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
            Some(told) = watch.ear.asked.join_next() => {
                watch.told(told).await;
                Vec::new()
            }
        };
        if !changes.is_empty() {
            watch.handle.lock().await.judged(changes).await;
        }
    }
}

struct Watch<R> {
    handle: Handle<R>,
    schedule: Schedule,
    probes: JoinSet<Answer>,
    /// What clients' flows meet.
    ear: Ear,
    seen: Seen,
    next_follow: Instant,
}

impl<R: Registry> Watch<R> {
    /// Follows what has changed and begins what is due.
    async fn tick(&mut self) -> Vec<Change> {
        let now = Instant::now();
        let mut controller = self.handle.lock().await;
        let mut changes = Vec::new();
        if now >= self.next_follow {
            self.next_follow = now + FOLLOW;
            let changed = controller.changed(&mut self.seen);
            if !changed.is_empty() {
                changes = controller.forgotten();
            }
            for (service, targets) in changed {
                self.schedule.follow(&service, targets, now);
            }
        }
        controller.health.summary = self.schedule.summary(now);
        controller.record_health().await;
        for key in self.ear.listen(&controller, now) {
            self.schedule.hurry(&key, now);
        }
        let rate = controller.running.config.health.rate;
        drop(controller);
        for (key, rule) in self.schedule.begin(rate, now) {
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
        self.schedule
            .note((key, rule), sight, times, rand::random::<f64>())
    }

    /// Takes in what a suspect has answered.
    async fn told(&mut self, told: Result<Told, JoinError>) {
        match told {
            Ok(told) => {
                let controller = self.handle.lock().await;
                self.ear.judge(&controller, &told, Instant::now());
            }
            Err(error) => tracing::error!("a question has ended without an answer: {error}"),
        }
    }
}
