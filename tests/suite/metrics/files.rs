//! Alert rules and dashboard: each alert fires when it should, and both name nothing that is not there.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use kit::finish;
use serde_json::Value;

fn dist() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../harbor-ctl/dist")
}

fn rules() -> String {
    fs::read_to_string(dist().join("prometheus/harbor.rules.yml")).unwrap()
}

/// Names of samples, by the families that the reference page has.
fn known() -> BTreeSet<String> {
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/metrics.md");
    let page = fs::read_to_string(page).unwrap();
    let mut known = BTreeSet::new();
    for row in page.lines().filter_map(|line| line.strip_prefix("| `")) {
        let mut cells = row.split(" | ");
        let name = cells.next().unwrap().trim_end_matches('`');
        known.insert(name.to_owned());
        if cells.next() == Some("histogram") {
            known.extend(["bucket", "sum", "count"].map(|end| format!("{name}_{end}")));
        }
    }
    assert!(known.len() > 40, "{known:?}");
    known
}

/// Words of an expression that are names of metrics.
pub(super) fn names(expression: &str) -> Vec<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_ours = |word: &&str| word.starts_with("harbor_") || word.starts_with("process_");
    words.filter(is_ours).map(str::to_owned).collect()
}

/// Every string under this key, however deep.
fn strings<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(text) if name == key => found.push(text),
                    field => strings(field, key, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| strings(item, key, found)),
        _ => {}
    }
}

#[test]
fn every_alert_fires_by_its_fault_and_not_before() {
    let mut check = Command::new("promtool");
    finish(check.current_dir(dist().join("prometheus")).args([
        "check",
        "rules",
        "harbor.rules.yml",
    ]))
    .ok();
    let mut test = Command::new("promtool");
    finish(
        test.current_dir(dist().join("prometheus"))
            .args(["test", "rules", "harbor.test.yml"]),
    )
    .ok();
    let tests = fs::read_to_string(dist().join("prometheus/harbor.test.yml")).unwrap();
    let rules = rules();
    let alerts = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let alerts: Vec<&str> = alerts.collect();
    assert!(alerts.len() >= 20, "{alerts:?}");
    for alert in alerts {
        let tested = |expectation: &str| {
            let mut cases = tests.split("      - eval_time: ");
            cases.any(|case| case.contains(&format!("alertname: {alert}\n        {expectation}")))
        };
        assert!(
            tested("exp_alerts: []\n"),
            "{alert}: that it is quiet is not tested"
        );
        assert!(
            tested("exp_alerts:\n"),
            "{alert}: that it fires is not tested"
        );
    }
}

#[test]
fn alerts_and_dashboard_name_only_metrics_that_are_there() {
    let known = known();
    let rules = rules();
    let expressions = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "));
    let mut used: Vec<String> = expressions.flat_map(names).collect();
    assert!(used.len() >= 20, "{used:?}");
    let dashboard = fs::read_to_string(dist().join("grafana/harbor.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let (mut expressions, mut queries) = (Vec::new(), Vec::new());
    strings(&dashboard, "expr", &mut expressions);
    strings(&dashboard, "query", &mut queries);
    assert!(expressions.len() >= 40, "{}", expressions.len());
    let shown: Vec<String> = expressions
        .iter()
        .chain(&queries)
        .flat_map(|e| names(e))
        .collect();
    used.extend(shown.iter().cloned());
    for name in &used {
        assert!(known.contains(name), "{name} is no metric");
    }
    // What a family tells is of no use if nobody looks at it.
    let families = known.iter().filter(|name| {
        !["_bucket", "_sum", "_count"]
            .iter()
            .any(|end| name.ends_with(end))
    });
    for family in families {
        let is_used = used.iter().any(|name| name.starts_with(family.as_str()));
        assert!(is_used, "{family} is in no panel and no alert");
    }
}

#[test]
fn every_expression_of_the_dashboard_is_one_that_prometheus_understands() {
    let dashboard = fs::read_to_string(dist().join("grafana/harbor.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let mut expressions = Vec::new();
    strings(&dashboard, "expr", &mut expressions);
    let folder = tempfile::tempdir().unwrap();
    let mut rules = String::from("groups:\n  - name: dashboard\n    rules:\n");
    for (number, expression) in expressions.iter().enumerate() {
        let plain = expression.replace("$__rate_interval", "5m");
        rules.push_str(&format!(
            "      - record: dashboard:{number}\n        expr: {}\n",
            serde_json::to_string(&plain).unwrap()
        ));
    }
    let file = folder.path().join("dashboard.yml");
    fs::write(&file, rules).unwrap();
    finish(Command::new("promtool").args(["check", "rules"]).arg(file)).ok();
}
