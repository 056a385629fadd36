//! Platforms that ask several nodes of one registry.

use std::time::Duration;

use kit::{Agent, Config, Lab, Redis, eventually, http::Http};
use serde_json::{Value, json};

use super::{BASIC, Platform, VERSION, order, password};
use crate::registry::{other, redis_of};

const SOON: Duration = Duration::from_secs(20);

fn at(node: &Agent) -> Platform {
    Platform {
        http: Http::tcp(node.host(), ([127, 0, 0, 1], 8_443).into()),
        header: format!("{BASIC}{VERSION}"),
    }
}

/// Two nodes of one registry, each with its gateway.
fn nodes(lab: &Lab, redis: &Redis) -> (Agent, Agent) {
    nodes_with(lab, redis, "")
}

fn nodes_with(lab: &Lab, redis: &Redis, more: &str) -> (Agent, Agent) {
    let file = password(lab);
    let lines = |node: &str| {
        let gateway = format!("[gateway]\npassword_file = {file:?}\n{more}");
        format!("{}{gateway}", redis.config(node))
    };
    let one = Agent::start_with(lab, &Config::with(&lines("one")));
    (one, other(lab, &lines("two"), "two"))
}

/// "Gone" for what another node has just made would leave it there for ever.
#[test]
fn what_one_node_has_made_another_can_end_at_once() {
    let lab = Lab::routed();
    let redis = redis_of(&lab);
    let (one, two) = nodes(&lab, &redis);
    let (mut here, mut there) = (at(&one), at(&two));
    for number in 0..20 {
        let id = format!("i{number}");
        assert_eq!(here.provision(&id, &order("web", &Value::Null)).0, 201);
        assert_eq!(there.bind(&id, "b", "app").0, 201, "{id}");
        assert_eq!(here.unbind(&id, "b").0, 200, "{id}");
        assert_eq!(here.bind(&id, "c", "app").0, 201, "{id}");
        assert_eq!(there.deprovision(&id).0, 200, "{id}");
    }
    eventually(SOON, || one.items(&["ports", "list"]).is_empty());
}

#[test]
fn one_id_that_two_nodes_are_asked_for_is_one_port() {
    let lab = Lab::routed();
    let redis = redis_of(&lab);
    let (one, two) = nodes(&lab, &redis);
    let barrier = std::sync::Barrier::new(100);
    let (nodes, barrier_of) = ([&one, &two], &barrier);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = |number: usize| {
            scope.spawn(move || {
                let mut platform = at(nodes[number % 2]);
                barrier_of.wait();
                platform.provision("the-one", &order("web", &Value::Null)).0
            })
        };
        let threads: Vec<_> = (0..100).map(ask).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(
        statuses.iter().filter(|&&status| status == 201).count(),
        1,
        "{statuses:?}"
    );
    assert_eq!(
        statuses.iter().filter(|&&status| status == 200).count(),
        99,
        "{statuses:?}"
    );
    for agent in [&one, &two] {
        eventually(SOON, || agent.items(&["ports", "list"]).len() == 1);
    }

    // Either node binds; the credentials are those of the node that serves the port.
    let told: Vec<Value> = [(&one, "b1"), (&two, "b2")]
        .iter()
        .map(|(node, binding)| {
            let (status, body) = at(node).bind("the-one", binding, "app");
            assert_eq!(status, 201, "{body}");
            body["credentials"].clone()
        })
        .collect();
    assert_eq!(told[0]["node_id"], told[1]["node_id"]);
    assert_eq!(told[0]["host"], told[1]["host"]);
    assert_eq!(
        (&told[0]["int_port"], &told[1]["int_port"]),
        (&json!(4_100), &json!(4_101))
    );
    assert_eq!(at(&two).deprovision("the-one").0, 200);
    eventually(SOON, || one.items(&["ports", "list"]).is_empty());
    assert_eq!(at(&one).deprovision("the-one").0, 410);
}

/// Asks both nodes at the same moment, so often; the statuses.
fn race(
    nodes: [&Agent; 2],
    count: usize,
    ask: impl Fn(&mut Platform, usize) -> u16 + Sync,
) -> Vec<u16> {
    let barrier = std::sync::Barrier::new(count);
    std::thread::scope(|scope| {
        let one = |number: usize| {
            let (barrier, ask) = (&barrier, &ask);
            scope.spawn(move || {
                let mut platform = at(nodes[number % 2]);
                barrier.wait();
                ask(&mut platform, number)
            })
        };
        let threads: Vec<_> = (0..count).map(one).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

#[test]
fn two_nodes_that_race_for_a_quota_keep_it() {
    let lab = Lab::routed();
    let redis = redis_of(&lab);
    let (one, two) = nodes_with(&lab, &redis, "[limits]\nports_per_space = 5\n");
    let statuses = race([&one, &two], 30, |platform, number| {
        platform
            .provision(&format!("i{number}"), &order("web", &Value::Null))
            .0
    });
    let count = |status| statuses.iter().filter(|&&found| found == status).count();
    assert_eq!((count(201), count(422)), (5, 25), "{statuses:?}");
}

#[test]
fn two_nodes_that_bind_one_app_give_it_two_numbers() {
    let lab = Lab::routed();
    let redis = redis_of(&lab);
    let (one, two) = nodes(&lab, &redis);
    for id in ["i0", "i1"] {
        assert_eq!(at(&one).provision(id, &order("web", &Value::Null)).0, 201);
    }
    eventually(SOON, || two.items(&["ports", "list"]).len() == 2);
    for round in 0..10 {
        let app = format!("app-{round}");
        let statuses = race([&one, &two], 2, |platform, number| {
            platform
                .bind(&format!("i{number}"), &format!("b-{round}"), &app)
                .0
        });
        assert_eq!(statuses, [201, 201]);
        let mut bound = one.items(&["bindings", "list"]);
        bound.retain(|binding| binding["app"] == json!(app));
        eventually(SOON, || {
            bound = one.items(&["bindings", "list"]);
            bound.retain(|binding| binding["app"] == json!(app));
            bound.len() == 2
        });
        let number = |index: usize| bound[index]["credentials"]["int_port"].clone();
        assert_ne!(number(0), number(1), "round {round}");
    }
}
