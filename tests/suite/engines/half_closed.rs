//! Connections of which one half is closed: the other carries data for as long as it likes.

use std::{net::SocketAddr, thread, time::Duration};

use kit::{
    Config, Lab, eventually,
    trickle::{Closes, half_closed},
};

use super::Engine;
use crate::scene::FAMILIES;

super::scenarios!(either_half_goes_on_for_longer_than_a_closed_flow_is_kept,);

const CLOSED: &str = "[timeouts]\ntcp_closed = \"2s\"\ntcp_reset = \"2s\"\n";
/// Five times what a flow that both have closed is kept.
const LASTS: Duration = Duration::from_secs(10);

fn either_half_goes_on_for_longer_than_a_closed_flow_is_kept(engine: Engine) {
    let scene = engine.on(Lab::routed(), &Config::with(CLOSED));
    thread::scope(|scope| {
        for family in FAMILIES {
            for (number, closes) in [(9_101, Closes::Client), (9_102, Closes::Server)] {
                let scene = &scene;
                scope.spawn(move || {
                    let at = SocketAddr::new(scene.lab.app(family, 0), number);
                    let name = format!("half-{family:?}-{number}");
                    let port = scene.agent.create(&[&name, "--backend", &at.to_string()]);
                    let to = SocketAddr::new(scene.lab.public(family), port);
                    let ends = ((&scene.lab.client, to), (&scene.lab.apps[0], at));
                    let (sent, received) = half_closed(ends.0, ends.1, closes, LASTS)
                        .unwrap_or_else(|error| panic!("{family:?} {closes:?}: {error}"));
                    println!("{family:?} {closes:?}: {sent} sent, {received} received");
                    assert!(sent > 100, "{sent}");
                    assert_eq!(sent, received, "{family:?} {closes:?}");
                });
            }
        }
    });
    // Both have said that they are done: now it is a matter of two seconds.
    eventually(Duration::from_secs(10), || {
        scene.agent.items(&["flows", "list"]).is_empty()
    });
}
