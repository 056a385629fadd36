//! Two people who change the same at the same moment: one has changed it, the other is told.

use std::{fs, sync::Barrier};

use super::{
    ADMIN,
    client::{Client, wait_for},
    scene,
};

/// Posts both at once; answers what became of each.
fn at_once(editors: &[Client; 2], path: &str, fields: [&[(&str, &str)]; 2]) -> [u16; 2] {
    let start = Barrier::new(2);
    std::thread::scope(|scope| {
        let threads = [0, 1].map(|n| {
            let (editor, fields, start) = (&editors[n], fields[n], &start);
            scope.spawn(move || {
                start.wait();
                editor.post(path, fields).status
            })
        });
        threads.map(|thread| thread.join().unwrap())
    })
}

/// What one of them has set, of the two values that were posted.
#[track_caller]
fn winner(statuses: [u16; 2], values: [String; 2], what: &str) -> String {
    let [first, second] = values;
    match statuses {
        [303, 422] => first,
        [422, 303] => second,
        both => panic!("{what}: {both:?}"),
    }
}

#[test]
fn what_was_edited_in_the_file_is_shown_and_can_be_changed_by_nobody_unseen() {
    let scene = scene("");
    wait_for(&scene.lab.node);
    let ann = Client::signed_in(&scene.lab.node, ADMIN);
    let file = scene.agent.config_file();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text + "\n[ports]\nrest = \"44s\"\n").unwrap();
    let set = |was: &str| {
        let fields = [("key", "ports.rest"), ("was", was), ("ports.rest", "55s")];
        ann.post("/settings", &fields)
    };
    let refused = set("60s");
    assert_eq!(refused.status, 422);
    let page = refused.body;
    assert!(page.contains("name=\"was\" value=\"44s\""), "{page}");
    assert!(page.contains("was edited in the file"), "{page}");
    assert!(page.contains("href=\"#ports.rest\""), "{page}");
    // Of another key, whoever changes it has not changed this one.
    let other = [("key", "log.keep"), ("was", "14"), ("log.keep", "9")];
    let keep = scene.agent.ctl_json(&["config", "get", "log.keep"]);
    let was = keep["value"].as_str().unwrap();
    let other = [other[0], ("was", was), other[2]];
    assert_eq!(ann.post("/settings", &other).status, 303);
    let events = scene
        .agent
        .items(&["events", "--since", "1h", "--kind", "config_changed"]);
    let rest = events.iter().find(|event| event["key"] == "ports.rest");
    let rest = rest.unwrap_or_else(|| panic!("{events:?}"));
    assert!(
        rest.to_string().contains("as the file was edited before"),
        "{rest}"
    );
    assert_eq!(set("44s").status, 303);
}

#[test]
fn of_two_editors_at_the_same_moment_one_is_told_of_the_other() {
    let scene = scene("");
    wait_for(&scene.lab.node);
    let port = scene.agent.create(&["web"]);
    let editors = [0, 1].map(|_| Client::signed_in(&scene.lab.node, ADMIN));
    let set = format!("/ports/{port}/set");
    let (mut drain, mut rest) = ("30".to_owned(), "60s".to_owned());
    for round in 1..=20 {
        let values = [round, round + 100].map(|seconds| seconds.to_string());
        let [one, other] = &values;
        let was = ("was.drain_s", drain.as_str());
        let fields: [&[_]; 2] = [&[was, ("drain_s", one)], &[was, ("drain_s", other)]];
        let statuses = at_once(&editors, &set, fields);
        drain = winner(statuses, values, "a port's setting");
        let shown = scene.agent.items(&["ports", "list"]);
        assert_eq!(shown[0]["settings"]["drain_s"].to_string(), drain);

        let values = [round, round + 100].map(|seconds| format!("{seconds}s"));
        let [one, other] = &values;
        let of = [("key", "ports.rest"), ("was", rest.as_str())];
        let fields = [one, other].map(|value| [of[0], of[1], ("ports.rest", value.as_str())]);
        let statuses = at_once(&editors, "/settings", [&fields[0], &fields[1]]);
        rest = winner(statuses, values, "a key of the configuration");
        let shown = scene.agent.ctl_json(&["config", "get", "ports.rest"]);
        assert_eq!(shown["value"], rest.as_str());
    }
}
