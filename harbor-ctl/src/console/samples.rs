//! What was carried lately: each minute of an hour of the whole node and of every port that carries
//! something, and each second of five minutes of those that are looked at or that were busy last. All of
//! it takes at most 4 MiB whatever ports there are: the port that has been silent for longest makes room.

mod ring;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub(super) use ring::Sample;
use ring::{Mean, Ring};

use crate::{control::Traffic, model::Throughput};

/// Samples of each kind.
const SECONDS: usize = 300;
const MINUTES: usize = 60;

const BUDGET: usize = 4 * 1024 * 1024;
/// What a port takes at most: with its id and its share of the table, which grows by doubling.
const EACH: usize = 2 * (size_of::<Trace>() + size_of::<String>() + 8) + 64 + MINUTES * ring::SIZE;
/// Ports with minutes: all of the default range.
const PORTS: usize = 5_001;
/// Ports with seconds.
const TRACED: usize = (BUDGET - PORTS * EACH) / (SECONDS * ring::SIZE + 16);
/// How long a port counts as looked at.
const LOOKED_AT_S: u64 = 60;
/// A clock that was set back by more than this begins a new history.
const BACK_S: u64 = 60;

impl From<Throughput> for Sample {
    fn from(carried: Throughput) -> Self {
        Self {
            inward: carried.in_bps as f32,
            outward: carried.out_bps as f32,
            flows: carried.flows as f32,
        }
    }
}

/// Each sample with the second since 1970 that it was taken at, the oldest first.
pub(super) type Series = Vec<(u64, Sample)>;

/// What is remembered of one port, or of all together.
#[derive(Debug, Default)]
struct Trace {
    minutes: Ring<MINUTES>,
    seconds: Option<Ring<SECONDS>>,
    /// Of the minute that is not over.
    mean: Mean,
    /// `None`: the engines did not answer.
    latest: Option<Throughput>,
    /// When it last carried something, and when somebody looked at it.
    busy_at: u64,
    seen_at: u64,
}

impl Trace {
    /// Takes the sample of so many seconds; the first of another minute ends the one before.
    fn push(
        &mut self,
        carried: Option<Throughput>,
        (at, seconds): (u64, usize),
        ends_minute: bool,
    ) {
        if ends_minute {
            self.minutes.push(self.mean.take());
        }
        let sample = carried.map_or(Sample::UNKNOWN, Sample::from);
        for _ in 0..seconds {
            self.mean.add(sample);
            if let Some(ring) = &mut self.seconds {
                ring.push(sample);
            }
        }
        self.latest = carried;
        if carried.is_some_and(|carried| carried != Throughput::default()) {
            self.busy_at = at;
        }
    }

    fn series(&self, at: u64) -> Series {
        let seconds: Series = self.seconds.iter().flat_map(|r| r.until(at, 1)).collect();
        let first = seconds.first().map_or(u64::MAX, |(at, _)| *at);
        let mut series: Series = self.minutes.until(at - at % 60, 60).collect();
        series.retain(|(at, _)| *at < first);
        series.extend(seconds);
        series
    }

    fn is_looked_at(&self, now: u64) -> bool {
        self.seen_at + LOOKED_AT_S > now
    }

    /// What has the least of it is the first to make room.
    fn worth(&self, now: u64) -> (bool, u64) {
        (self.is_looked_at(now), self.busy_at)
    }
}

#[derive(Debug, Default)]
struct Traces {
    at: u64,
    all: Trace,
    ports: HashMap<String, Trace>,
}

/// A handle to the samples.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(Arc<Mutex<Traces>>);

impl Samples {
    /// Takes the samples of a second; those that were missed were like it.
    pub(super) fn take(&self, traffic: Traffic, at: u64) {
        let mut traces = self.traces();
        if at + BACK_S < traces.at {
            *traces = Traces::default();
        }
        let passed = match traces.at {
            0 => 1,
            before => at.saturating_sub(before) as usize,
        };
        if passed == 0 {
            return;
        }
        traces.take(traffic, (at, passed.min(SECONDS)));
    }

