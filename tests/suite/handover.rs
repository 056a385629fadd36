//! An agent that serves from other tables than the one before takes that one's flows over.

use std::{
    env, fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use kit::{
    Family, Netns, eventually,
    traffic::{self, Asker, Live},
};

use serde_json::Value;

use crate::{
    kernels::{RECORDED_FOR_HANDOVER, stay_as_recorded},
    scene::{FAMILIES, Scene},
};

/// How long taking over may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Has the configuration say how many flows the tables are for.
fn resize(scene: &Scene, flows: u32) {
    let file = scene.agent.config_file();
    let text = fs::read_to_string(&file).unwrap();
    let is_other = |line: &&str| !line.starts_with("flows = ") && *line != "[datapath]";
    let kept: Vec<&str> = text.lines().filter(is_other).collect();
    let text = format!("{}\n[datapath]\nflows = {flows}\n", kept.join("\n"));
    fs::write(&file, text).unwrap();
}

/// Waits until nothing is taken over any more: the former tables go last.
fn settles(scene: &Scene) {
    eventually(SOON, || fs::read_dir(scene.lab.bpf()).unwrap().count() == 1);
}

fn programs(scene: &Scene) -> Vec<Value> {
    let config = scene.agent.config_file();
    let words = ["datapath", "programs", "--config", config.to_str().unwrap()];
    scene.agent.items(&words)
}

/// Clients that come and go as long as this lives.
struct Clients<'scope> {
    is_over: &'scope AtomicBool,
}

impl Drop for Clients<'_> {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// What clients saw that connected again and again while `work` was done: how many, what went wrong, and
/// the longest that one waited.
fn beside(client: &Netns, to: SocketAddr, work: impl FnOnce()) -> (usize, Vec<String>, Duration) {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients = Clients { is_over: &is_over };
        let seen = scope.spawn(|| {
            let (mut count, mut wrong, mut longest) = (0, Vec::new(), Duration::ZERO);
            while !is_over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let tally = traffic::connect(client, to, 1);
                longest = longest.max(begun.elapsed());
                count += 1;
                wrong.extend(tally.errors);
            }
            (count, wrong, longest)
        });
        work();
        drop(clients);
        seen.join().unwrap()
    })
}

/// Restarts the agent, which takes over while connections go on and others come; none is lost.
#[track_caller]
fn restarts_beside(scene: &mut Scene, to: SocketAddr, live: &Live) {
    let client = scene.lab.client.clone();
    let (count, wrong, longest) = beside(&client, to, || {
        assert_eq!(scene.agent.stop(), 0);
        scene.agent.restart();
        settles(scene);
        live.progress();
    });
    assert!(wrong.is_empty(), "{count} connections: {wrong:?}");
    println!("{count} connections, the longest took {longest:?}");
}

/// Players of a UDP game that have asked twice, so that their flows are kept; who answers each.
fn players(scene: &Scene, family: Family, game: SocketAddr, count: usize) -> Vec<(Asker, String)> {
    let player = |_| {
        let player = Asker::new(&scene.lab.client, family);
        player.ask(game, b"hello").unwrap();
        let app = player.ask(game, b"who").unwrap();
        (player, app)
    };
    (0..count).map(player).collect()
}

#[track_caller]
fn play(players: &[(Asker, String)], game: SocketAddr) {
    for (player, app) in players {
        assert_eq!(&player.ask(game, b"who").unwrap(), app);
    }
}

#[test]
fn every_flow_outlives_tables_of_another_size_under_new_connections() {
    for family in FAMILIES {
        let mut scene = Scene::routed().of(family);
        let (web, game) = (scene.port("web"), scene.port("udp-game"));
        let live = Live::open(&scene.lab.client, web, 30);
        let players = players(&scene, family, game, 10);
        for flows in [65_536, 262_144] {
            resize(&scene, flows);
            restarts_beside(&mut scene, web, &live);
            play(&players, game);
            let status = scene.agent.ctl_json(&["status"]);
            let said = status["flows"]["text"].as_str().unwrap();
            assert!(said.contains(&format!(" of {flows}")), "{said}");
            eventually(SOON, || {
                let counted = scene.agent.ctl_json(&["flows", "count", "-p", "web"]);
                counted["flows"].as_u64().unwrap() >= 30
            });
        }
        let tally = live.finish();
        assert!(tally.errors.is_empty(), "{tally:?}");
    }
}

#[test]
fn flows_that_smaller_tables_have_no_room_for_go_on_and_are_told() {
    kit::allow_many_descriptors();
    let family = FAMILIES[0];
    let mut scene = Scene::routed().of(family);
    let game = scene.port("udp-game");
    let players = players(&scene, family, game, 1_400);
    resize(&scene, 1_024);
    scene.agent.stop();
    scene.agent.restart();
    eventually(SOON, || {
        let status = scene.agent.ctl_json_whatever(&["status"]);
        status["datapath"].to_string().contains("has no room for")
    });
    play(&players, game);
    stay_as_recorded(&programs(&scene), &RECORDED_FOR_HANDOVER);
    resize(&scene, 262_144);
    scene.agent.stop();
    scene.agent.launch();
    // Two sets of tables have flows already: a third has to wait, and that is said.
    scene.agent.wait_until_ready();
    play(&players, game);
    let status = scene.agent.ctl_json_whatever(&["status"]);
    let said = status["flows"]["text"].to_string();
    assert!(
        said.contains(" of 1024") && said.contains("262144"),
        "{said}"
    );
}

