//! A node whose operator turns to the other engine.

use std::{fs, time::Duration};

use kit::{Config, Lab, V4, eventually, traffic};

use super::Engine;
use crate::scene::Scene;

/// Has the next agent forward in another way.
fn turn(scene: &mut Scene, mode: &str) {
    let set = ["config", "set", "datapath.mode", mode];
    scene.agent.ctl(&set).ok();
    assert_eq!(scene.agent.stop(), 0);
}

fn datapath(scene: &Scene) -> (String, String) {
    let status = scene.agent.ctl_json_whatever(&["status"]);
    ["state", "text"]
        .map(|key| status["datapath"][key].as_str().unwrap().to_owned())
        .into()
}

#[test]
fn an_agent_that_is_to_forward_by_itself_takes_the_programs_off_and_back_again() {
    let mut scene = Scene::routed();
    let (kept, gone) = (scene.port("web"), scene.port("udp-game"));
    assert_eq!(traffic::connect(&scene.lab.client, kept, 4).errors.len(), 0);
    let pin = scene.lab.link(scene.lab.client_side());
    assert!(pin.exists());
    turn(&mut scene, "proxy");
    scene.agent.restart();
    assert!(!pin.exists(), "the program is still attached");
    let (state, text) = datapath(&scene);
    assert_eq!(state, "ok", "{text}");
    assert!(text.contains("nothing is loaded"), "{text}");
    assert_eq!(
        traffic::connect(&scene.lab.client, kept, 10).errors,
        Vec::<String>::new()
    );
    // What is deleted now is not served by anybody any more.
    scene
        .agent
        .ctl(&["ports", "delete", "udp-game", "--yes"])
        .ok();
    let asked = traffic::Asker::new(&scene.lab.client, V4);
    assert!(
        asked
            .try_ask(gone, b"who", Duration::from_millis(500))
            .is_none()
    );
    turn(&mut scene, "tc");
    scene.agent.restart();
    eventually(Duration::from_secs(20), || pin.exists());
    assert_eq!(
        traffic::connect(&scene.lab.client, kept, 10).errors,
        Vec::<String>::new()
    );
}

#[test]
fn what_cannot_be_taken_off_is_said() {
    let lab = Lab::routed();
    let bpf = lab.folder().join("no-folder");
    fs::write(&bpf, "").unwrap();
    let config = Config {
        bpf: Some(bpf),
        ..Config::default()
    };
    let scene = Engine::Proxy.on(lab, &config);
    let (state, text) = datapath(&scene);
    assert_eq!(state, "degraded", "{text}");
    assert!(text.contains("may still forward"), "{text}");
}

#[test]
fn programs_that_an_agent_cannot_take_over_are_named() {
    let mut scene = Scene::routed();
    scene.port("web");
    assert_eq!(scene.agent.stop(), 0);
    let words = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"];
    scene.agent.start_by(words.map(str::to_owned).to_vec());
    scene.agent.restart();
    let (state, text) = datapath(&scene);
    assert_eq!(state, "degraded", "{text}");
    assert!(text.contains("programs of an earlier agent"), "{text}");
}