    /// The latest of all ports together or of one, and when it was taken. A port that is looked at has
    /// seconds from then on.
    pub(super) fn latest(&self, port: Option<&str>) -> (u64, Option<Throughput>) {
        let mut traces = self.traces();
        let at = traces.at;
        let is_known = traces.all.latest.is_some() || at == 0;
        let latest = traces.looked_at(port).map(|trace| trace.latest);
        // A port without a trace carries nothing, if anything is known.
        let silent = is_known.then(Throughput::default);
        (at, latest.unwrap_or(silent))
    }

    /// In all or of a port: minutes, and seconds as far as they reach back. Of a port that has carried
    /// nothing just that.
    pub(super) fn series(&self, port: Option<&str>) -> Series {
        let mut traces = self.traces();
        let at = traces.at;
        match traces.looked_at(port) {
            Some(trace) => trace.series(at),
            // For as long as anything was looked at.
            None => {
                let all = traces.all.series(at).into_iter();
                all.map(|(at, _)| (at, Sample::default())).collect()
            }
        }
    }

    fn traces(&self) -> MutexGuard<'_, Traces> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Traces {
    fn looked_at(&mut self, port: Option<&str>) -> Option<&mut Trace> {
        let trace = match port {
            None => &mut self.all,
            Some(id) => self.ports.get_mut(id)?,
        };
        trace.seen_at = self.at;
        Some(trace)
    }

    fn take(&mut self, traffic: Traffic, (at, passed): (u64, usize)) {
        let ends_minute = self.at != 0 && at / 60 != self.at / 60;
        self.at = at;
        self.all.seconds.get_or_insert_default();
        let is_known = !traffic.is_unknown;
        let known = |carried| is_known.then_some(carried);
        self.all.push(known(traffic.all), (at, passed), ends_minute);
        let mut busy: HashMap<String, Throughput> = traffic.ports.into_iter().collect();
        for (id, trace) in &mut self.ports {
            let carried = busy.remove(id).unwrap_or_default();
            trace.push(known(carried), (at, passed), ends_minute);
        }
        // A port that is gone carries nothing either: an hour of that is no history.
        let oldest = at.saturating_sub(MINUTES as u64 * 60);
        self.ports.retain(|_, trace| trace.busy_at > oldest);
        self.add(busy, (at, passed));
        self.give_seconds(at);
    }

    /// Ports that begin to carry something; of those that are busy now none makes room.
    fn add(&mut self, busy: HashMap<String, Throughput>, (at, passed): (u64, usize)) {
        let excess = (self.ports.len() + busy.len()).saturating_sub(PORTS);
        if excess > 0 {
            let silent = self.ports.iter().filter(|(_, trace)| trace.busy_at < at);
            let mut silent: Vec<_> = silent.map(|(id, t)| (t.worth(at), id.clone())).collect();
            silent.sort_unstable();
            for (_, id) in silent.into_iter().take(excess) {
                self.ports.remove(&id);
            }
        }
        let room = PORTS - self.ports.len();
        for (id, carried) in busy.into_iter().take(room) {
            let trace = self.ports.entry(id).or_default();
            trace.push(Some(carried), (at, passed), false);
        }
    }

