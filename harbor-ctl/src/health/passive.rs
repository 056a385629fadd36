//! What clients' flows show of a backend, and what is made of it: passive health. Pure.
//!
//! What one flow sees moves that flow and nobody else's. A backend is taken from others only when
//! what was seen is confirmed: this node asks the backend itself, or, where it cannot be asked, the
//! flows of two clients say the same, or the kernel does. A success of any client, or an answer, means
//! that nothing has happened. What is confirmed ejects the backend for 2 s, doubled each time it is
//! confirmed again; a backend that can be asked comes back when it answers.
//!
//! Evidence may come from either engine. Nothing here ejects more than half of a port's backends, or
//! the only one: clients go to the others all the same, and it is told that they are missed.

mod case;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use harbor_common::rules::{backoff, witnesses::Statement};

use super::judge::{Fault, FaultKind};
use crate::model::{Doubt, Evidence, Suspect};
use case::{Case, ROW, Stage};

/// Questions under way at once.
const CONCURRENT: usize = 64;
/// How many questions may begin at once after a pause, as a part of a second's.
const BURST: f64 = 0.2;
/// How long a backend may take that a client was not answered by for long enough already.
const FIRST_PATIENCE: Duration = Duration::from_millis(300);
/// How long one that is ejected may take: whoever answers a client after its second request is served.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long one that took longer than [`FIRST_PATIENCE`] is known to be far away.
const FAR: Duration = Duration::from_secs(600);
/// A backend that has answered is not asked again sooner, whatever clients say.
const REST: Duration = Duration::from_millis(500);
/// How long one counts as missed that cannot be asked.
const MISSED: Duration = Duration::from_secs(10);
/// When one is asked again that is missed and not ejected: clients are sent there meanwhile.
const AGAIN: Duration = Duration::from_secs(2);

/// What is known of a suspect's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    /// The backends of the suspect's family that take new flows, ejected ones among them.
    pub(crate) takers: Vec<SocketAddr>,
    /// Whether its backends can be asked: by TCP, or by a check of the port.
    pub(crate) can_ask: bool,
}

/// To be asked by this node itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) suspect: Suspect,
    /// How long the backend may take, where its port has no check that says so.
    pub(crate) patience: Duration,
}

/// A backend is taken from new flows, or given back to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) suspect: Suspect,
    pub(crate) kind: TurnKind,
    /// One line.
    pub(crate) reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TurnKind {
    Ejected(Doubt),
    Returned,
    /// It takes nobody, and nobody is there instead.
    Missed(Doubt),
    /// It does again.
    Found,
}

/// All suspects.
#[derive(Debug)]
pub(crate) struct Passive {
    cases: BTreeMap<Suspect, Case>,
    /// Who is to be asked, and when.
    due: BTreeSet<(Instant, Suspect)>,
    /// Questions under way.
    out: usize,
    budget: f64,
    filled_at: Instant,
}

