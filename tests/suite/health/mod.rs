//! Backends that are probed: who leaves the rotation, who comes back, and what clients notice.

mod ward;

use std::time::Duration;

use kit::traffic;
use ward::Ward;

use crate::scene::FAMILIES;

/// Time for a few probes on a loaded machine.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_backend_that_dies_leaves_the_rotation_and_comes_back() {
    for family in FAMILIES {
        let mut ward = Ward::new(family);
        let to = ward.port("web", &["health=tcp", "health_fall=2"]);
        ward.is_balanced(to);
        ward.kill(0);
        ward.becomes(SOON, "web", ["failing", "up"]);
        let failing = &ward.backends("web")[0];
        assert_eq!(failing["reason"], "connection refused");
        let tally = traffic::connect(&ward.lab.client, to, 10);
        assert_eq!((tally.of("app2"), tally.errors.len()), (10, 0), "{tally:?}");
        ward.revive(0);
        ward.becomes(SOON, "web", ["up", "up"]);
        ward.is_balanced(to);
    }
}
