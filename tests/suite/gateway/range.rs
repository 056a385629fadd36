//! The range is another one while clients talk: what there is stays, what is new obeys, and what does
//! not fit is refused in the words of whoever asked. What was bound survives export and import.

use kit::{V4, traffic};
use serde_json::{Value, json};

use super::{FREE, Ground, SERVICE, order};
use crate::scene::APP_PORT;

#[test]
fn a_new_range_rules_new_ports_and_no_client_notices() {
    let mut ground = Ground::start("[ports]\nrest = \"0s\"\n");
    let lab = &ground.lab;
    let _app = traffic::serve(
        &lab.apps[0],
        lab.folder(),
        "app1",
        &lab.app_ports(0, APP_PORT),
    );
    assert_eq!(
        ground
            .platform
            .provision("old", &order("web", &Value::Null))
            .0,
        201
    );
    let backend = std::net::SocketAddr::new(lab.app(V4, 0), APP_PORT).to_string();
    ground.agent.ctl(&["backends", "add", "old", &backend]).ok();
    let port = ground.agent.ctl_json(&["ports", "show", "old"])["port"]
        .as_u64()
        .unwrap();
    let public = std::net::SocketAddr::new(lab.public(V4), u16::try_from(port).unwrap());
    let live = traffic::Live::open(&lab.client, public, 4);

    let words = ["config", "set", "harbor_node", "port_range", "36000-36010"];
    let said = ground.agent.ctl(&words).ok().stderr;
    assert!(said.contains("in force"), "{said}");
    let outside = ground.agent.ctl_json(&["ports", "range"])["outside"].clone();
    match (36_000..=36_010).contains(&port) {
        true => assert_eq!(outside, json!([])),
        false => {
            assert_eq!(outside[0]["port"], json!(port));
            assert!(said.contains("stays valid outside"), "{said}");
        }
    }
    live.progress();
    let room = 11 - u32::from((36_000..=36_010).contains(&port));
    for n in 0..room {
        let id = format!("new-{n}");
        let (status, body) = ground.platform.provision(&id, &order("web", &Value::Null));
        assert_eq!(status, 201, "{body}");
        let got = ground.agent.ctl_json(&["ports", "show", &id])["port"]
            .as_u64()
            .unwrap();
        assert!((36_000..=36_010).contains(&got), "{got}");
    }
    let (status, body) = ground
        .platform
        .provision("more", &order("web", &Value::Null));
    assert_eq!(
        (status, &body["error"]),
        (422, &json!("PortRangeExhausted"))
    );
    let refused = ground.agent.ctl(&["ports", "create", "one-more"]);
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    live.progress();
    let tally = live.finish();
    assert_eq!((tally.of("app1"), tally.errors.len()), (4, 0), "{tally:?}");
}

#[test]
fn bindings_survive_export_and_import() {
    let mut ground = Ground::start("[ports]\nrest = \"0s\"\n");
    let parameters = json!({"drain_s": 7});
    assert_eq!(
        ground
            .platform
            .provision("i1", &order("web", &parameters))
            .0,
        201
    );
    let (status, told) = ground.platform.bind("i1", "b1", "app");
    assert_eq!(status, 201);
    let bindings = ground.agent.items(&["bindings", "list"]);
    let state = ground.agent.ctl_json(&["state", "export"]);
    assert_eq!(ground.platform.deprovision("i1").0, 200);
    assert_eq!(ground.agent.items(&["bindings", "list"]), [] as [Value; 0]);

    let file = ground.lab.folder().join("state.json");
    std::fs::write(&file, state.to_string()).unwrap();
    let words = ["state", "import", &file.display().to_string()];
    ground.agent.ctl(&words).ok();
    assert_eq!(ground.agent.items(&["bindings", "list"]), bindings);
    // The platform finds what it knew: the same instance, the same binding, and nothing new.
    assert_eq!(
        ground
            .platform
            .provision("i1", &order("web", &parameters))
            .0,
        200
    );
    assert_eq!(ground.platform.bind("i1", "b1", "app"), (200, told));
    let line = format!("GET /v2/service_instances/i1?service_id={SERVICE}&plan_id={FREE}");
    let (status, found) = ground.platform.ask(&line, &Value::Null);
    assert_eq!((status, &found["parameters"]), (200, &parameters));
}
