//! What clients' own flows show of a backend, as the datapath tells it.

use std::time::{Duration, Instant};

use kit::{V4, eventually, traffic};

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
    type Fail = fn(&mut Ward);
    let ways: [(Fail, &[&str]); 2] = [
        (
            |ward| ward.kill(0),
            &["a client's SYN was answered with a reset"],
        ),
        (
            |ward| ward.lab.apps[0].ip("link set eth0 down"),
            // Whichever is seen first: the client's second SYN, or the kernel's question on the link.
            &[
                "a client's SYN was not answered",
                "nobody on its link answers for its address",
            ],
        ),
    ];
    for family in FAMILIES {
        for (fail, reasons) in ways {
            let mut ward = Ward::new(family);
            let to = ward.port("web", &[]);
            fail(&mut ward);
            eventually(SOON, || {
                traffic::connect(&ward.lab.client, to, 2);
                let backend = &ward.backends("web")[0];
                let reason = backend["reason"].as_str();
                backend["state"] == "ejected" && reason.is_some_and(|text| reasons.contains(&text))
            });
        }
    }
}
