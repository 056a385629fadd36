//! Much data, over offloads as they are by default.

use std::net::SocketAddr;

use kit::{Lab, eventually, traffic};
use serde_json::Value;

use super::{MINUTES, Server};
use crate::scene::{FAMILIES, Scene};

#[test]
fn iperf3_runs_over_tcp_and_udp_in_both_directions() {
    let lab = Lab::routed();
    let mut command = lab.apps[0].command("iperf3");
    // Without --bind it listens on both families.
    command.arg("--server");
    let iperf = Server::start(lab, "both-iperf", &mut command);
    for family in FAMILIES {
        let to = iperf.port(family, 5201);
        eventually(MINUTES, || {
            run(&iperf, to, &["--bytes", "1M"])["error"].is_null()
        });
        for direction in [&[][..], &["--reverse"]] {
            let report = run(&iperf, to, &[&["--bytes", "200M"], direction].concat());
            let bytes = |side: &str| report["end"][side]["bytes"].as_u64();
            let (sent, received) = (bytes("sum_sent"), bytes("sum_received"));
            assert!(sent >= Some(200 << 20), "{direction:?}: {report}");
            // The receiver's count ends when the sender's report arrives: what is then on its way is
            // not in it.
            let share = received.unwrap() as f64 / sent.unwrap() as f64;
            assert!(share > 0.8, "{direction:?}: {share}");

            let datagrams = ["--udp", "--length", "1400", "--bitrate", "20M"];
            let amount = ["--bytes", "8M"];
            let report = run(&iperf, to, &[&datagrams[..], &amount, direction].concat());
            let sum = &report["end"]["sum"];
            assert!(sum["packets"].as_u64() > Some(5_000), "{report}");
            // A receiver that does not get the processor in time loses some by itself: its socket holds
            // what comes in 50 ms at this rate.
            let lost = sum["lost_percent"].as_f64().unwrap();
            assert!(lost < 5.0, "{direction:?}: {report}");
        }
    }
}

fn run(iperf: &Server, to: SocketAddr, more: &[&str]) -> Value {
    let words = ["iperf3", "--client", "HOST", "--port", "PORT", "--json"];
    iperf.client(to, &[&words[..], more].concat()).json()
}

#[test]
fn fifty_megabytes_come_back_as_they_went() {
    for family in FAMILIES {
        for scene in [Scene::routed(), Scene::bridged()] {
            let scene = scene.of(family);
            traffic::transfer(&scene.lab.client, scene.port("bulk"), 50_000_000).unwrap();
        }
    }
}
