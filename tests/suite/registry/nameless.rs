//! Ports of which only the kernel knows: they stay, nothing says that there are none, and an import ends
//! that only when it names them all.

use std::{fs, path::Path, time::Duration};

use kit::{Agent, Config, Finished, Lab, eventually};
use serde_json::{Value, json};

use crate::{
    gateway::{Ground, Platform, order},
    scene::Scene,
};

use super::lost::{Loss, Older, copy_files, registry, remove, services, state};

const SOON: Duration = Duration::from_secs(20);
const UNKNOWN: &str = "not known by name";

/// Takes these services in.
#[track_caller]
fn import(agent: &Agent, services: &Value) {
    try_import(agent, services, &[]).ok();
}

fn try_import(agent: &Agent, services: &Value, more: &[&str]) -> Finished {
    let document = json!({
        "api_version": "v1", "kind": "State", "exported_at": 0, "services": services, "resting": [],
    });
    let file = agent.folder().join("import.json");
    fs::write(&file, document.to_string()).unwrap();
    let words = ["state", "import", file.to_str().unwrap()];
    agent.ctl(&[&words, more].concat())
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
    // What counts ports does not count those.
    let status = agent.ctl_json_whatever(&["status"]);
    for part in ["ports", "flows", "proxy"] {
        let (part, text) = (&status[part], status[part]["text"].to_string());
        assert!(
            text.contains("not known: ") && text.contains(&number),
            "{text}"
        );
        assert_eq!(part["state"], "degraded", "{text}");
    }
    // Nor are their numbers free.
    let range = agent.ctl_json(&["ports", "range"]);
    let counts = |protocol: &str, what: &str| range[protocol][what].as_u64().unwrap();
    let taken = counts("tcp", "assigned") + counts("udp", "assigned");
    assert!(taken > 0, "{range}");
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

/// A number without the backends that serve it would be an outage.
#[test]
fn an_import_that_leaves_out_what_serves_is_refused_and_one_that_is_partial_says_what_is_missing() {
    let mut loss = Loss::new();
    remove_both(&state(&loss.scene.agent));
    loss.scene.agent.restart();
    loss.is_held("the kernel");
    let agent = &loss.scene.agent;
    let (first, second) = (loss.scene.app(0).to_string(), loss.scene.app(1).to_string());
    let mut hollow = loss.before.clone();
    for service in hollow.as_array_mut().unwrap() {
        service["backends"] = json!([]);
    }
    let refused = try_import(agent, &hollow, &[]);
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    assert!(refused.stderr.contains(&first), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("state confirm"),
        "{}",
        refused.stderr
    );
    loss.is_held("the kernel");

    // One of the two ports, with one of its two backends.
    let all = loss.before.as_array().unwrap().iter();
    let mut web: Value = all.filter(|one| one["name"] == "web").cloned().collect();
    web[0]["backends"]
        .as_array_mut()
        .unwrap()
        .retain(|one| one["address"] == first);
    let taken = try_import(agent, &web, &["-o", "json"]).ok();
    let missing = taken.json()["missing"].to_string();
    let (web, other) = (loss.to[0].port(), loss.to[1].port());
    let left_out = format!("backend {second} of {web}/tcp");
    for named in [&left_out, &format!("port {other}/")] {
        assert!(missing.contains(named.as_str()), "{missing}");
        assert!(taken.stderr.contains(named.as_str()), "{}", taken.stderr);
    }
    assert_eq!(registry(agent)["state"], "degraded");
    import(agent, &json!([]));
}

/// What `state export` prints has pools too: putting it back ends the freeze.
#[test]
fn a_document_with_pools_puts_ports_back_into_an_emptied_registry() {
    let mut scene = Scene::routed();
    scene.port("web");
    scene.agent.ctl(&["pool", "create", "shared"]).ok();
    let file = scene.lab.folder().join("whole.json");
    let document = scene.agent.ctl(&["state", "export"]).ok().stdout;
    fs::write(&file, document).unwrap();
    assert_eq!(scene.agent.stop(), 0);
    remove_both(&state(&scene.agent));
    scene.agent.restart();
    assert_eq!(registry(&scene.agent)["state"], "degraded");
    let agent = &scene.agent;
    agent.ctl(&["state", "import", file.to_str().unwrap()]).ok();
    assert_eq!(registry(agent)["state"], "ok");
    assert_eq!(agent.items(&["pool", "list"]).len(), 1);
    assert_eq!(agent.items(&["ports", "list"]).len(), 1);
}

/// The kernel tells nothing of what only the proxy serves.
#[test]
fn ports_that_only_the_proxy_serves_are_not_forgotten_either() {
    let lines = ["", "[datapath]\nmode = \"proxy\"\n"];
    for (more, set) in lines.into_iter().zip([&["client_ip=proxy-v1"][..], &[]]) {
        let lab = Lab::routed();
        let mut scene = Scene::on(lab, &Config::with(more));
        let app = scene.app(0).to_string();
        let words = [&["web", "--backend", &app][..], set].concat();
        let number = scene.agent.create(&words);
        let before = services(&scene.agent);
        let list = state(&scene.agent).join("proxied.json");
        let says = || fs::read_to_string(&list).unwrap_or_default();
        eventually(SOON, || says().contains(&number.to_string()));
        assert_eq!(scene.agent.stop(), 0);
        remove_both(&state(&scene.agent));
        for _ in 0..2 {
            scene.agent.restart();
            let told = registry(&scene.agent);
            let text = told["text"].as_str().unwrap();
            let wanted = "is empty, 1 port is in the list of what the proxy served";
            assert!(text.contains(wanted), "{text}");
            assert_eq!(told["state"], "degraded", "{text}");
            is_told(&scene.agent, number);
            assert_eq!(scene.agent.stop(), 0);
        }
        scene.agent.restart();
        import(&scene.agent, &before);
        assert_eq!(registry(&scene.agent)["state"], "ok");
        // A port that was deleted is missed by nobody.
        scene.agent.ctl(&["ports", "delete", "web", "--yes"]).ok();
        eventually(SOON, || !says().contains(&number.to_string()));
        assert_eq!(scene.agent.stop(), 0);
        remove_both(&state(&scene.agent));
        scene.agent.restart();
        assert_eq!(registry(&scene.agent)["state"], "ok");
    }
}

/// Yesterday's files hold all ports of today, and not where their clients went.
#[test]
fn backends_that_an_older_registry_does_not_have_are_named() {
    let mut scene = Scene::routed();
    let app = [scene.app(0), scene.app(1)].map(|app| app.to_string());
    let number = scene.agent.create(&["web", "--backend", &app[0]]);
    assert_eq!(scene.agent.stop(), 0);
    let yesterday = scene.lab.folder().join("yesterday");
    copy_files(&state(&scene.agent), &yesterday);
    scene.agent.restart();
    scene.agent.ctl(&["backends", "add", "web", &app[1]]).ok();
    assert_eq!(scene.agent.stop(), 0);
    copy_files(&yesterday, &state(&scene.agent));
    scene.agent.restart();
    let told = scene.agent.items(&["events", "--kind", "registry_differs"]);
    assert_eq!(told.len(), 1, "{told:?}");
    let text = told[0]["text"].to_string();
    assert!(text.contains(&app[1]) && !text.contains(&app[0]), "{text}");
    assert!(text.contains(&number.to_string()), "{text}");
    // As it is now is how it is from now on.
    scene.agent.kill();
    scene.agent.restart();
    let told = scene.agent.items(&["events", "--kind", "registry_differs"]);
    assert_eq!(told.len(), 1, "{told:?}");
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
