//! What was carried lately: each second of ten minutes and each minute of a day, in all and of the ports
//! that carry something. Bounded to 4 MiB whatever ports there are: the port that has been silent for
//! longest makes room.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::api::PortItem;

/// Samples of each kind.
const SECONDS: usize = 600;
const MINUTES: usize = 1_440;
/// Ports with samples of their own, so that all take at most [`BUDGET`].
const PORTS: usize = BUDGET / ((SECONDS + MINUTES) * size_of::<Sample>());
const BUDGET: usize = 4 * 1024 * 1024;

/// Bits per second from clients and to them, and flows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sample {
    pub(super) inward: f32,
    pub(super) outward: f32,
    pub(super) flows: u32,
}

impl Sample {
    fn of(port: &PortItem) -> Self {
        Self {
            inward: port.rate_in_bps as f32,
            outward: port.rate_out_bps as f32,
            flows: u32::try_from(port.flows).unwrap_or(u32::MAX),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            inward: self.inward + other.inward,
            outward: self.outward + other.outward,
            flows: self.flows.saturating_add(other.flows),
        }
    }

    fn is_silent(self) -> bool {
        self == Self::default()
    }
}

/// How far back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    Seconds,
    Minutes,
}

/// The newest sample is the last; it was taken at `at`, in seconds since 1970.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    pub(super) at: u64,
    pub(super) step_s: u64,
    pub(super) samples: Vec<Sample>,
}

#[derive(Debug, Default)]
struct Ring {
    seconds: VecDeque<Sample>,
    minutes: VecDeque<Sample>,
    /// When it last carried something.
    busy_at: u64,
}

impl Ring {
    /// Takes the sample of a second; `ends_minute` = it is the first one of another minute.
    fn push(&mut self, sample: Sample, at: u64, ends_minute: bool) {
        bounded(&mut self.seconds, sample, SECONDS);
        if !sample.is_silent() {
            self.busy_at = at;
        }
        if ends_minute {
            let minute = self.minute();
            bounded(&mut self.minutes, minute, MINUTES);
        }
    }

    /// The mean of the last minute.
    fn minute(&self) -> Sample {
        let last: Vec<&Sample> = self.seconds.iter().rev().take(60).collect();
        let count = last.len().max(1) as f32;
        let mean = |value: fn(&Sample) -> f32| last.iter().map(|s| value(s)).sum::<f32>() / count;
        Sample {
            inward: mean(|s| s.inward),
            outward: mean(|s| s.outward),
            flows: mean(|s| s.flows as f32) as u32,
        }
    }
}

fn bounded(ring: &mut VecDeque<Sample>, sample: Sample, most: usize) {
    if ring.len() == most {
        ring.pop_front();
    }
    ring.push_back(sample);
}

#[derive(Debug, Default)]
struct Rings {
    at: u64,
    all: Ring,
    ports: HashMap<String, Ring>,
}

/// A handle to the samples.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(Arc<Mutex<Rings>>);

impl Samples {
    /// Takes the samples of a second.
    pub(super) fn take(&self, ports: &[PortItem], at: u64) {
        let mut rings = self.rings();
        let rings = &mut *rings;
        // Not at the full minute alone: a second may be missed.
        let ends_minute = at / 60 != rings.at / 60;
        rings.at = at;
        let all = ports
            .iter()
            .map(Sample::of)
            .fold(Sample::default(), Sample::plus);
        rings.all.push(all, at, ends_minute);
        let mut silent: Vec<String> = rings.ports.keys().cloned().collect();
        for port in ports {
            let sample = Sample::of(port);
            if let Some(ring) = rings.ports.get_mut(&port.id) {
                ring.push(sample, at, ends_minute);
                silent.retain(|id| *id != port.id);
            } else if !sample.is_silent() && rings.make_room(at) {
                let ring = rings.ports.entry(port.id.clone()).or_default();
                ring.push(sample, at, ends_minute);
            }
        }
        // Ports that are gone.
        for id in silent {
            rings.ports.remove(&id);
        }
    }

    /// The latest of all ports together, and when it was taken.
    pub(super) fn latest(&self) -> (u64, Sample) {
        let rings = self.rings();
        let last = rings.all.seconds.back().copied();
        (rings.at, last.unwrap_or_default())
    }

    /// In all, or of a port; empty for one that has carried nothing.
    pub(super) fn series(&self, port: Option<&str>, span: Span) -> Series {
        let rings = self.rings();
        let ring = match port {
            None => Some(&rings.all),
            Some(id) => rings.ports.get(id),
        };
        let samples = ring.map(|ring| match span {
            Span::Seconds => ring.seconds.iter().copied().collect(),
            Span::Minutes => ring.minutes.iter().copied().collect(),
        });
        let (at, step_s) = match span {
            Span::Seconds => (rings.at, 1),
            Span::Minutes => (rings.at - rings.at % 60, 60),
        };
        Series {
            at,
            step_s,
            samples: samples.unwrap_or_default(),
        }
    }

    fn rings(&self) -> MutexGuard<'_, Rings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rings {
    /// Whether one more has a place: of those that are busy now none makes room.
    fn make_room(&mut self, now: u64) -> bool {
        if self.ports.len() < PORTS {
            return true;
        }
        let longest = self.ports.iter().min_by_key(|(_, ring)| ring.busy_at);
        let silent = longest.filter(|(_, ring)| ring.busy_at < now);
        let Some(id) = silent.map(|(id, _)| id.clone()) else {
            return false;
        };
        self.ports.remove(&id).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(inward: f32) -> Sample {
        Sample {
            inward,
            ..Sample::default()
        }
    }

    #[test]
    fn seconds_become_minutes_and_both_end() {
        let mut ring = Ring::default();
        for at in 1..=200_000_u64 {
            ring.push(sample((at / 60) as f32), at, at.is_multiple_of(60));
        }
        assert_eq!(ring.seconds.len(), SECONDS);
        assert_eq!(ring.minutes.len(), MINUTES);
        assert_eq!(ring.busy_at, 200_000);
        let newest = ring.minutes.back().unwrap().inward;
        assert!((newest - 3_332.0).abs() < 0.1, "{newest}");
    }

    #[test]
    fn memory_does_not_grow_with_ports() {
        let mut rings = Rings::default();
        for n in 0..5_001_u64 {
            if rings.make_room(n + 1) {
                let ring = rings.ports.entry(n.to_string()).or_default();
                ring.push(sample(1.0), n + 1, false);
            }
        }
        assert_eq!(rings.ports.len(), PORTS);
        assert!(rings.ports.contains_key("5000"), "who is busy has a place");
        assert!(!rings.ports.contains_key("0"));
        let whole = PORTS * (SECONDS + MINUTES) * size_of::<Sample>();
        assert!(whole <= BUDGET);
    }
}
