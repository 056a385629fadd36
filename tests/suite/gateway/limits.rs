//! How much there is: numbers of the range, quotas, and time.

use std::time::Duration;

use kit::eventually;
use serde_json::{Value, json};

use super::{Ground, Platform, SERVICE, TCP, order};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_range_that_is_used_up_is_the_platforms_error_and_the_operators_conflict() {
    let mut ground = Ground::start("[ports]\nrange = \"36000-36010\"\n");
    let platform = &mut ground.platform;
    for number in 0..11 {
        let (status, body) = platform.provision(&format!("i{number}"), &order("web", &Value::Null));
        assert_eq!(status, 201, "{number}: {body}");
    }
    let (status, body) = platform.provision("i11", &order("web", &Value::Null));
    assert_eq!(
        (status, &body["error"]),
        (422, &json!("PortRangeExhausted")),
        "{body}"
    );
    assert_eq!(ground.agent.ctl(&["ports", "create", "one-more"]).code, 5);
    // Number taken, and number asked for by name.
    let (status, body) = platform.provision("i12", &order("web", &json!({"port": 36_003})));
    assert_eq!(
        (status, &body["error"]),
        (422, &json!("PortTaken")),
        "{body}"
    );
    // TCP is used up; UDP is not.
    assert_eq!(
        platform
            .provision("i13", &order("udp-game", &Value::Null))
            .0,
        201
    );
}

#[test]
fn quotas_are_of_all_of_an_organization_and_of_a_space() {
    let mut ground = Ground::start("[limits]\nports_per_space = 2\nports_per_organization = 3\n");
    let platform = &mut ground.platform;
    let of = |organization: &str, space: &str| {
        json!({
            "service_id": SERVICE, "plan_id": TCP,
            "organization_guid": organization, "space_guid": space
        })
    };
    let (refused, granted) = (422, 201);
    for (id, body, expected, limit) in [
        ("i1", of("a", "x"), granted, ""),
        ("i2", of("a", "x"), granted, ""),
        ("i3", of("a", "x"), refused, "limits.ports_per_space"),
        ("i4", of("a", "y"), granted, ""),
        ("i5", of("a", "z"), refused, "limits.ports_per_organization"),
        ("i6", of("b", "x"), granted, ""),
    ] {
        let (status, answer) = platform.provision(id, &body);
        assert_eq!(status, expected, "{id}: {answer}");
        if expected == refused {
            assert_eq!(answer["error"], "QuotaExceeded");
            assert_eq!(answer["field"], limit);
        }
    }
    // At once, and for operators too.
    ground
        .agent
        .ctl(&["config", "set", "limits.ports", "4"])
        .ok();
    let (status, answer) = platform.provision("i7", &of("c", "x"));
    assert_eq!((status, &answer["field"]), (422, &json!("limits.ports")));
    let said = ground.agent.ctl(&["ports", "create", "web"]);
    assert!(
        said.code == 5 && said.stderr.contains("limits.ports = 4"),
        "{}",
        said.stderr
    );
    // What is there already is not asked again.
    assert_eq!(platform.provision("i1", &of("a", "x")).0, 200);
    ground
        .agent
        .ctl(&["config", "set", "limits.ports", "0"])
        .ok();
    assert_eq!(platform.provision("i7", &of("c", "x")).0, 201);
}

