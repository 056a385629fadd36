//! Clocks that are wrong by minutes and by years, of a node, of an app host, and of the Redis that nodes
//! share: what is forwarded stays, changes go on, and what was to last for a while does.

use std::time::Duration;

use kit::{
    Config, Lab, Redis, V4, WrongClock,
    app_host::{self, Instance},
    eventually,
    traffic::{self, Live},
};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::redis_of;
use crate::scene::Scene;

const SOON: Duration = Duration::from_secs(20);
const MINUTES: i64 = 600;
const YEARS: i64 = 315_360_000;
/// In seconds; the shortest that may be configured.
const LEASE: u64 = 3;

/// Each clock in turn, and right again after each.
const CLOCKS: [i64; 5] = [-MINUTES, 0, YEARS, -YEARS, 0];

fn registry(scene: &Scene) -> Value {
    scene.agent.ctl_json_whatever(&["status"])["registry"]["state"].clone()
}

fn names(scene: &Scene, port: &str) -> Vec<String> {
    let items = scene.agent.items(&["backends", "list", port]);
    let names = items.iter().map(|item| item["instance"].as_str());
    names.map(|name| name.unwrap().to_owned()).collect()
}

/// Waits until a process has heard of a change of its clock, and longer than a lease.
fn pass(scene: &Scene) {
    let uptime = || {
        let text = std::fs::read_to_string("/proc/uptime").unwrap();
        let seconds = text.split('.').next().unwrap().parse::<u64>();
        seconds.unwrap()
    };
    let begun = uptime();
    eventually(SOON, || {
        assert_eq!(registry(scene), "ok");
        uptime() > begun + LEASE + 1
    });
}

#[test]
fn a_node_whose_clock_is_set_serves_on_and_keeps_leases_drains_and_rests() {
    let lab = Lab::routed();
    let clock = WrongClock::new(lab.folder(), "node");
    let config = Config {
        variables: clock.variables(),
        ..Config::with(&(app_host::reachable(&lab, "3s") + "[ports]\nrest = \"3s\"\n"))
    };
    // Its clock was years ahead when everything began.
    clock.set(YEARS);
    let scene = Scene::on(lab, &config);
    let web = scene.port("web");
    scene.agent.create(&["apps"]);
    let _one = Instance::start(&scene.lab, 0, ("apps", "one"), 4_100, &[]);
    eventually(SOON, || names(&scene, "apps") == ["one"]);
    let live = Live::open(&scene.lab.client, web, 10);
    for (number, ahead) in CLOCKS.into_iter().enumerate() {
        let name = format!("brief-{number}");
        let backend = scene.app(1).to_string();
        let brief = ["--for", "5s", "--backend", &backend, "drain_s=3"];
        scene.agent.create(&[&[&*name], &brief[..]].concat());
        let gone = scene.agent.create(&["gone"]);
        scene.agent.ctl(&["ports", "delete", "gone", "--yes"]).ok();
        scene
            .agent
            .ctl(&["backends", "drain", &name, &backend])
            .ok();
        clock.set(ahead);
        pass(&scene);
        // The lease of who speaks goes on, the number of the deleted port rests no more, and the port
        // that was to live for seconds is gone.
        assert_eq!(names(&scene, "apps"), ["one"], "{ahead}");
        eventually(SOON, || {
            let ports = scene.agent.items(&["ports", "list"]);
            ports.iter().all(|port| port["name"] != *name)
        });
        eventually(SOON, || {
            let range = scene.agent.ctl_json(&["ports", "range"]);
            range["tcp"]["resting"] == 0
        });
        let again = scene.agent.create(&["again", "--port", &gone.to_string()]);
        assert_eq!(again, gone);
        scene.agent.ctl(&["ports", "delete", "again", "--yes"]).ok();
        live.progress();
    }
    assert_eq!(live.finish().errors, [""; 0]);
}

