//! What is taken over of a program that served before, and how far that is.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use harbor_common::{addr::Ipv4, adoption::Adoption, flow::Flow};

use crate::datapath::{Datapath, DatapathError, FormerFlows, FormerKey, FormerPlace};

/// Before what had no room is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// What is taken over, and how far that is.
pub(super) struct TakingOver {
    pub(super) flows: FormerFlows,
    pub(super) place: FormerPlace,
    /// Ways through the tables since new flows began where they do.
    pub(super) ways: u32,
    /// Of this way through.
    pub(super) now: Way,
    /// The words of each flow that was looked at, by its cookie: of its two entries.
    pub(super) seen: HashMap<u64, (u64, u64)>,
    pub(super) begun: Instant,
    pub(super) not_before: Instant,
    /// What the last way through has found.
    last: Way,
    /// Why the last step has failed.
    pub(super) failed: Option<String>,
}

/// What one way through the tables has found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Way {
    pub(super) fresh: u64,
    /// Flows that the tables have no room for.
    pub(super) without_room: u64,
    /// Flows of ports that are not known, where none is.
    pub(super) unknown: u64,
}

impl Way {
    /// Whether nothing keeps the former program needed but flows that are not here yet.
    pub(super) fn is_settled(&self) -> bool {
        [self.without_room, self.unknown] == [0; 2]
    }
}

impl TakingOver {
    /// What a datapath that was just loaded is to take over.
    pub(super) fn of(datapath: &Datapath) -> Result<Option<Self>, DatapathError> {
        let Some(former) = datapath.former() else {
            return Ok(None);
        };
        let now = Instant::now();
        let place = former.pins.version();
        tracing::info!("taking over the flows under {}", place.display());
        Ok(Some(Self {
            flows: former.flows()?,
            place: FormerPlace::default(),
            ways: 0,
            now: Way::default(),
            seen: HashMap::new(),
            begun: now,
            not_before: now,
            last: Way::default(),
            failed: None,
        }))
    }

    /// The next flows that were not looked at, or that may have changed since: one that is over does not,
    /// and one that is young may have without its forward entry.
    pub(super) fn next(&mut self) -> Result<Vec<FormerKey>, DatapathError> {
        let seen = &self.seen;
        self.flows.step(&mut self.place, |word| {
            let last = seen.get(&Flow::<Ipv4>::cookie(word));
            last.is_none_or(|(forward, reply)| *forward != word || *reply & Flow::<Ipv4>::LIVE == 0)
        })
    }

    pub(super) fn note(&mut self, flows: &[Adoption]) {
        for flow in flows {
            let words = (flow.word, flow.reply_bits);
            let cookie = Flow::<Ipv4>::cookie(flow.word);
            let is_fresh = self.seen.insert(cookie, words).is_none();
            self.now.fresh += u64::from(is_fresh);
        }
    }

    /// Begins the next way through; what the last one has found.
    pub(super) fn turn(&mut self) -> Way {
        let found = std::mem::take(&mut self.now);
        self.place = FormerPlace::default();
        self.ways += 1;
        if !found.is_settled() {
            self.not_before = Instant::now() + PAUSE;
        }
        let before = self.problem();
        self.last = found;
        if let Some(problem) = self.problem().filter(|_| before.is_none()) {
            tracing::warn!("{problem}");
        }
        found
    }

    /// Why the former program is needed for longer than it takes.
    pub(super) fn problem(&self) -> Option<String> {
        let Way {
            without_room,
            unknown,
            ..
        } = self.last;
        if let Some(why) = &self.failed {
            return Some(format!(
                "flows of the program that served before wait: {why}"
            ));
        }
        if unknown > 0 {
            return Some(format!(
                "{unknown} flows are of ports that the registry does not have; the program that served before \
                 serves them: harbor-ctl state check"
            ));
        }
        (without_room > 0).then(|| {
            format!(
                "the flow table has no room for {without_room} flows of the one before, whose program serves \
                 them until they end: raise datapath.flows and restart"
            )
        })
    }
}
