//! Ports of which only the kernel knows: they stay, nothing says that there are none, and an import ends
//! that only when it names them all.

use std::{fs, path::Path};

use kit::Agent;
use serde_json::{Value, json};

use crate::gateway::{Ground, Platform, order};

use super::lost::{Loss, Older, copy_files, registry, remove, services, state};

const UNKNOWN: &str = "not known by name";

/// Takes these services in.
#[track_caller]
fn import(agent: &Agent, services: &Value) {
    let document = json!({
        "api_version": "v1", "kind": "State", "exported_at": 0, "services": services, "resting": [],
    });
    let file = agent.folder().join("import.json");
    fs::write(&file, document.to_string()).unwrap();
    agent.ctl(&["state", "import", file.to_str().unwrap()]).ok();
}

fn remove_both(state: &Path) {
    for name in ["harbor.redb", "journal.redb"] {
        remove(&state.join(name));
    }
}

/// What is in the kernel is neither denied nor left out in silence.
#[track_caller]
fn is_told(agent: &Agent, number: u16) {
    let number = number.to_string();
    for list in ["ports", "backends"] {
        let listed = agent.ctl(&[list, "list"]);
        assert_eq!(listed.code, 0, "{}", listed.stderr);
        for said in ["warning: ", UNKNOWN, &number, "state confirm"] {
            assert!(listed.stderr.contains(said), "{list}: {}", listed.stderr);
        }
        let document = agent.ctl(&[list, "list", "-o", "json"]).json();
        let warning = document["warning"].as_str().unwrap();
        assert!(warning.contains(&number), "{warning}");
    }
    for command in [
        &["state", "export"][..],
        &["state", "backup"],
        &["ports", "show", &number],
        &["ports", "set", &number, "policy=first"],
        &["ports", "delete", &number, "--yes"],
        &["ports", "delete", "nobody", "--yes"],
    ] {
        let refused = agent.ctl(command);
        let said = &refused.stderr;
        assert_eq!(refused.code, 7, "{command:?}: {said}");
        assert!(said.contains(UNKNOWN) && said.contains(&number), "{said}");
        assert!(said.contains("harbor-ctl state import"), "{said}");
    }
}

#[test]
fn ports_that_only_the_kernel_knows_stay_until_an_import_names_them_all() {
    let mut loss = Loss::new();
    remove_both(&state(&loss.scene.agent));
    loss.scene.agent.restart();
    loss.is_held("the kernel");
    is_told(&loss.scene.agent, loss.to[0].port());
    import(&loss.scene.agent, &json!([]));
    loss.is_held("the kernel");

    // One of the two, and the other is missing still, also after a restart.
    let web = loss.before.as_array().unwrap().iter();
    let web: Value = web.filter(|one| one["name"] == "web").cloned().collect();
    import(&loss.scene.agent, &web);
    for _ in 0..2 {
        let told = registry(&loss.scene.agent);
        let text = told["text"].as_str().unwrap();
        let wanted = "was made anew: 1 port is in the kernel and not in it";
        assert!(text.contains(wanted), "{text}");
        assert_eq!(told["state"], "degraded", "{text}");
        loss.is_served();
        is_told(&loss.scene.agent, loss.to[1].port());
        loss.scene.agent.kill();
        loss.scene.agent.restart();
    }
    // The same under another number accounts for nothing.
    let mut moved = loss.before.clone();
    moved
        .as_array_mut()
        .unwrap()
        .retain(|one| one["name"] != "web");
    moved[0]["port"] = json!(36_999);
    moved[0]["id"] = json!("another");
    moved[0]["name"] = json!("another");
    import(&loss.scene.agent, &moved);
    is_told(&loss.scene.agent, loss.to[1].port());
    loss.is_served();

    import(&loss.scene.agent, &loss.before);
    let agent = &loss.scene.agent;
    assert_eq!(registry(agent)["state"], "ok");
    let listed = agent.ctl(&["ports", "list"]).ok();
    assert_eq!(listed.stderr, "");
    assert_eq!(agent.items(&["ports", "list"]).len(), 3);
    assert_eq!(agent.ctl(&["state", "check"]).code, 0);
    agent.create(&["more"]);
    loss.is_served();
    assert_eq!(loss.live.finish().errors, [""; 0]);
}

/// A platform that hears that an instance is gone forgets its port, and never asks again.
#[test]
fn a_platform_is_not_told_that_an_instance_is_gone() {
    let mut ground = Ground::start("");
    let made = ground.platform.provision("i1", &order("web", &Value::Null));
    assert_eq!(made.0, 201, "{}", made.1);
    assert_eq!(ground.agent.stop(), 0);
    remove_both(&state(&ground.agent));
    ground.agent.restart();
    ground.platform = Platform::of(&ground.lab);
    let refused = ground.platform.deprovision("i1");
    assert_eq!(refused.0, 503, "{}", refused.1);
    assert!(refused.1.to_string().contains(UNKNOWN), "{}", refused.1);
    ground.agent.ctl(&["state", "confirm", "--yes"]).ok();
    assert_eq!(ground.platform.deprovision("i1").0, 410);
}

#[test]
fn the_last_backup_is_named_and_put_back_as_the_fix_says() {
    let mut loss = Loss::new();
    loss.scene.agent.restart();
    let backup = loss.scene.agent.ctl_json(&["state", "backup"])["file"].clone();
    let backup = backup.as_str().unwrap();
    assert_eq!(loss.scene.agent.stop(), 0);
    let folder = state(&loss.scene.agent);
    remove_both(&folder);
    loss.scene.agent.restart();
    loss.is_held("the kernel");
    let fix = registry(&loss.scene.agent)["fix"].clone();
    let (file, journal) = (folder.join("harbor.redb"), folder.join("journal.redb"));
    let aside = folder.join("journal.redb.aside");
    let copy = format!("cp {backup} {}", file.display());
    let aside_too = format!("mv {} {}", journal.display(), aside.display());
    for wanted in [copy, aside_too] {
        assert!(fix.as_str().unwrap().contains(&wanted), "{fix}");
    }
    assert_eq!(loss.scene.agent.stop(), 0);
    fs::copy(backup, file).unwrap();
    fs::rename(journal, aside).unwrap();
    loss.scene.agent.restart();
    assert_eq!(services(&loss.scene.agent), loss.before);
    assert_eq!(registry(&loss.scene.agent)["state"], "ok");
    loss.is_served();
    assert_eq!(loss.live.finish().errors, [""; 0]);
}

#[test]
fn ports_that_are_newer_than_the_registry_stay_until_an_import_names_them() {
    let mut older = Older::new();
    copy_files(&older.yesterday, &state(&older.scene.agent));
    older.scene.agent.restart();
    older.is_held();
    import(&older.scene.agent, &json!([]));
    older.is_held();
    import(&older.scene.agent, &older.now);
    assert_eq!(registry(&older.scene.agent)["state"], "ok");
    assert_eq!(older.scene.agent.ctl(&["state", "check"]).code, 0);
    older.is_served();
    for live in older.live {
        assert_eq!(live.finish().errors, [""; 0]);
    }
}
