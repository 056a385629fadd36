//! A bounded row of samples in the memory that they need and no more: three numbers of 16 bits each, as
//! exact as a chart can show.

/// Bits per second from clients and to them, and flows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::console) struct Sample {
    pub(in crate::console) inward: f32,
    pub(in crate::console) outward: f32,
    pub(in crate::console) flows: f32,
}

impl Sample {
    /// Of a second in which nobody answered: a gap.
    pub(super) const UNKNOWN: Self = Self {
        inward: f32::NAN,
        outward: f32::NAN,
        flows: f32::NAN,
    };

    pub(in crate::console) fn is_known(&self) -> bool {
        !self.flows.is_nan()
    }
}

/// Octets of a sample that is kept.
pub(super) const SIZE: usize = size_of::<Packed>();

/// The upper halves of three `f32`: a sign, eight bits of exponent, and seven of the value, so that it is
/// kept to 0.4 %.
#[derive(Clone, Copy, Debug)]
struct Packed([u16; 3]);

impl From<Sample> for Packed {
    fn from(sample: Sample) -> Self {
        let Sample {
            inward,
            outward,
            flows,
        } = sample;
        // Rounded; no value of ours is so large that this overflows.
        let half = |value: f32| (value.to_bits().saturating_add(0x8000) >> 16) as u16;
        Self([inward, outward, flows].map(half))
    }
}

impl From<Packed> for Sample {
    fn from(packed: Packed) -> Self {
        let [inward, outward, flows] = packed.0.map(|half| f32::from_bits(u32::from(half) << 16));
        Self {
            inward,
            outward,
            flows,
        }
    }
}

/// The last `N` samples.
#[derive(Clone, Debug, Default)]
pub(super) struct Ring<const N: usize> {
    samples: Vec<Packed>,
    /// The place of the oldest, once all are taken.
    oldest: usize,
}

impl<const N: usize> Ring<N> {
    pub(super) fn push(&mut self, sample: Sample) {
        if self.samples.len() < N {
            // Left alone it would double, past what it needs.
            self.samples.reserve_exact(N - self.samples.len());
            self.samples.push(sample.into());
        } else {
            self.samples[self.oldest] = sample.into();
            self.oldest = (self.oldest + 1) % N;
        }
    }

    /// All of them with their seconds, the oldest first; the newest was taken at `at`.
    pub(super) fn until(&self, at: u64, step_s: u64) -> impl Iterator<Item = (u64, Sample)> {
        let (newer, older) = self.samples.split_at(self.oldest);
        let count = self.samples.len() as u64;
        let all = older.iter().chain(newer).zip((0..count).rev());
        all.map(move |(packed, back)| (at.saturating_sub(back * step_s), Sample::from(*packed)))
    }
}

/// The mean of samples that are counted one by one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mean {
    sum: Sample,
    count: u32,
    /// Those that are not known too.
    seen: u32,
}

impl Mean {
    pub(super) fn add(&mut self, sample: Sample) {
        self.seen += 1;
        if !sample.is_known() {
            return;
        }
        self.sum.inward += sample.inward;
        self.sum.outward += sample.outward;
        self.sum.flows += sample.flows;
        self.count += 1;
    }

    /// Begins anew.
    pub(super) fn take(&mut self) -> Sample {
        let Self { sum, count, seen } = std::mem::take(self);
        if count == 0 && seen > 0 {
            return Sample::UNKNOWN;
        }
        let count = count.max(1) as f32;
        Sample {
            inward: sum.inward / count,
            outward: sum.outward / count,
            flows: sum.flows / count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_was_given_to_a_chart_s_eye() {
        for value in [0.0_f32, 1.0, 3.0, 200.0, 1_514.0, 12_345_678.0, 4e11] {
            let sample = Sample {
                inward: value,
                outward: value / 3.0,
                flows: value,
            };
            let kept = Sample::from(Packed::from(sample));
            for (kept, given) in [(kept.inward, value), (kept.outward, value / 3.0)] {
                assert!(
                    (kept - given).abs() <= given * 0.004,
                    "{given} became {kept}"
                );
            }
            assert_eq!(kept.inward, kept.flows);
        }
    }

    #[test]
    fn a_ring_keeps_the_last_in_their_order_and_grows_no_further() {
        let mut ring = Ring::<4>::default();
        for n in 0..10 {
            ring.push(Sample {
                flows: n as f32,
                ..Sample::default()
            });
            assert!(ring.samples.capacity() <= 4);
        }
        let flows: Vec<_> = ring.until(100, 10).map(|(at, s)| (at, s.flows)).collect();
        assert_eq!(flows, [(70, 6.0), (80, 7.0), (90, 8.0), (100, 9.0)]);
    }
}
