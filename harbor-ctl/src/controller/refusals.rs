//! What app hosts said and was refused: told once, and shown in `status` until it is put right.
//!
//! Over Redis nobody is answered, and everything is said again with each heartbeat: an event and a
//! line in the log come with the first time, and again only when the reason is another.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{Controller, announcements::Extent};
use crate::{
    api::RefusedInstance,
    discovery::Instance,
    model::{EventKind, Refusal, Subject},
    registry::Registry,
    views::facts::RefusedAnnouncements,
};

/// What nobody says again within this time is not shown any more.
const MEMORY: Duration = Duration::from_secs(60);
/// The most entries that are known by name; more are counted.
const LIMIT: usize = 1_000;

/// An entry that was refused, and why.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) said: Instance,
    pub(super) refusal: Refusal,
}

impl Refused {
    pub(super) fn new(said: &Instance, refusal: Refusal) -> Self {
        let said = said.clone();
        Self { said, refusal }
    }

    /// As the app host is told.
    pub(super) fn told(self) -> RefusedInstance {
        RefusedInstance::new(&self.said, self.refusal)
    }
}

/// What was refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    dea: String,
    /// Service, in the app host's words, and instance; `None`: the whole document.
    instance: Option<(String, String)>,
}

impl Entry {
    pub(super) fn of(dea: &str, said: &Instance) -> Self {
        Self {
            dea: dea.to_owned(),
            instance: Some((said.service.clone(), said.instance.clone())),
        }
    }

    pub(super) fn whole(dea: &str) -> Self {
        Self {
            dea: dea.to_owned(),
            instance: None,
        }
    }

    fn subject(&self) -> Subject {
        Subject {
            dea: Some(self.dea.clone()),
            name: self.instance.as_ref().map(|(service, _)| service.clone()),
            instance: self.instance.as_ref().map(|(_, instance)| instance.clone()),
            ..Subject::default()
        }
    }

    fn says(&self, reason: &str) -> String {
        let dea = &self.dea;
        match &self.instance {
            Some((service, instance)) => {
                format!("app host {dea}: {service} {instance} is refused: {reason}")
            }
            None => format!("app host {dea} is refused: {reason}"),
        }
    }
}

#[derive(Debug)]
struct Reason {
    text: String,
    fix: Option<String>,
    last: Instant,
}

/// Everything that is refused now.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    all: BTreeMap<Entry, Reason>,
    /// When something was refused that there was no more room for.
    overflow: Option<Instant>,
}

impl Refusals {
    /// Notes an entry; whether that is news.
    fn note(&mut self, entry: Entry, refusal: &Refusal, now: Instant) -> bool {
        self.all.retain(|_, reason| is_fresh(reason.last, now));
        let text = refusal.description.lines().next().unwrap_or_default();
        let reason = Reason {
            text: text.to_owned(),
            fix: refusal.fix.clone(),
            last: now,
        };
        let known = self.all.get(&entry);
        if known.is_none() && self.all.len() >= LIMIT {
            self.overflow = Some(now);
            return false;
        }
        let is_news = known.is_none_or(|known| known.text != reason.text);
        self.all.insert(entry, reason);
        is_news
    }

    /// Forgets what this app host now says without being refused, or says no more.
    pub(super) fn settle(
        &mut self,
        dea: &str,
        (said, extent): (&[Instance], Extent),
        refused: &[Refused],
    ) {
        let is_refused = |entry: &Entry| refused.iter().any(|r| Entry::of(dea, &r.said) == *entry);
        match extent {
            Extent::All => self
                .all
                .retain(|entry, _| entry.dea != dea || is_refused(entry)),
            Extent::These => {
                let entries = said.iter().map(|said| Entry::of(dea, said));
                for settled in entries.filter(|entry| !is_refused(entry)) {
                    self.forget_instance(&settled);
                }
            }
        }
    }

