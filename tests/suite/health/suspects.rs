//! What clients' own flows show of a backend, as the datapath tells it.

use std::time::{Duration, Instant};

use kit::{
    V4, eventually,
    traffic::{self, Asker},
};

use super::{SOON, Ward};
use crate::scene::FAMILIES;

#[test]
fn what_a_client_meets_brings_the_next_probe_forward() {
    let mut ward = Ward::new(V4);
    let rare = ["health=tcp", "health_fall=1", "health_interval_s=600"];
    let to = ward.port("web", &rare);
    ward.probed("web", 2);
    let killed = Instant::now();
    ward.kill(0);
    let tally = traffic::connect(&ward.lab.client, to, 2);
    assert_eq!((tally.of("app2"), tally.errors.len()), (2, 0), "{tally:?}");
    // The refusal itself counts for nothing: the probe that it has brought forward does.
    ward.becomes(Duration::from_secs(60), "web", ["failing", "up"]);
    println!("out of the rotation after {:?}", killed.elapsed());
}

#[test]
fn who_is_ejected_says_how_it_has_failed() {
    for family in FAMILIES {
        let mut ward = Ward::new(family);
        let (tcp, udp) = (ward.port("web", &[]), ward.port("udp-game", &[]));
        let is_ejected = |ward: &Ward, port: &str, reason: &str| {
            let backend = &ward.backends(port)[0];
            backend["state"] == "ejected" && backend["reason"] == reason
        };
        ward.kill(0);
        eventually(SOON, || {
            traffic::connect(&ward.lab.client, tcp, 2);
            is_ejected(&ward, "web", "a client's SYN was answered with a reset")
        });
        let asker = Asker::new(&ward.lab.client, family);
        eventually(SOON, || {
            asker.send(udp, b"who is there");
            let reason = "a client's packet was answered with ICMP unreachable";
            is_ejected(&ward, "udp-game", reason)
        });
        ward.lab.apps[0].ip("link set eth0 down");
        eventually(SOON, || {
            traffic::connect(&ward.lab.client, tcp, 2);
            is_ejected(&ward, "web", "a client's SYN was not answered")
        });
    }
}
