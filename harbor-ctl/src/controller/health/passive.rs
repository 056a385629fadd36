//! Passive health as the agent runs it: hands evidence to the judge, asks whom it wants asked, and
//! puts what it decides in force.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    controller::Controller,
    health::{Fault, FaultKind, Key, Passive, Port, Question, Turn, TurnKind, probe},
    model::{
        BackendState, EventKind, Evidence, HealthCheck, HealthRule, Protocol, Service, StatusRange,
        Suspect, backend_event, takers,
    },
    registry::Registry,
};

/// An answer to a question.
pub(super) struct Told {
    suspect: Suspect,
    sight: Result<(), Fault>,
    took: Duration,
}

/// The judge, and the questions that are under way.
pub(super) struct Ear {
    passive: Passive,
    pub(super) asked: JoinSet<Told>,
}

impl Ear {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            passive: Passive::new(now),
            asked: JoinSet::new(),
        }
    }

    /// Hears what flows have met, ends what is over, and begins the questions that are due. Answers
    /// with the backends that a probe should look at now.
    pub(super) fn listen<R: Registry>(
        &mut self,
        controller: &Controller<R>,
        now: Instant,
    ) -> Vec<Key> {
        let evidence = controller.engines.evidence();
        if !controller.running.config.is_passive_on {
            controller.turned(self.passive.end("passive health is off", now));
            return doubted(controller, &evidence);
        }
        let turns = self.hear(controller, &evidence, now);
        controller.turned(turns);
        controller.turned(
            self.passive
                .look(|suspect| controller.port_of(suspect), now),
        );
        let rate = controller.running.config.health.rate;
        for question in self.passive.questions(rate, now) {
            let rule = controller.rule_of(&question.suspect);
            self.asked.spawn(ask(question, rule));
        }
        doubted(controller, &evidence)
    }

    /// Takes in an answer. What flows have met until now comes first: a success outweighs it.
    pub(super) fn judge<R: Registry>(
        &mut self,
        controller: &Controller<R>,
        told: &Told,
        now: Instant,
    ) {
        let turns = self.hear(controller, &controller.engines.evidence(), now);
        controller.turned(turns);
        let port = controller.port_of(&told.suspect).unwrap_or(Port {
            takers: Vec::new(),
            can_ask: true,
        });
        if told.sight.is_ok() {
            self.passive.note_distance(told.suspect, told.took, now);
        }
        let turn = self.passive.answer(told.suspect, &told.sight, &port, now);
        controller.turned(turn);
    }

    fn hear<R: Registry>(
        &mut self,
        controller: &Controller<R>,
        evidence: &[Evidence],
        now: Instant,
    ) -> Vec<Turn> {
        // A refusing port under load gives the same evidence thousands of times.
        let mut ports: HashMap<(Protocol, u16), Option<Port>> = HashMap::new();
        let hear = |evidence: &Evidence| {
            let suspect = &evidence.suspect;
            let port = ports.entry((suspect.protocol, suspect.port));
            let port = port
                .or_insert_with(|| controller.port_of(suspect))
                .as_ref()?;
            self.passive.hear(evidence, port, now)
        };
        evidence.iter().filter_map(hear).collect()
    }
}

/// Whom probes should look at now, each once.
fn doubted<R: Registry>(controller: &Controller<R>, evidence: &[Evidence]) -> Vec<Key> {
    let doubts = evidence.iter().filter(|evidence| evidence.sight.is_err());
    let mut suspects: Vec<Suspect> = doubts.map(|evidence| evidence.suspect).collect();
    suspects.sort_unstable();
    suspects.dedup();
    let key = |suspect: &Suspect| {
        Some(Key {
            service: controller.suspected(suspect)?.id.as_str().into(),
            address: suspect.address,
        })
    };
    suspects.iter().filter_map(key).collect()
}

/// Asks a backend as a client would reach it: whether it takes a connection, or by the port's check.
async fn ask(question: Question, rule: Option<HealthRule>) -> Told {
    let Question { suspect, patience } = question;
    let begun = Instant::now();
    let sight = match rule {
        Some(rule) => probe(suspect.address, &rule).await,
        None => {
            let rule = connect_rule();
            let asked = tokio::time::timeout(patience, twice(suspect.address, &rule, patience));
            asked.await.unwrap_or_else(|_| {
                let text = format!("no answer within {} ms", patience.as_millis());
                Err(Fault::new(FaultKind::Silent, text))
            })
        }
    };
    Told {
        suspect,
        sight,
        took: begun.elapsed(),
    }
}