    /// By whatever words it was announced.
    fn forget_instance(&mut self, settled: &Entry) {
        let instance = |entry: &Entry| entry.instance.as_ref().map(|(_, name)| name.clone());
        let own = instance(settled);
        self.all
            .retain(|entry, _| entry.dea != settled.dea || instance(entry) != own);
    }

    /// What is to be shown, if there is anything.
    pub(crate) fn shown(&self, now: Instant) -> Option<RefusedAnnouncements> {
        let mut fresh = self.all.iter().filter(|(_, r)| is_fresh(r.last, now));
        let (entry, reason) = fresh.next()?;
        let mut text = entry.says(&reason.text);
        let others = fresh.count();
        if others > 0 {
            let or_more = self.overflow.is_some_and(|last| is_fresh(last, now));
            let or_more = if or_more { " or more" } else { "" };
            text.push_str(&format!(", and {others}{or_more} other entries"));
        }
        let fix = reason.fix.clone();
        Some(RefusedAnnouncements { text, fix })
    }
}

fn is_fresh(last: Instant, now: Instant) -> bool {
    now.saturating_duration_since(last) < MEMORY
}

impl<R: Registry> Controller<R> {
    /// Tells that something is refused, if that is news.
    pub(super) fn tell_refused(&mut self, entry: Entry, refusal: &Refusal) {
        let (subject, text) = (entry.subject(), entry.says(&refusal.description));
        if self.refusals.note(entry, refusal, Instant::now()) {
            let line = text.lines().next().unwrap_or_default();
            tracing::warn!("{line}");
            self.tell(EventKind::AnnouncementRefused, subject, line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Readiness, RefusalKind};

    fn said(service: &str, instance: &str) -> Instance {
        Instance {
            service: service.into(),
            instance: instance.into(),
            app: None,
            index: None,
            ip: [10, 0, 0, 1].into(),
            port: 80,
            protocol: None,
            weight: None,
            state: Readiness::Up,
        }
    }

    fn ambiguous() -> Refusal {
        Refusal::new(RefusalKind::Ambiguous, "db names 2 ports\ncandidate: x").fix("by its id")
    }

    #[test]
    fn a_refusal_is_news_once_and_shown_until_it_is_put_right() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        let entry = || Entry::of("d", &said("db", "a"));
        assert_eq!(refusals.shown(start), None);
        assert!(refusals.note(entry(), &ambiguous(), start));
        assert!(!refusals.note(entry(), &ambiguous(), start + MEMORY / 2));
        let shown = refusals.shown(start + MEMORY).unwrap();
        assert_eq!(shown.text, "app host d: db a is refused: db names 2 ports");
        assert_eq!(shown.fix.as_deref(), Some("by its id"));
        assert_eq!(refusals.shown(start + 2 * MEMORY), None, "nobody says it");
        assert!(refusals.note(entry(), &Refusal::failed("another"), start));

        // By its id it is taken over.
        refusals.settle("e", (&[said("id", "a")], Extent::These), &[]);
        assert!(refusals.shown(start).is_some());
        refusals.settle("d", (&[said("id", "a")], Extent::These), &[]);
        assert_eq!(refusals.shown(start), None);
        refusals.note(entry(), &ambiguous(), start);
        let still = [Refused::new(&said("db", "a"), ambiguous())];
        refusals.settle("d", (&[said("db", "a")], Extent::All), &still);
        assert!(refusals.shown(start).is_some());
        refusals.settle("d", (&[], Extent::All), &[]);
        assert_eq!(refusals.shown(start), None);
    }

    #[test]
    fn whoever_is_refused_for_ever_new_words_costs_a_bounded_place() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        for number in 0..2 * LIMIT {
            let said = said("db", &format!("i{number}"));
            let is_news = refusals.note(Entry::of("d", &said), &ambiguous(), start);
            assert_eq!(is_news, number < LIMIT);
        }
        let shown = refusals.shown(start).unwrap().text;
        assert!(shown.ends_with("and 999 or more other entries"), "{shown}");
    }
}
