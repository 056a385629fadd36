//! A real Prometheus on the node itself, which scrapes the agent twice a second and evaluates rules.

use std::{fs, path::PathBuf};

use kit::{Lab, Netns, Process, finish};
use serde_json::Value;

use super::LISTEN;

const PROMETHEUS: &str = "127.0.0.1:9090";

/// The rules that ship.
pub(super) fn rules() -> String {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../harbor-ctl/dist/prometheus/harbor.rules.yml");
    fs::read_to_string(file).unwrap()
}

/// Ends with this guard; what it stored stays.
pub(super) struct Prometheus {
    node: Netns,
    _process: Process,
}

impl Prometheus {
    #[track_caller]
    pub(super) fn start(lab: &Lab, rules: &str) -> Self {
        let folder = lab.folder();
        let place = folder.join("rules.yml");
        fs::write(&place, rules).unwrap();
        let config = format!(
            "global:\n  scrape_interval: 500ms\n  scrape_timeout: 500ms\n  evaluation_interval: 1s\n\
             rule_files:\n  - {}\nscrape_configs:\n  - job_name: harbor\n    static_configs:\n      \
             - targets: [\"{LISTEN}\"]\n",
            place.display()
        );
        let file = folder.join("prometheus.yml");
        fs::write(&file, config).unwrap();
        let mut command = lab.node.command("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("tsdb").display()
            ))
            .arg(format!("--web.listen-address={PROMETHEUS}"))
            .arg("--log.level=warn");
        Self {
            node: lab.node.clone(),
            _process: Process::start(&mut command, folder, "prometheus"),
        }
    }

    /// The values of a query, by their labels as JSON.
    pub(super) fn query(&self, query: &str) -> Vec<(String, f64)> {
        let mut curl = self.node.command("curl");
        curl.args(["-s", "-G", &format!("http://{PROMETHEUS}/api/v1/query")])
            .args(["--data-urlencode", &format!("query={query}")]);
        let said = finish(&mut curl);
        let Ok(answer) = serde_json::from_str::<Value>(&said.stdout) else {
            return Vec::new();
        };
        let results = answer["data"]["result"].as_array().cloned();
        let value = |result: &Value| {
            let value = result["value"][1].as_str().unwrap().parse().unwrap();
            (result["metric"].to_string(), value)
        };
        results.unwrap_or_default().iter().map(value).collect()
    }

    pub(super) fn value(&self, query: &str) -> Option<f64> {
        Some(self.query(query).first()?.1)
    }
}