    /// Gives seconds to ports that are looked at, and to others as far as there is room.
    fn give_seconds(&mut self, at: u64) {
        let mut by_worth: Vec<_> = self.ports.values_mut().collect();
        if by_worth.len() > TRACED {
            by_worth.select_nth_unstable_by_key(TRACED, |trace| {
                let is_traced = trace.seconds.is_some();
                let (is_looked_at, busy_at) = trace.worth(at);
                // Of those that are alike the one that has seconds keeps them.
                std::cmp::Reverse((is_looked_at, busy_at, is_traced))
            });
        }
        for (place, trace) in by_worth.into_iter().enumerate() {
            match place < TRACED {
                true => _ = trace.seconds.get_or_insert_default(),
                false => trace.seconds = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second in which each of these ports has so many flows.
    fn traffic(ports: impl IntoIterator<Item = (usize, u64)>) -> Traffic {
        let mut traffic = Traffic::default();
        for (port, flows) in ports {
            let carried = Throughput {
                in_bps: flows * 8_000,
                out_bps: 0,
                flows,
            };
            traffic.all = traffic.all.plus(carried);
            traffic.ports.push((format!("id-{port}"), carried));
        }
        traffic
    }

    fn flows(series: &Series) -> Vec<(u64, f32)> {
        series.iter().map(|(at, s)| (*at, s.flows)).collect()
    }

    #[test]
    fn an_hour_is_minutes_and_then_the_seconds_of_five() {
        let samples = Samples::default();
        let begin = 60_000;
        for at in begin..begin + 2 * 3_600 {
            samples.take(traffic([(1, at / 60 % 100)]), at);
        }
        let last = begin + 2 * 3_600 - 1;
        for port in [None, Some("id-1")] {
            let series = flows(&samples.series(port));
            let times: Vec<u64> = series.iter().map(|(at, _)| *at).collect();
            assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
            assert_eq!(times.last(), Some(&last));
            let seconds = series.len().checked_sub(SECONDS).unwrap();
            assert!(series[seconds..].is_sorted_by_key(|(at, _)| *at));
            assert!(last - times[0] > 3_480, "{} s", last - times[0]);
            // A minute's mean stands at its end.
            assert_eq!(series[0].1, ((times[0] / 60 - 1) % 100) as f32);
        }
        assert_eq!(samples.latest(Some("id-1")), samples.latest(None));
        let silent = flows(&samples.series(Some("id-2")));
        assert_eq!(silent.len(), samples.series(None).len());
        assert!(silent.iter().all(|(_, flows)| *flows == 0.0));
    }

    #[test]
    fn missed_seconds_and_a_clock_that_is_set_do_not_bend_the_time() {
        let samples = Samples::default();
        for at in [1_000, 1_001, 1_005, 1_005, 1_003, 1_006] {
            samples.take(traffic([(1, at)]), at);
        }
        let series = flows(&samples.series(None));
        let times: Vec<u64> = series.iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [1_000, 1_001, 1_002, 1_003, 1_004, 1_005, 1_006]);
        samples.take(traffic([(1, 7)]), 500);
        assert_eq!(flows(&samples.series(None)), [(500, 7.0)]);
    }

    #[test]
    fn five_thousand_busy_ports_take_four_mebibytes_and_more_take_no_more() {
        let samples = Samples::default();
        let all = || (0..PORTS + 500).map(|port| (port, 1));
        samples.take(traffic(all()), 1_000);
        for at in 1_001..1_400 {
            samples.take(traffic(all()), at);
        }
        let traces = samples.traces();
        let kept: usize = traces.ports.iter().map(|(id, t)| octets(id, t)).sum();
        let table = traces.ports.capacity() * 8 / 7 * (size_of::<(String, Trace)>() + 1);
        assert!(kept + table <= BUDGET, "{kept} + {table} octets");
        assert_eq!(traces.ports.len(), PORTS);
        let traced = traces.ports.values().filter(|t| t.seconds.is_some());
        assert_eq!(traced.count(), TRACED);
    }

    fn octets(id: &str, trace: &Trace) -> usize {
        let minutes = MINUTES * ring::SIZE + 16;
        let seconds = trace
            .seconds
            .as_ref()
            .map_or(0, |_| SECONDS * ring::SIZE + 16);
        id.len() + 16 + minutes + seconds
    }

    #[test]
    fn who_looks_has_seconds_and_the_longest_silent_makes_room() {
        let samples = Samples::default();
        samples.take(traffic((0..PORTS).map(|port| (port, 1))), 1_000);
        let without = {
            let traces = samples.traces();
            let mut ports = traces.ports.iter();
            ports.find(|(_, t)| t.seconds.is_none()).unwrap().0.clone()
        };
        assert_eq!(samples.latest(Some(&without)).1.unwrap().flows, 1);
        samples.take(traffic((1..PORTS).map(|port| (port, 1))), 1_001);
        assert!(samples.traces().ports[&without].seconds.is_some());
        samples.take(traffic((1..=PORTS).map(|port| (port, 1))), 1_002);
        let traces = samples.traces();
        assert!(traces.ports.contains_key(&format!("id-{PORTS}")));
        assert!(!traces.ports.contains_key("id-0") || without == "id-0");
        assert_eq!(traces.ports.len(), PORTS);
    }
}