#[test]
fn a_port_ends_by_itself_also_if_the_agent_was_away() {
    let mut ground = Ground::start("");
    ground.agent.create(&["long", "--for", "2h"]);
    let shown = ground.agent.ctl_json(&["ports", "show", "long"]);
    assert!(
        (7_000..=7_200).contains(&shown["expires_in_s"].as_u64().unwrap()),
        "{shown}"
    );
    let text = ground.agent.ctl(&["ports", "show", "long"]).ok().stdout;
    let is_told = |rest: &&str| text.contains(&format!("by itself in {rest}"));
    assert!(["1h59m", "2h"].iter().any(is_told), "{text}");
    ground
        .agent
        .ctl(&["ports", "set", "long", "--for", "none"])
        .ok();
    assert!(
        ground
            .agent
            .ctl_json(&["ports", "show", "long"])
            .get("expires_in_s")
            .is_none()
    );
    assert_eq!(
        ground
            .agent
            .ctl(&["ports", "set", "long", "--for", "soon"])
            .code,
        2
    );
    assert_eq!(
        ground
            .platform
            .provision("i1", &order("short", &json!({"for": "1s"})))
            .0,
        201
    );
    eventually(SOON, || ground.agent.items(&["ports", "list"]).len() == 1);
    eventually(SOON, || {
        ground.agent.log("node").contains("its time is over")
    });

    ground.agent.create(&["away", "--for", "5s"]);
    ground.agent.kill();
    ground.agent.restart();
    eventually(SOON, || {
        ground.agent.ctl(&["ports", "show", "away"]).code == 4
    });
}

#[test]
fn credentials_follow_what_is_public_now() {
    let mut ground = Ground::start("");
    assert_eq!(
        ground
            .platform
            .provision("i1", &order("web", &Value::Null))
            .0,
        201
    );
    let (_, before) = ground.platform.bind("i1", "b1", "a");
    assert!(before["credentials"].get("ext_host").is_none());
    for (key, value) in [
        ("hostname_external", "ports.example.com"),
        ("host_external", "203.0.113.9"),
    ] {
        ground
            .agent
            .ctl(&["config", "set", "harbor_node", key, value])
            .ok();
    }
    let (_, after) = ground.platform.bind("i1", "b2", "a");
    let told = &after["credentials"];
    assert_eq!(told["ext_hostname"], "ports.example.com");
    assert_eq!(told["ext_host"], "203.0.113.9");
    assert!(
        told["uri"]
            .as_str()
            .unwrap()
            .starts_with("tcp://ports.example.com:")
    );
    let shown = ground.agent.ctl_json(&["bindings", "show", "b1"]);
    assert_eq!(shown["credentials"]["ext_host"], "203.0.113.9");
    assert_eq!(shown["credentials"]["int_port"], 4_100);
}

#[test]
fn a_hundred_requests_at_once_for_one_id_make_one_port() {
    let ground = Ground::start("");
    let statuses = at_once(&ground.lab, 100, |platform, _| {
        platform.provision("the-one", &order("web", &Value::Null)).0
    });
    assert_eq!(
        statuses.iter().filter(|&&status| status == 201).count(),
        1,
        "{statuses:?}"
    );
    assert_eq!(statuses.iter().filter(|&&status| status == 200).count(), 99);
    assert_eq!(ground.agent.items(&["ports", "list"]).len(), 1);
}

fn at_once(
    lab: &kit::Lab,
    count: usize,
    ask: impl Fn(&mut Platform, usize) -> u16 + Sync,
) -> Vec<u16> {
    let barrier = std::sync::Barrier::new(count);
    let (barrier, ask) = (&barrier, &ask);
    std::thread::scope(|scope| {
        let one = |number| {
            scope.spawn(move || {
                let mut platform = Platform::of(lab);
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
fn without_tls_the_gateway_stays_on_this_machine() {
    let ground = Ground::start("");
    let lines = "[gateway]\nlisten = \"10.77.2.1:8443\"\npassword_file = \"/x\"\n";
    let file = ground.lab.folder().join("open.toml");
    std::fs::write(&file, lines).unwrap();
    let mut command = ground.lab.node.command(kit::binary("harbor-ctl"));
    let said = kit::finish(command.args(["agent", "--config", file.to_str().unwrap()]));
    assert!([1, 2].contains(&said.code), "{}", said.code);
    for words in [
        "open.toml:2",
        "gateway.listen",
        "in the clear",
        "gateway.tls_cert",
    ] {
        assert!(said.stderr.contains(words), "{words}: {}", said.stderr);
    }
}