impl Passive {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            cases: BTreeMap::new(),
            due: BTreeSet::new(),
            out: 0,
            budget: 0.0,
            filled_at: now,
        }
    }

    /// Takes in what was seen. `port` is the suspect's.
    pub(crate) fn hear(&mut self, evidence: &Evidence, port: &Port, now: Instant) -> Option<Turn> {
        let suspect = evidence.suspect;
        let doubt = match evidence.sight {
            Ok(()) => return self.clear(suspect, "a client's flow was taken", now),
            Err(doubt) => doubt,
        };
        let fresh = || Case::new(doubt, now);
        let case = self.cases.entry(suspect).or_insert_with(fresh);
        if case.is_ejected || matches!(case.stage, Stage::Asked | Stage::Void) {
            return None;
        }
        if !port.can_ask {
            let is_enough = case.witness(doubt, evidence.witness, now);
            return is_enough.then(|| self.confirm(suspect, doubt.reason(), port, now))?;
        }
        if case.stage == Stage::Quiet {
            case.doubt = doubt;
            let at = case.rests_until.max(now);
            self.plan(suspect, at);
        }
        None
    }

    /// The questions to begin now, at most so many a second.
    pub(crate) fn questions(&mut self, rate: u32, now: Instant) -> Vec<Question> {
        let rate = f64::from(rate);
        let elapsed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.filled_at = now;
        self.budget = (self.budget + elapsed * rate).min((rate * BURST).max(1.0));
        let mut questions = Vec::new();
        while self.budget >= 1.0
            && self.out < CONCURRENT
            && let Some(first) = self.due.first().copied().filter(|(at, _)| *at <= now)
        {
            self.due.remove(&first);
            let suspect = first.1;
            let Some(case) = self.cases.get_mut(&suspect) else {
                continue;
            };
            case.stage = Stage::Asked;
            self.out += 1;
            self.budget -= 1.0;
            let is_far = case.is_far_until > now;
            let has_waited = case.doubt == Doubt::Silent && !case.is_ejected && !is_far;
            let patience = if has_waited { FIRST_PATIENCE } else { PATIENCE };
            questions.push(Question { suspect, patience });
        }
        questions
    }

    /// Takes in how long an answer has taken.
    pub(crate) fn note_distance(&mut self, suspect: Suspect, took: Duration, now: Instant) {
        let far = self
            .cases
            .get_mut(&suspect)
            .filter(|_| took > FIRST_PATIENCE);
        if let Some(case) = far {
            case.is_far_until = now + FAR;
        }
    }

    /// Takes in the answer to a question. What clients saw until then must have been heard before.
    pub(crate) fn answer(
        &mut self,
        suspect: Suspect,
        sight: &Result<(), Fault>,
        port: &Port,
        now: Instant,
    ) -> Option<Turn> {
        self.out = self.out.saturating_sub(1);
        let case = self.cases.get_mut(&suspect)?;
        let is_void = case.stage == Stage::Void;
        case.stage = Stage::Quiet;
        match sight {
            _ if is_void => None,
            Ok(()) => self.clear(suspect, "it answers this node", now),
            Err(fault) if fault.kind == FaultKind::Own => {
                // Whoever is ejected stays so until there is an answer.
                case.rests_until = now + REST;
                let is_out = case.is_ejected || case.is_missed;
                let at = is_out.then_some(case.rests_until);
                at.into_iter().for_each(|at| self.plan(suspect, at));
                None
            }
            Err(fault) => {
                let reason = format!("{}; this node: {}", case.doubt.reason(), fault.reason);
                self.confirm(suspect, &reason, port, now)
            }
        }
    }

    /// Gives back whose time is over or who may be ejected no longer, and forgets old cases.
    pub(crate) fn look(
        &mut self,
        port: impl Fn(&Suspect) -> Option<Port>,
        now: Instant,
    ) -> Vec<Turn> {
        let suspects: Vec<Suspect> = self.cases.keys().copied().collect();
        let look = |suspect: Suspect| {
            let port = port(&suspect).filter(|port| port.takers.contains(&suspect.address));
            let case = self.cases.get(&suspect)?;
            let reason = match &port {
                None => Some("it takes no new flows"),
                Some(port) if case.is_ejected && self.room(&suspect, port) < 0 => {
                    Some("too few others are left")
                }
                Some(_) if matches!(case.stage, Stage::Until(end) if end <= now) => {
                    Some("its time is over")
                }
                Some(_) => None,
            };
            let turn = reason.and_then(|reason| self.give_back(suspect, reason));
            let case = self.cases.get(&suspect)?;
            if case.stage == Stage::Quiet && (port.is_none() || case.is_over(now)) {
                self.cases.remove(&suspect);
            }
            turn
        };
        suspects.into_iter().filter_map(look).collect()
    }

    /// Gives everybody back and forgets what is held against them.
    pub(crate) fn end(&mut self, reason: &str, now: Instant) -> Vec<Turn> {
        let all: Vec<Suspect> = self.cases.keys().copied().collect();
        let clear = |suspect| self.clear(suspect, reason, now);
        all.into_iter().filter_map(clear).collect()
    }

    fn plan(&mut self, suspect: Suspect, at: Instant) {
        if let Some(case) = self.cases.get_mut(&suspect) {
            case.stage = Stage::Due(at);
            self.due.insert((at, suspect));
        }
    }

    /// It is so: ejects the backend if it may, or keeps it ejected.
    fn confirm(
        &mut self,
        suspect: Suspect,
        reason: &str,
        port: &Port,
        now: Instant,
    ) -> Option<Turn> {
        let room = self.room(&suspect, port);
        let case = self.cases.get_mut(&suspect)?;
        case.statement = Statement::NONE;
        if !case.is_ejected && room < 1 {
            return self.miss(suspect, reason, port, now);
        }
        case.is_missed = false;
        if now > case.confirmed_at + ROW {
            case.failures = 0;
        }
        let until = now + Duration::from_nanos(backoff::length_ns(case.failures));
        (case.failures, case.confirmed_at) = (backoff::next(case.failures), now);
        let (was_ejected, kind) = (case.is_ejected, TurnKind::Ejected(case.doubt));
        case.is_ejected = true;
        match port.can_ask {
            true => self.plan(suspect, until),
            false => case.stage = Stage::Until(until),
        }
        (!was_ejected).then(|| Turn {
            suspect,
            kind,
            reason: reason.to_owned(),
        })
    }

    /// It is so, and the backend stays: whoever looks is told.
    fn miss(&mut self, suspect: Suspect, reason: &str, port: &Port, now: Instant) -> Option<Turn> {
        let case = self.cases.get_mut(&suspect)?;
        case.rests_until = now + REST;
        let was_missed = std::mem::replace(&mut case.is_missed, true);
        let kind = TurnKind::Missed(case.doubt);
        match port.can_ask {
            true => self.plan(suspect, now + AGAIN),
            false => case.stage = Stage::Until(now + MISSED),
        }
        (!was_missed).then(|| Turn {
            suspect,
            kind,
            reason: reason.to_owned(),
        })
    }

    /// How many more of a port's backends may be ejected; below 0: so many are too many.
    fn room(&self, suspect: &Suspect, port: &Port) -> isize {
        let first = Suspect {
            address: (Ipv4Addr::UNSPECIFIED, 0).into(),
            ..*suspect
        };
        let is_same =
            |other: &Suspect| (other.protocol, other.port) == (suspect.protocol, suspect.port);
        let own = self.cases.range(first..);
        let own = own.take_while(|(other, _)| is_same(other));
        let ejected =
            own.filter(|(other, case)| case.is_ejected && port.takers.contains(&other.address));
        (port.takers.len() / 2).cast_signed() - ejected.count().cast_signed()
    }

    /// Nothing has happened, or it is over.
    fn clear(&mut self, suspect: Suspect, reason: &str, now: Instant) -> Option<Turn> {
        let turn = self.give_back(suspect, reason);
        let case = self.cases.get_mut(&suspect)?;
        (case.failures, case.rests_until) = (0, now + REST);
        turn
    }

    /// Whatever is planned for it is not to happen.
    fn give_back(&mut self, suspect: Suspect, reason: &str) -> Option<Turn> {
        let case = self.cases.get_mut(&suspect)?;
        case.statement = Statement::NONE;
        case.stage = match case.stage {
            Stage::Asked | Stage::Void => Stage::Void,
            Stage::Due(at) => {
                self.due.remove(&(at, suspect));
                Stage::Quiet
            }
            Stage::Quiet | Stage::Until(_) => Stage::Quiet,
        };
        let was_ejected = std::mem::take(&mut case.is_ejected);
        let was_missed = std::mem::take(&mut case.is_missed);
        let kind = match was_ejected {
            true => TurnKind::Returned,
            false => TurnKind::Found,
        };
        (was_ejected || was_missed).then(|| Turn {
            suspect,
            kind,
            reason: reason.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests;
