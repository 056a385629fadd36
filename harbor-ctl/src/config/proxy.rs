//! `[proxy]`: timeouts of the proxy, and the shares of ports and clients.

use std::time::Duration;

use super::check::Check;

/// `[proxy]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProxyConfig {
    /// How long a backend may take to accept before another is tried as well.
    pub(crate) connect_timeout: Duration,
    /// How long all that are tried may take.
    pub(crate) give_up: Duration,
    /// How long a connection may be silent of which one side has ended.
    pub(crate) half_closed: Duration,
    /// What a port may have of the descriptors that are left for flows, in hundredths.
    pub(crate) descriptors_per_port: u32,
    /// What a client may have at all ports together.
    pub(crate) descriptors_per_client: u32,
}

impl Check {
    pub(super) fn proxy(&mut self) -> ProxyConfig {
        let second = Duration::from_secs(1);
        let (least, most) = (Duration::from_millis(10), second * 60);
        ProxyConfig {
            connect_timeout: self.period_within("proxy.connect_timeout", least, most),
            give_up: self.period_within("proxy.give_up", second, second * 120),
            half_closed: self.period("proxy.half_closed", second),
            descriptors_per_port: self.read("proxy.descriptors_per_port", share, 1),
            descriptors_per_client: self.read("proxy.descriptors_per_client", share, 1),
        }
    }
}

/// Reads a share of something, in hundredths: `25%`.
fn share(text: &str) -> Result<u32, String> {
    let number = text.trim().strip_suffix('%').map(str::trim_end);
    let number = number.and_then(|number| number.parse().ok());
    number
        .filter(|percent| (1..=100).contains(percent))
        .ok_or_else(|| format!("{text:?} is not a share: write it as 25%, from 1% to 100%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_whole_number_of_hundredths() {
        for (text, percent) in [("1%", 1), ("25%", 25), (" 100 % ", 100)] {
            assert_eq!(share(text), Ok(percent), "{text}");
        }
        for text in ["", "25", "0%", "101%", "-1%", "2.5%", "%", "25%%"] {
            assert!(share(text).is_err(), "{text}");
        }
    }
}
