//! The pinned maps as an operator reads them with bpftool.

use std::path::Path;

use kit::{finish, traffic};
use serde_json::Value;

use crate::scene::Scene;

fn dump(scene: &Scene, map: &Path) -> Vec<Value> {
    let mut command = scene.lab.node.command("bpftool");
    command.args(["--json", "map", "dump", "pinned"]).arg(map);
    finish(&mut command).ok().json().as_array().unwrap().clone()
}

/// The first dumped element whose value names this field with this value.
#[track_caller]
fn find<'a>(elements: &'a [Value], field: &str, value: &Value) -> &'a Value {
    let found = elements
        .iter()
        .map(|e| &e["formatted"]["value"])
        .find(|v| v[field] == *value);
    found.unwrap_or_else(|| {
        panic!(
            "no element with {field} = {value} in {} elements",
            elements.len()
        )
    })
}

/// One element of an array; a dump of a large one would show all the empty ones.
fn look_up(scene: &Scene, map: &str, index: u64) -> Value {
    let key = u32::try_from(index)
        .unwrap()
        .to_ne_bytes()
        .map(|byte| byte.to_string());
    let mut command = scene.lab.node.command("bpftool");
    command
        .args(["--json", "map", "lookup", "pinned"])
        .arg(scene.lab.maps().join(map));
    command.arg("key").args(key);
    finish(&mut command).ok().json()["formatted"]["value"].clone()
}

/// An IPv4 address as tables of both families hold it.
fn mapped(address: [u8; 4]) -> Value {
    let mut octets = vec![0; 10];
    octets.extend([0xff, 0xff]);
    octets.extend(address);
    octets.into()
}

#[test]
fn every_map_is_pinned_under_its_name() {
    let scene = Scene::routed();
    for name in harbor_common::maps::ALL {
        assert!(scene.lab.maps().join(name).exists(), "{name}");
    }
}

#[test]
fn a_dump_shows_named_fields_that_a_person_can_read() {
    let scene = Scene::routed();
    let to = scene.port("web");
    let live = traffic::Live::open(&scene.lab.client, to, 1);
    let endpoints = dump(&scene, &scene.lab.maps().join("endpoints"));
    let first = endpoints
        .iter()
        .map(|element| &element["formatted"])
        .find(|element| element["key"]["address"]["octets"] == mapped([10, 77, 2, 11]));
    let first = first.unwrap_or_else(|| panic!("{endpoints:?}"));
    assert_eq!(first["key"]["port"], 9001, "{first}");
    assert_eq!(first["key"]["protocol"], 6, "{first}");
    let backend = look_up(&scene, "backends", first["value"].as_u64().unwrap());
    assert_eq!(
        backend["address"]["octets"],
        mapped([10, 77, 2, 11]),
        "{backend}"
    );
    assert_eq!(backend["port"], 9001, "{backend}");
    let flows = dump(&scene, &scene.lab.maps().join("flows"));
    assert_eq!(flows.len(), 2, "one flow, two directions");
    let forward = find(&flows, "destination_port", &9001.into());
    assert_eq!(
        forward["source"]["octets"],
        serde_json::json!([10, 77, 2, 1]),
        "{forward}"
    );
    let keys: Vec<&Value> = flows
        .iter()
        .map(|element| &element["formatted"]["key"])
        .collect();
    assert!(
        keys.iter().any(|key| key["destination_port"] == to.port()),
        "host order: {keys:?}"
    );
    let meta = dump(&scene, &scene.lab.maps().join("meta"));
    assert_eq!(
        meta[0]["formatted"]["value"]["layout"],
        harbor_common::maps::LAYOUT
    );
    assert_eq!(live.finish().errors.len(), 0);
}

#[test]
fn harbor_ctl_dumps_the_same_maps_without_bpftool() {
    let scene = Scene::routed();
    scene.port("web");
    let config = scene.agent.config_file();
    let dumped = scene.agent.ctl(&[
        "datapath",
        "dump",
        "backends",
        "-o",
        "json",
        "--config",
        config.to_str().unwrap(),
    ]);
    assert!(dumped.ok().stdout.contains("9001"));
}
