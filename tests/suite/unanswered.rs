//! A file that does not answer keeps those waiting who asked for it, and nobody else: a configuration on a
//! file server that hangs is no reason for changes of ports to wait.

use std::{fs, path::PathBuf, thread, time::Duration};

use kit::{Agent, Config, Lab, Unanswered, certify, eventually};
use nix::sys::signal::Signal;

use crate::{registry::redis_of, scene::Scene};

const SOON: Duration = Duration::from_secs(20);

/// A scene with folders for certificates and for files of app hosts.
fn scene() -> Scene {
    let lab = Lab::routed();
    let [certificates, hosts] = ["certificates", "hosts"].map(|name| lab.folder().join(name));
    fs::create_dir(&certificates).unwrap();
    fs::create_dir(&hosts).unwrap();
    certify(&certificates, "shop-https", "DNS:one.test");
    let more = format!("[tls]\nfolder = {certificates:?}\n[discovery]\nhosts = {hosts:?}\n");
    let scene = Scene::on(lab, &Config::with(&more));
    scene.agent.create(&["shop-https"]);
    scene
}

/// Whatever an operator does besides.
#[track_caller]
fn others_go_on(agent: &Agent, name: &str) {
    agent.create(&[name]);
    agent.ctl(&["ports", "set", name, "drain_s=5"]).ok();
    agent.ctl(&["ports", "delete", name, "--yes"]).ok();
    agent.ctl_json_whatever(&["status"]);
}

#[test]
fn a_node_that_joins_or_leaves_waits_for_its_configuration_alone() {
    let lab = Lab::routed();
    let redis = redis_of(&lab);
    let mut scene = Scene::on(lab, &Config::default());
    let file = scene.agent.config_file();
    let (url, leave) = (redis.url(), ["node", "detach", "--keep"]);
    for words in [&["node", "attach", &url][..], &leave] {
        let agent = &scene.agent;
        let unanswered = Unanswered::take(&file);
        thread::scope(|scope| {
            let asking = scope.spawn(|| agent.ctl(words));
            eventually(SOON, || unanswered.is_waited_for());
            others_go_on(agent, "besides");
            assert!(!asking.is_finished(), "{words:?} did not wait");
            drop(unanswered);
            asking.join().unwrap().ok();
        });
        assert_eq!(scene.agent.stop(), 0);
        scene.agent.restart();
    }
}

#[test]
fn whoever_asks_for_a_file_that_does_not_answer_waits_alone() {
    let scene = scene();
    let agent = &scene.agent;
    let other = scene.lab.folder().join("other");
    fs::create_dir(&other).unwrap();
    let certificate = certify(&other, "other", "DNS:other.test");
    let (text, key) = (certificate.display(), other.join("other.key"));
    let tls = format!("tls={text},{}", key.display());
    let file = agent.config_file();
    let asked: [(&PathBuf, &[&str]); 4] = [
        (&file, &["config", "show"]),
        (&file, &["config", "set", "ports.rest", "61s"]),
        (&certificate, &["ports", "set", "shop-https", &tls]),
        (&certificate, &["ports", "create", "more-https", &tls]),
    ];
    for (file, words) in asked {
        let unanswered = Unanswered::take(file);
        thread::scope(|scope| {
            let asking = scope.spawn(|| agent.ctl(words));
            eventually(SOON, || unanswered.is_waited_for());
            others_go_on(agent, "besides");
            assert!(!asking.is_finished(), "{words:?} did not wait");
            drop(unanswered);
            asking.join().unwrap().ok();
        });
    }
}

#[test]
fn files_that_are_read_again_and_do_not_answer_keep_nobody_waiting() {
    let mut scene = scene();
    let shop = |agent: &Agent| {
        agent.ctl_json(&["ports", "show", "shop-https"])["certificate"]["names"][0].clone()
    };
    assert_eq!(shop(&scene.agent), "one.test");
    // A certificate that was renewed.
    let (folder, aside) = (
        scene.lab.folder().join("certificates"),
        scene.lab.folder().join("aside"),
    );
    fs::create_dir(&aside).unwrap();
    certify(&aside, "shop-https", "DNS:two.test");
    let unanswered = Unanswered::take(&aside.join("shop-https.crt"));
    for file in ["shop-https.key", "shop-https.crt"] {
        fs::rename(aside.join(file), folder.join(file)).unwrap();
    }
    eventually(SOON, || unanswered.is_waited_for());
    others_go_on(&scene.agent, "besides");
    assert_eq!(shop(&scene.agent), "one.test");
    drop(unanswered);
    eventually(SOON, || shop(&scene.agent) == "two.test");
    // What SIGHUP has the agent read.
    let host = scene.lab.folder().join("hosts").join("dea1.toml");
    fs::write(&host, "dea = \"dea1\"\nsubject = \"CN=dea1\"\n").unwrap();
    for file in [scene.agent.config_file(), host] {
        let unanswered = Unanswered::take(&file);
        let before = scene
            .agent
            .log("node")
            .matches("configuration read again")
            .count();
        scene.agent.process().signal(Signal::SIGHUP);
        eventually(SOON, || unanswered.is_waited_for());
        others_go_on(&scene.agent, "besides");
        let told = |agent: &Agent| {
            agent
                .log("node")
                .matches("configuration read again")
                .count()
        };
        assert_eq!(told(&scene.agent), before);
        drop(unanswered);
        eventually(SOON, || told(&scene.agent) > before);
    }
}

/// A pipe is waited for until somebody writes.
#[test]
fn a_pipe_in_the_place_of_a_file_is_named_and_not_waited_for() {
    let mut scene = scene();
    let pipe = |path: &PathBuf| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let folder = scene.lab.folder().join("certificates");
    let certificate = folder.join("shop-https.crt");
    fs::remove_file(&certificate).unwrap();
    pipe(&certificate);
    eventually(SOON, || {
        let shown = scene.agent.ctl_json(&["ports", "show", "shop-https"]);
        let problem = shown["certificate"]["problem"].as_str().unwrap_or_default();
        problem.contains("shop-https.crt: it is no file")
    });
    let tls = format!(
        "tls={},{}",
        certificate.display(),
        folder.join("shop-https.key").display()
    );
    let refused = scene.agent.ctl(&["ports", "create", "piped", &tls]);
    assert!(
        refused.stderr.contains("it is no file"),
        "{}",
        refused.stderr
    );
    pipe(&scene.lab.folder().join("hosts").join("dea1.toml"));
    scene.agent.process().signal(Signal::SIGHUP);
    eventually(SOON, || {
        scene.agent.log("node").contains("dea1.toml: it is no file")
    });
    others_go_on(&scene.agent, "besides");
}