/// Asks, and half-way through the patience once more: one request that is lost is no silence.
async fn twice(address: SocketAddr, rule: &HealthRule, patience: Duration) -> Result<(), Fault> {
    let again = async {
        tokio::time::sleep(patience / 2).await;
        probe(address, rule).await
    };
    tokio::select! {
        sight = probe(address, rule) => sight,
        sight = again => sight,
    }
}

fn connect_rule() -> HealthRule {
    HealthRule {
        check: HealthCheck::Tcp,
        port: 0,
        status: StatusRange::default(),
        interval: Duration::ZERO,
        timeout: Duration::from_secs(5),
        rise: 1,
        fall: 1,
    }
}

impl<R: Registry> Controller<R> {
    /// The service that a suspect belongs to.
    fn suspected(&self, suspect: &Suspect) -> Option<&Service> {
        self.served_here().find(|service| {
            service.port == suspect.port && service.protocols.contains(suspect.protocol)
        })
    }

    /// What the judge needs to know of a suspect's port.
    fn port_of(&self, suspect: &Suspect) -> Option<Port> {
        let service = self.suspected(suspect)?;
        let there = service.backends.iter();
        let there: Vec<_> = there
            .filter(|backend| backend.state != BackendState::Removed && !service.draining)
            .collect();
        let health = &self.running.config.health;
        let takers = takers(&there, health.all_down).into_iter();
        Some(Port {
            takers: takers
                .map(|backend| backend.address)
                .filter(|address| address.is_ipv4() == suspect.address.is_ipv4())
                .collect(),
            can_ask: suspect.protocol == Protocol::Tcp || HealthRule::of(service, health).is_some(),
        })
    }

    /// How a suspect is asked; `None`: by a connection.
    fn rule_of(&self, suspect: &Suspect) -> Option<HealthRule> {
        match suspect.protocol {
            Protocol::Tcp => None,
            Protocol::Udp => HealthRule::of(self.suspected(suspect)?, &self.running.config.health),
        }
    }

    /// Puts in force what was decided, and tells of it.
    fn turned(&self, turns: impl IntoIterator<Item = Turn>) {
        for turn in turns {
            let Turn {
                suspect,
                kind,
                reason,
            } = turn;
            let address = suspect.address;
            let (event, doubt, text) = match kind {
                TurnKind::Ejected(doubt) => {
                    let text = format!("backend {address} is ejected: {reason}");
                    (EventKind::BackendEjected, Some(doubt), text)
                }
                TurnKind::Returned => {
                    let text = format!("backend {address} is ejected no longer: {reason}");
                    (EventKind::BackendReturned, None, text)
                }
                TurnKind::Missed(doubt) => {
                    let text = format!(
                        "backend {address} takes nobody, and too few others are there: {reason}"
                    );
                    (EventKind::BackendFailing, Some(doubt), text)
                }
                TurnKind::Found => {
                    let text = format!("backend {address} is there again: {reason}");
                    (EventKind::BackendRecovered, None, text)
                }
            };
            let is_ejected = matches!(kind, TurnKind::Ejected(_));
            self.engines.eject(&suspect, doubt.filter(|_| is_ejected));
            self.engines.miss(&suspect, doubt.filter(|_| !is_ejected));
            let Some(service) = self.suspected(&suspect) else {
                continue;
            };
            let (name, port) = (&service.name, service.port);
            match doubt {
                Some(_) => {
                    if is_ejected {
                        self.meters.ejected(&service.id);
                    }
                    tracing::warn!(name, port, "{text}");
                }
                None => tracing::info!(name, port, "{text}"),
            }
            let mut backends = service.backends.iter();
            if let Some(backend) = backends.find(|backend| backend.address == address) {
                let happening = backend_event(event, service, backend, text);
                self.told.log.tell(happening);
            }
        }
    }
}
