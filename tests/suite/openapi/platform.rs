//! Every operation of the platform API is asked, and answers what its document says.

use kit::http::Http;
use serde_json::{Value, json};

use super::document::{Question, Reader};
use crate::gateway::{BASIC, FREE, Ground, LISTEN, SERVICE, VERSION, order};

const INSTANCE: &str = "/v2/service_instances/{id}";
const BINDING: &str = "/v2/service_instances/{id}/service_bindings/{binding}";

/// Asks; the answer must have this status, and be as the document says.
#[track_caller]
fn expect(
    reader: &mut Reader,
    status: u16,
    (method, path, query): (&str, &str, &str),
    body: Value,
) {
    let place = path.replace("{id}", "i1").replace("{binding}", "b1");
    let place = format!("{place}{query}");
    let (answered, answer) = reader.ask(Question {
        method,
        path,
        place: &place,
        body,
    });
    assert_eq!(answered, status, "{method} {place}: {answer}");
}

#[test]
fn the_platform_api_answers_what_its_document_says() {
    let ground = Ground::start("[limits]\nports = 1\n[public]\naddress = \"192.0.2.7\"\n");
    let http = || Http::tcp(&ground.lab.node, LISTEN.parse().unwrap());
    let mut reader = Reader::new(http(), &format!("{BASIC}{VERSION}"));
    let named = format!("?service_id={SERVICE}&plan_id={FREE}");
    let nothing = || Value::Null;
    let good = order("web", &json!({"drain_s": 7, "health": {"type": "tcp"}}));
    let bind = json!({"service_id": SERVICE, "plan_id": FREE, "bind_resource": {"app_guid": "a"}});
    let operation = format!("{INSTANCE}/last_operation");
    let of_binding = format!("{BINDING}/last_operation");

    expect(&mut reader, 200, ("get", "/v2/catalog", ""), nothing());
    expect(&mut reader, 201, ("put", INSTANCE, ""), good.clone());
    expect(&mut reader, 200, ("put", INSTANCE, ""), good.clone());
    expect(
        &mut reader,
        409,
        ("put", INSTANCE, ""),
        order("web", &json!({"drain_s": 8})),
    );
    expect(
        &mut reader,
        400,
        ("put", INSTANCE, ""),
        order("web", &json!({"colour": 8})),
    );
    expect(&mut reader, 400, ("put", INSTANCE, ""), json!({}));
    expect(
        &mut reader,
        413,
        ("put", INSTANCE, ""),
        json!("x".repeat(70_000)),
    );
    expect(&mut reader, 200, ("get", INSTANCE, ""), nothing());
    expect(&mut reader, 200, ("get", &operation, ""), nothing());
    let update = json!({"service_id": SERVICE, "parameters": {"drain_s": 9}});
    expect(&mut reader, 200, ("patch", INSTANCE, ""), update);
    expect(&mut reader, 201, ("put", BINDING, ""), bind.clone());
    expect(&mut reader, 200, ("put", BINDING, ""), bind);
    expect(&mut reader, 200, ("get", BINDING, ""), nothing());
    expect(&mut reader, 200, ("get", &of_binding, ""), nothing());
    let (status, answer) = reader.ask(Question {
        method: "put",
        path: INSTANCE,
        place: "/v2/service_instances/i2",
        body: good,
    });
    assert_eq!((status, &answer["error"]), (422, &json!("QuotaExceeded")));
    expect(&mut reader, 200, ("delete", BINDING, &named), nothing());
    expect(&mut reader, 410, ("delete", BINDING, &named), nothing());
    expect(&mut reader, 410, ("get", &of_binding, ""), nothing());
    expect(&mut reader, 400, ("delete", INSTANCE, ""), nothing());
    expect(&mut reader, 200, ("delete", INSTANCE, &named), nothing());
    expect(&mut reader, 410, ("delete", INSTANCE, &named), nothing());
    expect(&mut reader, 404, ("get", INSTANCE, ""), nothing());
    expect(&mut reader, 410, ("get", &operation, ""), nothing());
    assert_eq!(reader.unseen(), [].into());

    let mut stranger = Reader::new(http(), VERSION);
    expect(&mut stranger, 401, ("get", "/v2/catalog", ""), nothing());
    let mut old = Reader::new(http(), BASIC);
    expect(&mut old, 412, ("get", "/v2/catalog", ""), nothing());
}