#[test]
fn an_agent_that_dies_while_it_takes_over_is_followed_by_one_that_goes_on() {
    let family = FAMILIES[0];
    let mut scene = Scene::routed().of(family);
    let (web, game) = (scene.port("web"), scene.port("udp-game"));
    let live = Live::open(&scene.lab.client, web, 30);
    let players = players(&scene, family, game, 10);
    for (round, flows) in [65_536, 131_072, 262_144].into_iter().enumerate() {
        resize(&scene, flows);
        scene.agent.kill();
        scene.agent.launch();
        // At another moment of the start each time.
        thread::sleep(Duration::from_millis(300 + 250 * round as u64));
        scene.agent.kill();
        live.progress();
        play(&players, game);
        scene.agent.restart();
        settles(&scene);
        live.progress();
        play(&players, game);
    }
    let tally = live.finish();
    assert!(tally.errors.is_empty(), "{tally:?}");
}

#[test]
fn ports_that_the_registry_has_lost_do_not_go_with_their_tables() {
    let mut scene = Scene::routed();
    let web = scene.port("web");
    let live = Live::open(&scene.lab.client, web, 10);
    scene.agent.stop();
    let state = scene.agent.folder().join("state");
    let aside = scene.agent.folder().join("aside");
    fs::rename(&state, &aside).unwrap();
    resize(&scene, 65_536);
    scene.agent.restart();
    eventually(SOON, || {
        let status = scene.agent.ctl_json_whatever(&["status"]);
        status["datapath"]
            .to_string()
            .contains("ports that the registry does not have")
    });
    live.progress();
    assert!(
        traffic::connect(&scene.lab.client, web, 10)
            .errors
            .is_empty()
    );
    scene.agent.stop();
    fs::remove_dir_all(&state).unwrap();
    fs::rename(&aside, &state).unwrap();
    scene.agent.restart();
    settles(&scene);
    live.progress();
    let tally = live.finish();
    assert!(tally.errors.is_empty(), "{tally:?}");
}

#[test]
#[ignore = "needs an agent of an earlier layout: HARBOR_FORMER names it"]
fn every_flow_outlives_an_upgrade_from_an_earlier_layout() {
    let former = PathBuf::from(env::var_os("HARBOR_FORMER").expect("HARBOR_FORMER"));
    for family in FAMILIES {
        let mut scene = Scene::routed().of(family);
        scene.agent.stop();
        let file = scene.agent.config_file();
        let file = file.to_str().unwrap();
        let detach = ["datapath", "detach", "--yes", "--config", file];
        scene.agent.ctl(&detach).ok();
        scene.agent.set_program(Some(former.clone()));
        scene.agent.restart();
        assert!(!scene.lab.maps().exists(), "it has the same layout");
        let (web, game) = (scene.port("web"), scene.port("udp-game"));
        let live = Live::open(&scene.lab.client, web, 30);
        let players = players(&scene, family, game, 10);
        scene.agent.set_program(None);
        restarts_beside(&mut scene, web, &live);
        play(&players, game);
        assert!(live.finish().errors.is_empty());
    }
}

/// Builds the agent with another layout: from the same libraries, so what was built before serves for all
/// else.
fn other_layout(folder: &Path) -> PathBuf {
    let wrapper = folder.join("rustc");
    fs::write(
        &wrapper,
        "#!/bin/sh\nexec \"$@\" --cfg harbor_other_layout\n",
    )
    .unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = kit::binary("harbor-ctl");
    let target = target.ancestors().nth(2).unwrap();
    let build = |wrapper: Option<&Path>| {
        let mut build = Command::new(&cargo);
        build.args(["build", "--workspace", "--bins", "--target-dir"]);
        build.arg(target);
        if let Some(wrapper) = wrapper {
            build.env("RUSTC_WORKSPACE_WRAPPER", wrapper);
        }
        assert!(build.status().unwrap().success());
    };
    build(Some(&wrapper));
    let other = folder.join("other-harbor-ctl");
    fs::copy(target.join("debug/harbor-ctl"), &other).unwrap();
    build(None);
    other
}

#[test]
#[ignore = "long: cargo xtask soak layouts"]
fn soak_layouts() {
    const SWAPS: usize = 50;
    let folder = tempfile::tempdir().unwrap();
    let other = other_layout(folder.path());
    for family in FAMILIES {
        let mut scene = Scene::routed().of(family);
        let (web, game) = (scene.port("web"), scene.port("udp-game"));
        let live = Live::open(&scene.lab.client, web, 200);
        let players = players(&scene, family, game, 50);
        let client = scene.lab.client.clone();
        let is_over = AtomicBool::new(false);
        let worst = thread::scope(|scope| {
            let ends = Clients { is_over: &is_over };
            let asker = scope.spawn(|| {
                let player = Asker::new(&client, family);
                let mut worst = Duration::ZERO;
                while !is_over.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    player.ask(game, b"still there").unwrap();
                    worst = worst.max(begun.elapsed());
                    thread::sleep(Duration::from_millis(2));
                }
                worst
            });
            let mut connections = 0;
            let mut slowest = Duration::ZERO;
            for swap in 0..SWAPS {
                let program = (swap % 2 == 0).then(|| other.clone());
                scene.agent.set_program(program);
                let (count, wrong, longest) = beside(&client, web, || {
                    assert_eq!(scene.agent.stop(), 0);
                    scene.agent.restart();
                    settles(&scene);
                });
                assert!(
                    wrong.is_empty(),
                    "swap {swap}, {count} connections: {wrong:?}"
                );
                (connections, slowest) = (connections + count, slowest.max(longest));
                live.progress();
                play(&players, game);
            }
            drop(ends);
            println!("{connections} connections beside, the slowest {slowest:?}");
            asker.join().unwrap()
        });
        let tally = live.finish();
        assert!(tally.errors.is_empty(), "{tally:?}");
        println!("{SWAPS} swaps, {family:?}: 0 lost, the worst answer after {worst:?}");
    }
}
