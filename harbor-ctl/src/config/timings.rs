//! Timeouts of flows, and intervals of probes.

use std::time::Duration;

use super::check::Check;
use crate::model::{HealthCheck, HealthDefaults, Timeouts};

impl Check {
    pub(super) fn timeouts(&mut self) -> Timeouts {
        let second = Duration::from_secs(1);
        Timeouts {
            opening: self.period("timeouts.opening", second),
            tcp_established: self.period("timeouts.tcp_established", second),
            tcp_closed: self.period("timeouts.tcp_closed", second),
            tcp_reset: self.period("timeouts.tcp_reset", second),
            udp_single: self.period("timeouts.udp_single", second),
            udp_stream: self.period("timeouts.udp_stream", second),
        }
    }

    pub(super) fn health(&mut self) -> HealthDefaults {
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3_600));
        HealthDefaults {
            check: self.read("health.check", str::parse, HealthCheck::Off),
            interval: self.period_within("health.interval", second, hour),
            timeout: self.period_within("health.timeout", second, 20 * second),
            rise: self.number("health.rise") as u32,
            fall: self.number("health.fall") as u32,
            rate: self.number("health.rate") as u32,
            // A bad choice was already reported.
            all_down: self.text("health.all_down").parse().unwrap_or_default(),
        }
    }
}
