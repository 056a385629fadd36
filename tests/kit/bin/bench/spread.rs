//! Medians and quartiles of what rounds have found.

/// A figure of each round, in order.
pub(crate) struct Spread(Vec<f64>);

impl Spread {
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// The value below which this share of all lies, between neighbours where it falls between them.
    pub(crate) fn at(&self, share: f64) -> f64 {
        let place = share * (self.0.len() - 1) as f64;
        let (low, high) = (place.floor() as usize, place.ceil() as usize);
        self.0[low] + (self.0[high] - self.0[low]) * place.fract()
    }

    pub(crate) fn median(&self) -> f64 {
        self.at(0.5)
    }
}
