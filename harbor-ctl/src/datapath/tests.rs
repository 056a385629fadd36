//! What can be tested of the datapath's user side without a kernel to load into.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;

#[test]
fn pins_outside_a_bpf_file_system_are_refused_with_the_fix() {
    let directory = tempfile::tempdir().unwrap();
    let error = Pins::new(&directory.path().join("harbor"))
        .prepare()
        .unwrap_err();
    assert!(
        error.message.contains("is not on a BPF file system"),
        "{error}"
    );
    assert!(error.fix.unwrap().starts_with("mount -t bpf bpf "));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn detaching_nothing_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let report = detach(&directory.path().join("harbor")).unwrap();
    assert_eq!(report, crate::model::DetachReport::default());
}

#[test]
fn a_pin_that_is_a_symbolic_link_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("flows");
    std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
    let error = program::pins::pinned_shape(&link).unwrap_err();
    assert!(error.message.contains("symbolic link"), "{error}");
}

#[test]
fn a_second_lock_on_the_same_pins_names_the_first() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let pins = Pins::new(directory.path());
    fs::create_dir(pins.version()).unwrap();
    let first = pins.lock().unwrap();
    assert!(pins.lock().unwrap_err().message.contains("another agent"));
    drop(first);
    pins.lock().unwrap();
}

#[test]
fn the_embedded_object_declares_every_map_that_the_agent_names() {
    let Some(object) = program::object::OBJECT else {
        return;
    };
    let shapes = program::object::shapes(object).unwrap();
    for name in harbor_common::maps::ALL {
        assert!(shapes.contains_key(name), "the object has no map {name}");
    }
}

#[test]
fn the_hosts_own_network_is_read_without_rights() {
    let host = Host::connect().unwrap();
    let snapshot = host.snapshot().unwrap();
    let loopback = snapshot.interfaces.iter().find(|link| link.name == "lo");
    assert!(!loopback.unwrap().can_have_program());
    host.ways().unwrap();
    let nowhere = ["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
    assert_eq!(host.routes(&nowhere.into()).len(), 0);
}

#[test]
fn what_an_older_version_pinned_is_taken_away_and_what_a_newer_one_did_stays() {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path().join("harbor");
    let newer = base.join(format!("v{}", harbor_common::maps::LAYOUT + 1));
    for version in [base.join("v1"), newer.clone()] {
        fs::create_dir_all(version.join("maps")).unwrap();
        fs::create_dir(version.join("links")).unwrap();
    }
    fs::write(base.join("v1/maps/flows"), "").unwrap();
    let report = detach(&base).unwrap();
    assert_eq!(report.maps, ["flows"]);
    assert!(!base.join("v1").exists());
    assert!(newer.join("maps").exists());
}
