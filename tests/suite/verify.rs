//! Somebody else writes into the kernel's tables: it is found, named and put right, and flows go on.

use std::path::PathBuf;

use kit::{V4, finish, traffic};
use serde_json::Value;

use crate::scene::Scene;

/// Tables whose elements are numbered.
const ARRAYS: [&str; 6] = [
    "frontends",
    "backend_sets",
    "backends",
    "turns",
    "next_hops",
    "interfaces",
];

fn pinned(scene: &Scene, map: &str) -> PathBuf {
    scene.lab.maps().join(map)
}

fn bpftool(scene: &Scene, words: &[String]) -> String {
    finish(scene.lab.node.command("bpftool").args(words))
        .ok()
        .stdout
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// How many octets a value of this map has.
fn octets(scene: &Scene, map: &str) -> u64 {
    let text = format!("--json map show pinned {}", pinned(scene, map).display());
    let shown = bpftool(scene, &words(&text));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    shown["bytes_value"].as_u64().unwrap()
}

/// Blanks an element that is in use.
fn spoil(scene: &Scene, map: &str) {
    let path = pinned(scene, map).display().to_string();
    if ARRAYS.contains(&map) {
        let used = scene.agent.dump(map);
        let last = used.last().unwrap_or_else(|| panic!("{map} is empty"));
        let key = u32::try_from(last["key"].as_u64().unwrap())
            .unwrap()
            .to_ne_bytes();
        let key: Vec<String> = key.iter().map(u8::to_string).collect();
        let zeroes = vec!["0"; octets(scene, map) as usize].join(" ");
        let text = format!(
            "map update pinned {path} key {} value {zeroes}",
            key.join(" ")
        );
        bpftool(scene, &words(&text));
        return;
    }
    let dumped = bpftool(scene, &words(&format!("--json map dump pinned {path}")));
    let dumped: Value = serde_json::from_str(&dumped).unwrap();
    let key: Vec<&str> = dumped[0]["key"]
        .as_array()
        .unwrap_or_else(|| panic!("{map} is empty"))
        .iter()
        .map(|octet| octet.as_str().unwrap())
        .collect();
    let text = format!("map delete pinned {path} key {}", key.join(" "));
    bpftool(scene, &words(&text));
}

fn verify(scene: &Scene, more: &[&str]) -> (i32, Value) {
    let words = [&["datapath", "verify", "-o", "json"], more].concat();
    let found = scene.agent.ctl(&words);
    (found.code, found.json())
}

/// A node whose tables are all in use, with a port that is served by turn tables.
fn scene() -> (Scene, std::net::SocketAddr) {
    let scene = Scene::routed();
    let backends = [scene.app(0), scene.app(1)].map(|app| app.to_string());
    let words = [
        "shared",
        // The last of all frontends, which is the one that is blanked: the other's connections go on.
        "--port",
        "39990",
        "--backend",
        &backends[0],
        "--backend",
        &backends[1],
        "policy=source-hash",
        "denied_cidrs=203.0.113.0/24",
    ];
    let port = scene.agent.create(&words);
    let to = scene.at(port);
    (scene, to)
}

/// Spoils a table, has it found, and has it put right.
#[track_caller]
fn is_found_and_mended(scene: &Scene, map: &str) {
    spoil(scene, map);
    let (code, found) = verify(scene, &[]);
    assert_eq!(code, 7, "{map}: {found}");
    let is_named = |difference: &Value| difference["map"] == map;
    let differences = found["differences"].as_array().unwrap();
    assert!(differences.iter().any(is_named), "{map}: {found}");
    assert_eq!(found["is_repaired"], false, "{found}");
    let (code, mended) = verify(scene, &["--repair"]);
    assert_eq!(
        (code, &mended["is_repaired"]),
        (0, &true.into()),
        "{mended}"
    );
    let (code, left) = verify(scene, &[]);
    assert_eq!((code, &left["count"]), (0, &0.into()), "{map}: {left}");
}

#[test]
fn a_table_that_somebody_else_has_written_is_found_and_put_right() {
    let (scene, to) = scene();
    let web = scene.port("web");
    let (code, well) = verify(&scene, &[]);
    assert_eq!((code, &well["count"]), (0, &0.into()), "{well}");
    assert!(well["elements"].as_u64().unwrap() > 20, "{well}");
    let live = traffic::Live::open(&scene.lab.client, web, 10);
    for map in ["frontends", "backend_sets", "endpoints", "turns", "acl"] {
        is_found_and_mended(&scene, map);
        live.progress();
        for port in [to, web] {
            let tally = traffic::connect(&scene.lab.client, port, 4);
            assert_eq!(tally.errors, Vec::<String>::new(), "{map}");
        }
    }
    assert_eq!(live.finish().errors, Vec::<String>::new());
    for map in [
        "addresses",
        "routes",
        "neighbours",
        "next_hops",
        "interfaces",
    ] {
        is_found_and_mended(&scene, map);
        let tally = traffic::connect(&scene.lab.client, web, 4);
        assert_eq!(tally.errors, Vec::<String>::new(), "{map}");
    }
    let repaired = scene.agent.ctl(&["events", "--audit"]).ok().stdout;
    assert!(repaired.contains("/v1/datapath/repair"), "{repaired}");
}

#[test]
fn what_nobody_wrote_is_taken_away() {
    let (scene, _) = scene();
    let path = pinned(&scene, "addresses").display().to_string();
    let dumped = bpftool(&scene, &words(&format!("--json map dump pinned {path}")));
    let dumped: Value = serde_json::from_str(&dumped).unwrap();
    let value: Vec<&str> = dumped[0]["value"]
        .as_array()
        .unwrap()
        .iter()
        .map(|octet| octet.as_str().unwrap())
        .collect();
    let stranger = "0 0 0 0 0 0 0 0 0 0 255 255 203 0 113 9";
    let text = format!(
        "map update pinned {path} key {stranger} value {}",
        value.join(" ")
    );
    bpftool(&scene, &words(&text));
    let (code, found) = verify(&scene, &[]);
    assert_eq!((code, &found["count"]), (7, &1.into()), "{found}");
    assert_eq!(found["differences"][0]["problem"], "unexpected", "{found}");
    assert_eq!(found["differences"][0]["element"], "203.0.113.9", "{found}");
    let shown = scene.agent.ctl(&["datapath", "verify", "--repair"]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    assert!(
        shown.stdout.contains("1 of ") && shown.stdout.contains("addresses  203.0.113.9"),
        "{}",
        shown.stdout
    );
    assert_eq!(verify(&scene, &[]).0, 0);
}

#[test]
fn where_the_proxy_forwards_alone_there_is_nothing_to_compare() {
    let config = kit::Config::with("[datapath]\nmode = \"proxy\"\n");
    let scene = Scene::on(kit::Lab::routed(), &config).of(V4);
    let refused = scene.agent.ctl(&["datapath", "verify"]);
    assert_eq!(refused.code, 7, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("the proxy forwards alone"),
        "{}",
        refused.stderr
    );
}
