//! Open Service Broker 2.17: every MUST of the specification that is a broker's.

use serde_json::{Value, json};

use super::{BASIC, FREE, Ground, Platform, SERVICE, TCP, VERSION, order};

const INSTANCE: &str = "/v2/service_instances/i1";

/// The body without one field.
fn without(body: &Value, field: &str) -> Value {
    let mut body = body.clone();
    body.as_object_mut().unwrap().remove(field);
    body
}

/// The body with another value for one field.
fn with(body: &Value, field: &str, value: Value) -> Value {
    let mut body = body.clone();
    body[field] = value;
    body
}

pub(super) fn query(plan: &str) -> String {
    format!("?service_id={SERVICE}&plan_id={plan}")
}

#[test]
fn nobody_gets_in_without_password_and_version() {
    let mut ground = Ground::start("");
    let platform = &mut ground.platform;
    let paths = ["/v2/catalog", INSTANCE, "/v2/nothing", "/"];
    let wrong = [
        "",
        "Authorization: Basic aGFyYm9yOndyb25n\r\n",
        "Authorization: Basic !\r\n",
        "Authorization: Bearer a-password-of-platforms\r\n",
    ];
    for path in paths {
        for credentials in wrong {
            platform.header = format!("{credentials}{VERSION}");
            for method in ["GET", "PUT", "DELETE", "POST"] {
                let (status, body) = platform.ask(&format!("{method} {path}"), &Value::Null);
                assert_eq!(status, 401, "{method} {path} {credentials}");
                assert!(body["description"].is_string());
            }
        }
    }
    for version in [
        "",
        "X-Broker-API-Version: 1.0\r\n",
        "X-Broker-API-Version: 3.0\r\n",
    ] {
        platform.header = format!("{BASIC}{version}");
        let (status, body) = platform.ask("GET /v2/catalog", &Value::Null);
        assert_eq!(status, 412, "{version}");
        assert!(body["description"].as_str().unwrap().contains("2.17"));
    }
    let log = ground.agent.log("gateway");
    assert!(log.contains("refused: no user and password"), "{log}");
}

