//! Each alert that ships fires by a fault that is made for real, and not before: a real Prometheus
//! evaluates the rules against what it scrapes of the agent.
//!
//! Nobody waits a quarter of an hour: what takes a minute in the rules takes a second here, and what looks
//! back at a minute looks back at two seconds. The expressions stay as they are otherwise.

mod node;
mod proxied;
mod shared;

use std::{
    any::Any,
    collections::BTreeSet,
    time::{Duration, Instant},
};

use kit::{eventually, patient};

use super::scraper::{Prometheus, rules};
use crate::scene::Scene;

/// Time for what the rules wait for, and for a machine that has other things to do.
const SOON: Duration = Duration::from_secs(40);

/// What faults are made on.
struct Ground {
    /// Ends first: nobody scrapes what is being taken down.
    prometheus: Prometheus,
    /// What a fault ends.
    dies: Option<Box<dyn Any>>,
    /// What a fault lasts by.
    kept: Vec<Box<dyn Any>>,
    scene: Scene,
}

/// A fault, and the alerts that tell of it.
struct Fault {
    alerts: &'static [&'static str],
    make: fn(&mut Ground),
}

impl Ground {
    /// Prometheus beside a scene, once it has looked at it.
    #[track_caller]
    fn new(scene: Scene) -> Self {
        let prometheus = Prometheus::start(&scene.lab, &hasty(&rules()));
        eventually(SOON, || {
            prometheus.value("process_start_time_seconds").is_some()
        });
        Self {
            prometheus,
            dies: None,
            kept: Vec::new(),
            scene,
        }
    }

    /// Whether an alert is in this state.
    fn is(&self, alert: &str, state: &str) -> bool {
        let query = format!("ALERTS{{alertname={alert:?},alertstate=~{state:?}}}");
        !self.prometheus.query(&query).is_empty()
    }

    /// What an alert looks at now: the values of the names in its expression.
    fn expression(&self, alert: &str) -> String {
        let rules = rules();
        let (_, rule) = rules.split_once(&format!("- alert: {alert}\n")).unwrap();
        let names = super::files::names(rule.lines().next().unwrap_or_default());
        let found = names.iter().map(|name| (name, self.prometheus.query(name)));
        format!("{:?}", found.collect::<Vec<_>>())
    }

    /// Makes the faults in turn. Until its own an alert is not even about to fire.
    #[track_caller]
    fn suffer(&mut self, faults: &[Fault]) {
        for fault in faults {
            for alert in fault.alerts {
                assert!(!self.is(alert, ".+"), "{alert} before its fault");
            }
            (fault.make)(self);
            for alert in fault.alerts {
                let begun = Instant::now();
                eventually(2 * SOON, || {
                    let is_late = begun.elapsed() > patient(SOON);
                    assert!(!is_late, "{alert} is silent: {}", self.expression(alert));
                    self.is(alert, "firing")
                });
                println!("{alert} after {:.1?}", begun.elapsed());
            }
        }
    }
}

/// The rules, with a second for each of their minutes, and two for those that they look back at.
fn hasty(rules: &str) -> String {
    let mut hasty = String::new();
    for line in rules.lines() {
        let line = match line.trim_start().strip_prefix("for: ") {
            Some(_) => line.replace(['m', 'h'], "s"),
            None => line.to_owned(),
        };
        let mut parts = line.split('[');
        hasty.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let (minutes, rest) = part.split_once("m]").unwrap();
            let minutes: u32 = minutes.parse().unwrap();
            hasty.push_str(&format!("[{}s]{rest}", 2 * minutes));
        }
        hasty.push('\n');
    }
    hasty
}

#[test]
fn a_minute_of_the_rules_is_a_second_and_nothing_else_is_changed() {
    let rule = "expr: 'rate(harbor_x[5m]) > 0'\nfor: 10m\nsummary: 'for a month'\n";
    let expected = "expr: 'rate(harbor_x[10s]) > 0'\nfor: 10s\nsummary: 'for a month'\n";
    assert_eq!(hasty(rule), expected);
}

#[test]
fn every_alert_that_ships_has_a_fault() {
    let rules = rules();
    let lines = rules.lines().map(str::trim);
    let shipped: BTreeSet<&str> = lines.filter_map(|l| l.strip_prefix("- alert: ")).collect();
    let tables = [node::FAULTS, proxied::FAULTS, shared::FAULTS];
    let mut with_fault = BTreeSet::new();
    for alert in tables.into_iter().flatten().flat_map(|fault| fault.alerts) {
        assert!(with_fault.insert(*alert), "{alert} has two faults");
    }
    assert_eq!(with_fault, shipped);
}
