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
    /// Flows that the tables have no room for, at the end of the last way through.
    pub(super) without_room: u64,
}

/// What one way through the tables has found.
#[derive(Debug, Default)]
pub(super) struct Way {
    pub(super) fresh: u64,
    pub(super) without_room: u64,
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
            without_room: 0,
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
        if found.without_room > 0 && self.without_room == 0 {
            tracing::warn!(
                flows = found.without_room,
                "the flow table has no room for all flows: the program that served before serves the rest \
                 until they end"
            );
        }
        self.without_room = found.without_room;
        if found.without_room > 0 {
            self.not_before = Instant::now() + PAUSE;
        }
        found
    }
}
