//! How long a port lives that ends by itself: `for=2h`.

use super::{
    period::parse_period,
    refusal::Refusal,
    setting_value::{SettingValue, SettingValues},
};

/// The longest, in seconds: ten years.
const MOST: u64 = 3_653 * 86_400;

/// How long something lives, counted from when it was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// Until somebody ends it.
    Unlimited,
    Seconds(u64),
}

impl Lifetime {
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let wrong = |text: String| {
            Refusal::invalid("for", format!("for: {text}")).fix("for example 90s, 2h, 7d or none")
        };
        if text.is_empty() || text == "none" {
            return Ok(Self::Unlimited);
        }
        match parse_period(text).map_err(wrong)?.as_secs() {
            0 => Err(wrong(format!("{text} is too short: 1s is the least"))),
            long if long > MOST => Err(wrong(format!("{text} is too long: 3653d is the most"))),
            seconds => Ok(Self::Seconds(seconds)),
        }
    }

    /// Takes `for` out of what is set; `None`: it is not there.
    pub(crate) fn take(values: &mut SettingValues) -> Result<Option<Self>, Refusal> {
        match values.remove("for") {
            None => Ok(None),
            Some(SettingValue::Nothing(())) => Ok(Some(Self::Unlimited)),
            Some(SettingValue::Text(text)) => Self::parse(&text).map(Some),
            Some(_) => Err(Refusal::invalid(
                "for",
                "for: a period is expected, as \"2h\"",
            )),
        }
    }

    /// The moment at which it is over, in seconds since 1970.
    pub(crate) fn ends(self, now: u64) -> Option<u64> {
        match self {
            Self::Unlimited => None,
            Self::Seconds(seconds) => Some(now.saturating_add(seconds)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_a_period_or_none() {
        assert_eq!(Lifetime::parse("2h"), Ok(Lifetime::Seconds(7_200)));
        assert_eq!(Lifetime::parse("none"), Ok(Lifetime::Unlimited));
        assert_eq!(Lifetime::Seconds(5).ends(10), Some(15));
        for text in ["0s", "2", "soon", "99999d", "-1s"] {
            let refusal = Lifetime::parse(text).unwrap_err();
            assert_eq!(refusal.field.as_deref(), Some("for"), "{text}");
        }
    }
}
