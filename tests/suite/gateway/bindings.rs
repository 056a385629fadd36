//! Bindings: made once, counted for each app, told what is so now, and gone with their instance.

use serde_json::{Value, json};

use super::{BASIC, FREE, Ground, Platform, SERVICE, TCP, conformance::query, order};

const NAMES: &str = "/v2/service_instances/i1/service_bindings/b1";

/// Two instances of one name, as two tenants may have.
fn two_instances() -> Ground {
    let mut ground = Ground::start("");
    for id in ["i1", "i2"] {
        let (status, body) = ground
            .platform
            .provision(id, &order("same-name", &Value::Null));
        assert_eq!(status, 201, "{body}");
    }
    ground
}

#[test]
fn a_binding_is_made_once_and_ends_once() {
    let mut ground = two_instances();
    let platform = &mut ground.platform;
    let (status, first) = platform.bind("i1", "b1", "app");
    assert_eq!(status, 201);
    let told = &first["credentials"];
    let port = ground.agent.ctl_json(&["ports", "show", "i1"])["port"].clone();
    assert_eq!((&told["port"], &told["int_port"]), (&port, &json!(4_100)));
    let names = (&told["name"], &told["node_id"], &told["protocol"]);
    assert_eq!(
        names,
        (&json!("same-name"), &json!("harbor_node_1"), &json!("tcp"))
    );
    assert!(told["hostname"].is_string() && told["host"].is_string());
    assert!(told.get("ext_host").is_none() && told.get("ext_hostname").is_none());
    assert_eq!(first["endpoints"][0]["ports"], json!([port.to_string()]));
    assert_eq!(platform.bind("i1", "b1", "app"), (200, first.clone()));
    assert_eq!(platform.bind("i1", "b1", "other").0, 409);
    assert_eq!(platform.bind("i9", "b1", "app").0, 404);

    let show = format!("GET {NAMES}");
    assert_eq!(platform.ask(&show, &Value::Null), (200, first));
    let (status, last) = platform.ask(&format!("{show}/last_operation"), &Value::Null);
    assert_eq!((status, last), (200, json!({"state": "succeeded"})));
    old_platforms_get_no_endpoints(platform);

    assert_eq!(
        platform.ask(&format!("DELETE {NAMES}"), &Value::Null).0,
        400
    );
    let unbind = format!("DELETE {NAMES}{}", query(FREE));
    assert_eq!(platform.ask(&unbind, &Value::Null), (200, json!({})));
    assert_eq!(platform.ask(&unbind, &Value::Null), (410, json!({})));
    assert_eq!(platform.ask(&show, &Value::Null).0, 404);
}

fn old_platforms_get_no_endpoints(platform: &mut Platform) {
    let old = format!("{BASIC}X-Broker-API-Version: 2.14\r\n");
    let header = std::mem::replace(&mut platform.header, old);
    let (status, body) = platform.ask(&format!("GET {NAMES}"), &Value::Null);
    assert!(status == 200 && body.get("endpoints").is_none(), "{body}");
    platform.header = header;
}

#[test]
fn numbers_to_listen_on_are_counted_for_each_app() {
    let mut ground = two_instances();
    let platform = &mut ground.platform;
    for (id, binding, app, number) in [
        ("i1", "b1", "app", 4_100),
        ("i2", "b2", "app", 4_101),
        ("i2", "b3", "other", 4_100),
    ] {
        let (status, body) = platform.bind(id, binding, app);
        assert_eq!(
            (status, &body["credentials"]["int_port"]),
            (201, &json!(number))
        );
    }
    let variables = |binding: &str| {
        let said = ground.agent.ctl(&["bindings", "show", binding, "--env"]);
        said.ok().stdout
    };
    let several = variables("b2");
    assert!(
        several.starts_with("STACKATO_HARBOR_SAME_NAME="),
        "{several}"
    );
    assert_eq!(variables("b3"), "STACKATO_HARBOR=4100\n");
    assert_eq!(ground.agent.items(&["bindings", "list"]).len(), 3);
    // A platform that lost the answer ends the instance with what is bound to it.
    assert_eq!(platform.deprovision("i2").0, 200);
    assert_eq!(ground.agent.items(&["bindings", "list"]).len(), 1);
}

#[test]
fn a_binding_that_is_wrong_is_refused_by_name() {
    let mut ground = two_instances();
    let right = json!({"service_id": SERVICE, "plan_id": FREE});
    for (key, value, field) in [
        ("parameters", json!({"x": 1}), "x"),
        (
            "bind_resource",
            json!({"route": "a.b"}),
            "bind_resource.route",
        ),
        ("plan_id", json!(TCP), ""),
        ("plan_id", json!(SERVICE), "plan_id"),
        ("service_id", json!("x"), "service_id"),
    ] {
        let mut body = right.clone();
        body[key] = value;
        let line = "PUT /v2/service_instances/i1/service_bindings/b9";
        let (status, answer) = ground.platform.ask(line, &body);
        assert_eq!(status, 400, "{body}: {answer}");
        assert!(field.is_empty() || answer["field"] == field, "{answer}");
    }
    assert!(ground.agent.items(&["bindings", "list"]).is_empty());
}
