//! What one scrape has found, and how it is written: OpenMetrics, and the older text format of
//! Prometheus for those who do not ask for the newer one.

use std::{collections::BTreeMap, fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

use super::{
    family::{ALL, Family, Kind},
    meters::Meters,
};

/// The values of a family's labels, in its order; families with the same labels share them.
pub(crate) type Labels = Arc<[String]>;

/// Labels of these values.
pub(crate) fn labels<const N: usize>(values: [&dyn fmt::Display; N]) -> Labels {
    values.iter().map(ToString::to_string).collect()
}

#[derive(Clone, Copy, Debug)]
enum Value {
    Whole(u64),
    Real(f64),
}

/// Every sample of one moment.
#[derive(Debug, Default)]
pub(crate) struct Scrape(BTreeMap<&'static str, Vec<(Labels, Value)>>);

impl Scrape {
    /// Adds a sample of a gauge.
    pub(crate) fn gauge(&mut self, family: &Family, labels: &Labels, value: f64) {
        debug_assert_eq!(family.kind, Kind::Gauge, "{}", family.name);
        self.add(family, labels, Value::Real(value));
    }

    /// Adds a sample of a counter.
    pub(crate) fn count(&mut self, family: &Family, labels: &Labels, value: u64) {
        debug_assert_eq!(family.kind, Kind::Counter, "{}", family.name);
        self.add(family, labels, Value::Whole(value));
    }

    /// Adds a sample of a counter of seconds.
    pub(crate) fn seconds(&mut self, family: &Family, value: f64) {
        debug_assert_eq!(family.kind, Kind::Counter, "{}", family.name);
        self.add(family, &labels([]), Value::Real(value));
    }

    fn add(&mut self, family: &Family, labels: &Labels, value: Value) {
        debug_assert_eq!(family.labels.len(), labels.len(), "{}", family.name);
        let samples = self.0.entry(family.name).or_default();
        samples.push((Arc::clone(labels), value));
    }

    /// All of it as OpenMetrics, with what was measured meanwhile.
    pub(crate) fn written(self, meters: &Meters) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        meters.register(&mut registry);
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut out, &registry);
        out
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for family in ALL {
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => continue,
            };
            let mut written = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for (values, value) in self.0.get(family.name).into_iter().flatten() {
                if family.labels.is_empty() {
                    write(&mut written, family.kind, *value)?;
                    continue;
                }
                let keys = family.labels.iter().copied();
                let set: Vec<(&str, &str)> = keys.zip(values.iter().map(String::as_str)).collect();
                write(&mut written.encode_family(&set)?, family.kind, *value)?;
            }
        }
        Ok(())
    }
}

fn write(sample: &mut MetricEncoder<'_>, kind: Kind, value: Value) -> fmt::Result {
    match (kind, value) {
        (Kind::Counter, Value::Whole(value)) => {
            sample.encode_counter::<NoLabelSet, u64, u64>(&value, None)
        }
        (Kind::Counter, Value::Real(value)) => {
            sample.encode_counter::<NoLabelSet, f64, u64>(&value, None)
        }
        (_, Value::Whole(value)) => sample.encode_gauge(&(value as f64)),
        (_, Value::Real(value)) => sample.encode_gauge(&value),
    }
}

/// The same in Prometheus' older format, where a counter is called as its samples are and nothing
/// marks the end.
pub(super) fn older(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        if line.starts_with("# HELP ") {
            help = Some(line);
            continue;
        }
        if let Some((name, "counter")) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            let words = help.take().and_then(|help| help.splitn(4, ' ').nth(3));
            let words = words.unwrap_or_default();
            out.push_str(&format!(
                "# HELP {name}_total {words}\n# TYPE {name}_total counter\n"
            ));
            continue;
        }
        if line == "# EOF" {
            continue;
        }
        for line in help.take().into_iter().chain([line]) {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{super::family, *};

    fn scrape() -> Scrape {
        let mut scrape = Scrape::default();
        let of_port = labels([&35_000, &"tcp", &"a\"b\\c"]);
        scrape.count(&family::PORT_NEW_FLOWS, &of_port, u64::MAX);
        scrape.gauge(&family::PORT_FLOWS, &of_port, 3.0);
        scrape
    }

    #[test]
    fn every_family_is_described_once_whether_it_has_samples_or_not() {
        let text = scrape().written(&Meters::default());
        for family in ALL {
            let kind = format!("{:?}", family.kind).to_lowercase();
            let line = format!("# TYPE {} {kind}\n", family.name);
            assert_eq!(text.matches(&line).count(), 1, "{line}{text}");
            let line = format!("# HELP {} {}\n", family.name, family.help);
            assert_eq!(text.matches(&line).count(), 1, "{line}{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn counters_are_exact_and_what_is_in_a_label_stays_in_it() {
        let text = scrape().written(&Meters::default());
        let line = "harbor_port_new_flows_total{port=\"35000\",protocol=\"tcp\",\
                    name=\"a\\\"b\\\\c\"} 18446744073709551615\n";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn in_the_older_format_a_counter_is_called_as_its_samples_are() {
        let text = older(&scrape().written(&Meters::default()));
        let lines = "# HELP harbor_port_new_flows_total Flows of a port that were begun.\n\
                     # TYPE harbor_port_new_flows_total counter\n\
                     harbor_port_new_flows_total{port=";
        assert!(text.contains(lines), "{text}");
        assert!(text.contains(
            "# HELP harbor_port_flows Flows of a port now.\n# TYPE harbor_port_flows gauge\n"
        ));
        assert!(!text.contains("# EOF"));
    }
}
