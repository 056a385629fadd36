//! Goes through the flow tables, to end what is over and what somebody wants ended.
//!
//! A table may hold millions of flows. So this is done in turns of some milliseconds, and between two of
//! them the thread does whatever else it is asked for: nobody's change waits for a whole table.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{Forwarder, ROUND};
use crate::{
    datapath::{DatapathError, Judgement, Pass, thread_time},
    forwarding::kernel::Answer,
    model::{FlowEnds, FlowFilter},
    reconcile::{Acl, FrontendKey},
};

/// How long a turn is; one step at least.
const TURN: Duration = Duration::from_millis(10);
/// Sweeps may take this part of a processor's time: one in twenty. By the clock, a sweep takes longer the busier
/// the machine is, and the next would come the later.
const SHARE: u32 = 20;

/// A sweep that is under way.
#[derive(Debug, Default)]
pub(super) struct Sweeping {
    pass: Pass,
    /// `None` = what flows are judged by may have changed since they were last.
    judgement: Option<Judgement>,
    /// Of the processor.
    took: Duration,
    /// Who has ended how many flows, and shall see what the table holds without them.
    told_then: Vec<(Answer<u64>, u64)>,
}

/// Flows that are being ended, and how far that has come.
#[derive(Debug)]
pub(super) struct Ending {
    those: Those,
    pass: Pass,
}

/// Which flows are to end.
#[derive(Debug)]
pub(super) enum Those {
    /// Those that somebody has named, who waits for it.
    Named(FlowFilter, Answer<u64>),
    /// Those of clients that the lists of these frontends no longer allow, as the lists are by then.
    Denied(BTreeSet<FrontendKey>),
    /// None: somebody waits for all before.
    None(Answer<()>),
}

impl Ending {
    pub(super) fn of(those: Those) -> Self {
        Self {
            those,
            pass: Pass::default(),
        }
    }
}

impl Ending {
    /// Whoever waits may have gone.
    fn fail(self, error: DatapathError) {
        match self.those {
            Those::Named(_, answer) => drop(answer.send(Err(error.into()))),
            Those::None(answer) => drop(answer.send(Err(error.into()))),
            Those::Denied(_) => {
                tracing::error!("flows of clients that are not allowed have not ended: {error}");
            }
        }
    }
}

impl Forwarder {
    /// Whether there is more to go through at once.
    pub(super) fn is_amid_flows(&self) -> bool {
        self.sweeping.is_some() || !self.endings.is_empty()
    }

    /// One turn of what is wanted, or of a sweep that is due.
    pub(super) fn go_through_flows(&mut self) {
        let begun = Instant::now();
        while self.is_amid_flows() || Instant::now() >= self.next_sweep {
            match self.endings.pop_front() {
                Some(ending) => self.end_on(ending),
                None => self.sweep_on(),
            }
            if begun.elapsed() >= TURN {
                return;
            }
        }
    }

    /// What flows are judged by has changed.
    pub(super) fn judge_anew(&mut self) {
        if let Some(sweeping) = &mut self.sweeping {
            sweeping.judgement = None;
        }
    }

    fn end_on(&mut self, mut ending: Ending) {
        let done = match &ending.those {
            Those::Named(filter, _) => {
                let is_named = |ends: &_, _| filter.holds(ends);
                self.flows
                    .end_now(&mut self.datapath, is_named, &mut ending.pass)
            }
            Those::Denied(frontends) => {
                let actual = &self.mirror.actual;
                let lists = frontends.iter().filter_map(|key| {
                    let (frontend, sets) = actual.frontends.get(key)?;
                    let limits = sets[0].limits;
                    Some((
                        frontend.slot,
                        (actual.acls.get(&limits.acl)?, limits.acl_default),
                    ))
                });
                let lists: BTreeMap<u32, (&Acl, u32)> = lists.collect();
                let is_denied = |ends: &FlowEnds, slot| {
                    let list = lists.get(&slot);
                    list.is_some_and(|(acl, default)| !acl.allows(ends.client.ip(), *default))
                };
                self.flows
                    .end_now(&mut self.datapath, is_denied, &mut ending.pass)
            }
            Those::None(_) => Ok(()),
        };
        let is_at_end = ending.pass.is_at_end() || matches!(ending.those, Those::None(_));
        match done {
            Ok(()) if !is_at_end => self.endings.push_front(ending),
            Ok(()) => self.ended(ending),
            Err(error) => ending.fail(error),
        }
    }

    fn ended(&mut self, ending: Ending) {
        let ended = ending.pass.sweep.ended;
        match ending.those {
            Those::Named(_, answer) => {
                // What a sweep that is under way has counted is no longer so.
                let last = self.sweeping.take().unwrap_or_default();
                let mut told_then = last.told_then;
                told_then.push((answer, ended));
                self.sweeping = Some(Sweeping {
                    told_then,
                    ..Sweeping::default()
                });
            }
            Those::Denied(_) if ended > 0 => tracing::info!(
                flows = ended,
                "flows of clients that are not allowed have ended"
            ),
            Those::Denied(_) => {}
            Those::None(answer) => drop(answer.send(Ok(()))),
        }
    }

    fn sweep_on(&mut self) {
        let begun = thread_time();
        let mut sweeping = self.sweeping.take().unwrap_or_default();
        let judgement = match sweeping.judgement.take() {
            Some(judgement) => judgement,
            None => self.judgement(),
        };
        let pass = &mut sweeping.pass;
        let done = self.flows.sweep(&mut self.datapath, &judgement, pass);
        sweeping.judgement = Some(judgement);
        sweeping.took += thread_time().saturating_sub(begun);
        match done {
            Ok(()) if !sweeping.pass.is_at_end() => {
                self.sweeping = Some(sweeping);
                return;
            }
            Ok(()) => {
                self.sweep = sweeping.pass.sweep;
                if self.sweep.ended > 0 {
                    tracing::trace!(
                        flows = self.sweep.flows.iter().sum::<u64>(),
                        ended = self.sweep.ended,
                        "swept"
                    );
                }
                self.close_full_organizations();
            }
            Err(error) => tracing::error!("cannot sweep flows: {error}"),
        }
        for (answer, ended) in sweeping.told_then {
            // Whoever asked may have gone.
            let _ = answer.send(Ok(ended));
        }
        self.next_sweep = Instant::now() + ROUND.max(sweeping.took * SHARE);
    }

    fn judgement(&self) -> Judgement {
        let actual = &self.mirror.actual;
        let served = actual.frontends.values();
        let mut generations = Vec::new();
        for (slot, row) in actual.backends.values() {
            let place = *slot as usize;
            if generations.len() <= place {
                generations.resize(place + 1, 0);
            }
            generations[place] = row.generation;
        }
        Judgement {
            control: self.heart.control,
            idle_s: served
                .map(|(frontend, sets)| (frontend.slot, sets[0].limits.idle_s))
                .collect(),
            generations,
            pressure: self.pressure(),
        }
    }
}