#[test]
fn the_catalog_has_one_service_and_five_plans() {
    let mut ground = Ground::start("");
    let (status, catalog) = ground.platform.ask("GET /v2/catalog", &Value::Null);
    assert_eq!(status, 200);
    let service = &catalog["services"][0];
    assert_eq!(
        (&service["id"], &service["name"]),
        (&json!(SERVICE), &json!("harbor"))
    );
    for key in ["bindable", "instances_retrievable", "bindings_retrievable"] {
        assert_eq!(service[key], true, "{key}");
    }
    let plans = service["plans"].as_array().unwrap();
    let names: Vec<&str> = plans
        .iter()
        .map(|plan| plan["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["free", "tcp", "udp", "both", "https"]);
    let schema = &plans[0]["schemas"]["service_instance"]["create"]["parameters"];
    assert_eq!(schema["additionalProperties"], false);
    assert!(schema["properties"]["max_connections"].is_object());
}

#[test]
fn an_instance_is_made_once_and_ends_once() {
    let mut ground = Ground::start("");
    let platform = &mut ground.platform;
    let body = order("udp-game", &json!({"limits": {"max_connections": 5}}));
    assert_eq!(platform.provision("i1", &body), (201, json!({})));
    assert_eq!(platform.provision("i1", &body).0, 200);
    for different in [
        with(&body, "plan_id", json!(TCP)),
        with(&body, "space_guid", json!("another")),
        with(
            &body,
            "parameters",
            json!({"limits": {"max_connections": 6}}),
        ),
    ] {
        assert_eq!(platform.provision("i1", &different).0, 409, "{different}");
    }
    let port = ground.agent.ctl_json(&["ports", "show", "i1"]);
    assert_eq!(
        (&port["name"], &port["protocols"]),
        (&json!("udp-game"), &json!(["udp"]))
    );
    assert_eq!(port["settings"]["max_connections"], 5);
    let (status, shown) = platform.ask(&format!("GET {INSTANCE}"), &Value::Null);
    assert_eq!((status, &shown["plan_id"]), (200, &json!(FREE)));
    assert_eq!(shown["parameters"]["limits"]["max_connections"], 5);
    let last = format!("GET {INSTANCE}/last_operation{}", query(FREE));
    assert_eq!(
        platform.ask(&last, &Value::Null),
        (200, json!({"state": "succeeded"}))
    );

    for wrong in [
        "",
        "?service_id=x&plan_id=y",
        &query(TCP),
        &format!("?plan_id={FREE}"),
    ] {
        let (status, body) = platform.ask(&format!("DELETE {INSTANCE}{wrong}"), &Value::Null);
        assert_eq!(status, 400, "{wrong}: {body}");
    }
    assert_eq!(ground.agent.items(&["ports", "list"]).len(), 1);
    assert_eq!(platform.deprovision("i1"), (200, json!({})));
    assert_eq!(platform.deprovision("i1"), (410, json!({})));
    assert_eq!(
        platform.ask(&format!("GET {INSTANCE}"), &Value::Null).0,
        404
    );
    assert_eq!(platform.ask(&last, &Value::Null).0, 410);
    assert!(ground.agent.items(&["ports", "list"]).is_empty());
}

#[test]
fn what_is_wrong_is_refused_by_name_and_changes_nothing() {
    let mut ground = Ground::start("");
    let platform = &mut ground.platform;
    let body = order("web", &Value::Null);
    for field in ["service_id", "plan_id", "organization_guid", "space_guid"] {
        let cases = [
            without(&body, field),
            with(&body, field, json!("")),
            with(&body, field, json!(7)),
        ];
        for case in cases {
            let (status, answer) = platform.provision("i1", &case);
            assert_eq!(status, 400, "{field}: {answer}");
            assert!(
                answer["description"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty())
            );
        }
    }
    for (parameters, field) in [
        (json!({"colour": "red"}), "colour"),
        (json!({"policy": "random"}), "policy"),
        (json!({"port": 80_000}), "port"),
        (json!({"port": 80}), "port"),
        (json!({"denied_cidrs": ["x"]}), "denied_cidrs"),
        (json!({"limits": {"x": 1}}), "limits.x"),
        (json!({"for": "soon"}), "for"),
        (json!("x"), "parameters"),
    ] {
        let (status, answer) = platform.provision("i1", &order("web", &parameters));
        assert_eq!((status, &answer["field"]), (400, &json!(field)), "{answer}");
    }
    let conflict = with(&body, "maintenance_info", json!({"version": "2.0.0"}));
    let (status, answer) = platform.provision("i1", &conflict);
    assert_eq!(
        (status, &answer["error"]),
        (422, &json!("MaintenanceInfoConflict"))
    );
    for id in ["a%20b", "%1b", &"x".repeat(65)] {
        assert_eq!(platform.provision(id, &body).0, 400, "{id}");
    }
    let (status, _) = raw(platform, "PUT", b"{\"service_id\"");
    assert_eq!(status, 400);
    let (status, _) = raw(platform, "PUT", &vec![b' '; 65 * 1024]);
    assert_eq!(status, 413);
    assert!(ground.agent.items(&["ports", "list"]).is_empty());
    // What nobody has to know is left alone: that is how platforms extend the specification.
    let extended = with(&body, "x-of-the-platform", json!({"deep": [1]}));
    assert_eq!(platform.provision("i1", &extended).0, 201);
}

fn raw(platform: &mut Platform, method: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let line = format!("{method} {INSTANCE}");
    platform.http.ask(&line, &platform.header, body).unwrap()
}

#[test]
fn methods_and_paths_that_are_not_known_are_said_to_be_so() {
    let mut ground = Ground::start("");
    let platform = &mut ground.platform;
    for (line, expected) in [
        ("POST /v2/catalog", 405),
        ("DELETE /v2/catalog", 405),
        ("POST /v2/service_instances/i1", 405),
        ("PATCH /v2/service_instances/i1/service_bindings/b1", 405),
        ("PUT /v2/service_instances/i1/last_operation", 405),
        ("GET /v2/service_instances", 404),
        ("GET /v1/ports", 404),
    ] {
        let (status, body) = platform.ask(line, &Value::Null);
        assert_eq!(status, expected, "{line}");
        assert!(body["description"].is_string(), "{line}: {body}");
    }
}

#[test]
fn everything_but_port_and_plan_can_be_updated() {
    let mut ground = Ground::start("");
    let platform = &mut ground.platform;
    assert_eq!(
        platform
            .provision("i1", &order("web", &json!({"drain_s": 5})))
            .0,
        201
    );
    let patch = |parameters: Value| json!({"service_id": SERVICE, "parameters": parameters});
    let line = format!("PATCH {INSTANCE}");
    let (status, body) = platform.ask(&line, &patch(json!({"policy": "first"})));
    assert_eq!((status, body), (200, json!({})));
    let port = ground.agent.ctl_json(&["ports", "show", "i1"]);
    assert_eq!(
        (&port["policy"], &port["drain_s"]),
        (&json!("first"), &json!(5))
    );
    let (_, shown) = platform.ask(&format!("GET {INSTANCE}"), &Value::Null);
    assert_eq!(
        shown["parameters"],
        json!({"drain_s": 5, "policy": "first"})
    );
    for (body, expected) in [
        (
            patch(json!({"port": 35_001 + port["port"].as_u64().unwrap() % 2})),
            400,
        ),
        (patch(json!({"colour": 1})), 400),
        (json!({"parameters": {}}), 400),
        (json!({"service_id": "x"}), 400),
        (json!({"service_id": SERVICE, "plan_id": TCP}), 422),
        (json!({"service_id": SERVICE, "plan_id": FREE}), 200),
    ] {
        let (status, answer) = platform.ask(&line, &body);
        // A number that happens to be the port's own changes nothing.
        let is_own = body["parameters"]["port"] == port["port"];
        assert!(status == expected || is_own, "{body}: {status} {answer}");
    }
    let nobody = "PATCH /v2/service_instances/i2";
    assert_eq!(platform.ask(nobody, &patch(Value::Null)).0, 404);
    // A provision that is repeated after the update still says the same.
    assert_eq!(
        platform
            .provision("i1", &order("web", &json!({"drain_s": 5})))
            .0,
        200
    );
}

#[test]
fn on_whose_behalf_a_change_was_asked_stands_in_the_log() {
    let mut ground = Ground::start("");
    let platform = &mut ground.platform;
    // {"user_id": "alice"}
    let identity = "X-Broker-API-Originating-Identity: cloudfoundry eyJ1c2VyX2lkIjogImFsaWNlIn0=\r\n\
                    X-Broker-API-Request-Identity: request-77\r\n";
    platform.header.push_str(identity);
    assert_eq!(platform.provision("i1", &order("web", &Value::Null)).0, 201);
    let log = ground.agent.log("gateway");
    assert!(log.contains("alice") && log.contains("request-77"), "{log}");
    platform.header = format!("{BASIC}{VERSION}X-Broker-API-Originating-Identity: x y\r\n");
    let (status, answer) = platform.provision("i2", &order("web", &Value::Null));
    assert_eq!(status, 400, "{answer}");
}

#[test]
fn instances_are_not_what_operators_made_and_outlive_the_agent() {
    let mut ground = Ground::start("");
    let own = ground.agent.ctl_json(&["ports", "create", "web"]);
    let id = own["id"].as_str().unwrap();
    let platform = &mut ground.platform;
    assert_eq!(platform.provision(id, &order("web", &Value::Null)).0, 409);
    assert_eq!(platform.deprovision(id).0, 410);
    assert_eq!(platform.provision("i1", &order("web", &Value::Null)).0, 201);
    assert_eq!(platform.provision("i2", &order("web", &Value::Null)).0, 201);
    let refused = ground.agent.ctl(&["ports", "show", "web"]);
    assert_eq!(
        refused.stderr.matches("candidate").count(),
        3,
        "{}",
        refused.stderr
    );
    let (_, before) = platform.bind("i1", "b1", "app");
    assert_eq!(ground.agent.ctl(&["ports", "create", "web"]).code, 5);

    let exported = ground.agent.ctl_json(&["state", "export"]);
    assert!(exported.to_string().contains("\"b1\""), "{exported}");
    ground.agent.kill();
    ground.agent.restart();
    kit::eventually(std::time::Duration::from_secs(20), || {
        let mut platform = Platform::of(&ground.lab);
        let line = "GET /v2/service_instances/i1/service_bindings/b1";
        let answer = platform.http.ask(line, &platform.header, b"");
        answer.is_ok_and(|(status, body)| {
            status == 200 && serde_json::from_slice::<Value>(&body).unwrap() == before
        })
    });
}