/// Sets the clock of a Redis by so many seconds: to it, all that it holds is of another time. (The library
/// that gives processes another time does not get on with the server's allocator.)
fn set_clock(redis: &Redis, by: i64) {
    const SHIFT: &str = "
        for _, key in ipairs({ 'seen', 'leases', 'buried', 'resting' }) do
          local by = key == 'resting' and ARGV[1] or ARGV[1] * 1000
          for _, name in ipairs(redis.call('ZRANGE', KEYS[1] .. key, 0, -1)) do
            redis.call('ZINCRBY', KEYS[1] .. key, -by, name)
          end
        end
        redis.call('HINCRBY', KEYS[1] .. 'meta', 'guard', -ARGV[1] * 1000)";
    let words = ["eval", SHIFT, "1", "{harbor:harbor}:", &by.to_string()];
    redis.say(&words).ok();
}

#[test]
fn a_redis_whose_clock_is_set_is_used_on_and_keeps_leases() {
    let lab = Lab::routed();
    let redis = redis_of(&lab);
    let more = app_host::reachable(&lab, "3s") + &redis.config("one");
    let scene = Scene::on(lab, &Config::with(&more));
    let web = scene.port("web");
    scene.agent.create(&["apps"]);
    let _one = Instance::start(&scene.lab, 0, ("apps", "one"), 4_100, &[]);
    let live = Live::open(&scene.lab.client, web, 10);
    let mut before = 0;
    for (number, ahead) in CLOCKS.into_iter().enumerate() {
        let name = format!("dead-{number}");
        let mut dead = Instance::start(&scene.lab, 1, ("apps", &name), 4_200, &[]);
        eventually(SOON, || names(&scene, "apps").contains(&name));
        set_clock(&redis, ahead - std::mem::replace(&mut before, ahead));
        dead.cut();
        eventually(SOON, || names(&scene, "apps") == ["one"]);
        scene.agent.create(&["more"]);
        scene.agent.ctl(&["ports", "delete", "more", "--yes"]).ok();
        pass(&scene);
        assert_eq!(names(&scene, "apps"), ["one"], "{ahead}");
        live.progress();
    }
    assert_eq!(scene.agent.ctl(&["state", "check"]).code, 0);
    assert_eq!(live.finish().errors, [""; 0]);
}

#[test]
fn an_announcer_is_heard_whose_hosts_clock_was_ahead_or_went_back() {
    let lab = Lab::routed();
    let clock = WrongClock::new(lab.folder(), "app");
    let redis = redis_of(&lab);
    let more = app_host::reachable(&lab, "3s") + &redis.config("one");
    let scene = Scene::on(lab, &Config::with(&more));
    let to = scene.at(scene.agent.create(&["apps", "drain_s=0"]));
    let url = redis.url();
    let ways: [&[&str]; 2] = [&[], &["--to", &url]];
    // Years ahead, ten minutes ahead, right, ten minutes back, years back: each starts anew.
    for more in ways {
        for ahead in [YEARS, MINUTES, 0, -MINUTES, -YEARS, 0] {
            clock.set(ahead);
            let with = (more, clock.variables());
            let names_of = ("apps", "one");
            let mut one = Instance::start_with(&scene.lab, 0, names_of, 4_100, with);
            println!("{more:?} at {ahead:+} s");
            eventually(SOON, || {
                traffic::connect(&scene.lab.client, to, 1).of("one") == 1
            });
            one.announcer.signal(Signal::SIGTERM);
            one.announcer.wait(SOON);
            eventually(SOON, || names(&scene, "apps").is_empty());
        }
    }
    // And what is said once.
    let address = format!("{}:4100", scene.lab.app(V4, 0));
    for ahead in [YEARS, 0, -MINUTES] {
        clock.set(ahead);
        let (url, token) = (
            format!("http://{}", app_host::CONTROL),
            app_host::token(&scene.lab).display().to_string(),
        );
        let mut command = scene.lab.apps[0].command(kit::binary("harbor-ctl"));
        command
            .args(["dea", "announce", "--service", "apps", "--instance", "said"])
            .args(["--address", &address, "--state", "up", "--to", &url])
            .args(["--token-file", &token])
            .envs(clock.variables());
        kit::finish(&mut command).ok();
        assert_eq!(names(&scene, "apps"), ["said"]);
    }
}
