//! A real Prometheus scrapes a node with traffic: what it stores is complete and only grows, over a
//! restart of the agent too, and the alerts that ship are quiet while all is well.

use std::time::Duration;

use kit::{eventually, patient, traffic};

use super::{
    scene, scrape,
    scraper::{Prometheus, rules},
};

#[test]
fn a_real_prometheus_stores_every_family_and_counters_of_the_kernel_outlive_the_agent() {
    let mut scene = scene("");
    let to = scene.port("web");
    assert_eq!(traffic::connect(&scene.lab.client, to, 10).errors.len(), 0);
    let families = scrape(&scene).families().clone();

    let before = {
        let prometheus = Prometheus::start(&scene.lab, &rules());
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
    let prometheus = Prometheus::start(&scene.lab, &rules());
    let soon = patient(Duration::from_secs(30));
    eventually(soon, || {
        prometheus.value("harbor_port_new_flows_total") == Some(15.0)
    });
    let resets = "sum(resets(harbor_port_forward_bytes_total[5m]))";
    assert_eq!(prometheus.value(resets), Some(0.0));
    let grown = prometheus.value("harbor_port_forward_bytes_total").unwrap();
    assert!(grown > before, "{grown} {before}");
}
