//! How fast ports come and go through the gateway, on the embedded registry.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Ground, order};

/// Provisions and deprovisions so many times, one after the other: rate, median and 99th percentile.
pub(crate) fn measure(rounds: usize) -> String {
    let mut ground = Ground::start("[ports]\nrange = \"33000-60999\"\nrest = \"0s\"\n");
    let body = order("web", &Value::Null);
    let (mut made, mut ended) = (Vec::new(), Vec::new());
    let started = Instant::now();
    for number in 0..rounds {
        let id = format!("i{number}");
        let begun = Instant::now();
        assert_eq!(ground.platform.provision(&id, &body).0, 201);
        made.push(begun.elapsed());
        let begun = Instant::now();
        assert_eq!(ground.platform.deprovision(&id).0, 200);
        ended.push(begun.elapsed());
    }
    let rate = rounds as f64 / started.elapsed().as_secs_f64();
    assert!(ground.agent.items(&["ports", "list"]).is_empty());
    format!(
        "{rate:.0} provisions with deprovisions a second; provision {}, deprovision {}",
        percentiles(&mut made),
        percentiles(&mut ended)
    )
}

fn percentiles(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |part: usize| times[times.len() * part / 100];
    format!("p50 {:.2?}, p99 {:.2?}", at(50), at(99))
}
