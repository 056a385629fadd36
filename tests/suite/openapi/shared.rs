//! The operations of the control API that need a platform or nodes that share a registry.

use std::time::Duration;

use kit::http::Http;
use serde_json::{Value, json};

use super::{
    control::ELSEWHERE,
    document::{Question, Reader},
};
use crate::{
    gateway::Ground,
    registry::{other, redis_of},
};

#[test]
fn what_needs_a_platform_or_other_nodes_answers_what_its_document_says() {
    let mut redis = None;
    let mut ground = Ground::on(|lab| {
        let server = redis.insert(redis_of(lab));
        format!("{}[ports]\nrest = \"0s\"\n", server.config("one"))
    });
    let redis = redis.expect("started before the agent");
    let mut two = other(&ground.lab, &redis.config("two"), "two");
    two.kill();
    let body = crate::gateway::order("web", &Value::Null);
    assert_eq!(ground.platform.provision("i1", &body).0, 201);
    assert_eq!(ground.platform.bind("i1", "b1", "app").0, 201);

    let mut reader = Reader::new(Http::new(&ground.agent.socket()), "");
    let mut ask = |method: &str, path: &str, id: &str, body: Value| {
        reader.ask(Question {
            method,
            path,
            place: &path.replace("{id}", id),
            body,
        })
    };
    let nothing = || Value::Null;
    let (status, binding) = ask("get", "/v1/bindings/{id}", "b1", nothing());
    assert_eq!((status, &binding["id"]), (200, &json!("b1")), "{binding}");
    let (status, node) = ask("post", "/v1/nodes/{id}/drain", "one", nothing());
    assert_eq!((status, &node["state"]), (200, &json!("drained")), "{node}");
    let (status, node) = ask("post", "/v1/nodes/{id}/resume", "one", nothing());
    assert_eq!((status, &node["state"]), (200, &json!("up")), "{node}");
    // A node that was killed is away some seconds later, and can be forgotten then.
    kit::eventually(Duration::from_secs(30), || {
        let (status, answer) = ask("delete", "/v1/nodes/{id}", "two", nothing());
        assert!(matches!(status, 200 | 409), "{status} {answer}");
        status == 200
    });
    let (status, moved) = ask("post", "/v1/nodes/detach", "", json!({"keep": true}));
    assert_eq!(status, 200, "{moved}");
    let unseen = reader.unseen();
    let missed = ELSEWHERE.map(|(path, method)| (path.to_owned(), method.to_owned()));
    assert!(missed.iter().all(|one| !unseen.contains(one)), "{unseen:?}");
}
