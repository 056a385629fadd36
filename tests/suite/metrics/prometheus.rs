//! A real Prometheus scrapes a node with traffic: what it stores is complete and only grows, over a
//! restart of the agent too, and the alerts that ship are quiet while all is well.

use std::{fs, path::Path, time::Duration};

use kit::{Process, eventually, finish, patient, traffic};
use serde_json::Value;

use super::{LISTEN, scene, scrape};
use crate::scene::Scene;

const PROMETHEUS: &str = "127.0.0.1:9090";

/// Prometheus on the node itself, scraping twice a second.
struct Prometheus<'a> {
    scene: &'a Scene,
    _process: Process,
}

impl<'a> Prometheus<'a> {
    fn start(scene: &'a Scene) -> Self {
        let folder = scene.lab.folder();
        let rules = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../harbor-ctl/dist/prometheus/harbor.rules.yml");
        let config = format!(
            "global:\n  scrape_interval: 500ms\n  scrape_timeout: 500ms\n  evaluation_interval: 1s\n\
             rule_files:\n  - {}\nscrape_configs:\n  - job_name: harbor\n    static_configs:\n      \
             - targets: [\"{LISTEN}\"]\n",
            rules.canonicalize().unwrap().display()
        );
        let file = folder.join("prometheus.yml");
        fs::write(&file, config).unwrap();
        let mut command = scene.lab.node.command("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("tsdb").display()
            ))
            .arg(format!("--web.listen-address={PROMETHEUS}"))
            .arg("--log.level=warn");
        Self {
            scene,
            _process: Process::start(&mut command, folder, "prometheus"),
        }
    }

    /// The values of a query, by their labels as JSON.
    fn query(&self, query: &str) -> Vec<(String, f64)> {
        let mut curl = self.scene.lab.node.command("curl");
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

    fn value(&self, query: &str) -> Option<f64> {
        Some(self.query(query).first()?.1)
    }
}

#[test]
fn a_real_prometheus_stores_every_family_and_counters_of_the_kernel_outlive_the_agent() {
    let mut scene = scene("");
    let to = scene.port("web");
    assert_eq!(traffic::connect(&scene.lab.client, to, 10).errors.len(), 0);
    let families = scrape(&scene).families().clone();

    let before = {
        let prometheus = Prometheus::start(&scene);
        let soon = patient(Duration::from_secs(30));
        eventually(soon, || prometheus.value("up{job=\"harbor\"}") == Some(1.0));
        // Series of nothing, as certificates where no port ends TLS, are not there.
        let none = ["certificate_expiry", "backends_left_out"];
        for family in &families {
            let (name, kind) = family.split_once(' ').unwrap();
            if none.iter().any(|part| name.contains(part)) {
                continue;
            }
            let sample = match kind {
                "counter" => format!("{name}_total"),
                "histogram" => format!("{name}_count"),
                _ => name.to_owned(),
            };
            eventually(soon, || !prometheus.query(&sample).is_empty());
        }
        let flows = "harbor_port_new_flows_total";
        eventually(soon, || prometheus.value(flows) == Some(10.0));
        assert_eq!(prometheus.query("ALERTS{alertstate=\"firing\"}"), []);
        prometheus.value("harbor_port_forward_bytes_total").unwrap()
    };
    assert!(before > 0.0);
    assert_eq!(scene.agent.stop(), 0);
    // Forwarded while nobody is there to tell of it.
    assert_eq!(traffic::connect(&scene.lab.client, to, 5).errors.len(), 0);
    scene.agent.restart();
    let prometheus = Prometheus::start(&scene);
    let soon = patient(Duration::from_secs(30));
    eventually(soon, || {
        prometheus.value("harbor_port_new_flows_total") == Some(15.0)
    });
    let resets = "sum(resets(harbor_port_forward_bytes_total[5m]))";
    assert_eq!(prometheus.value(resets), Some(0.0));
    let grown = prometheus.value("harbor_port_forward_bytes_total").unwrap();
    assert!(grown > before, "{grown} {before}");
}
