//! Every number held at once, in both protocols: within the unit's limit, and said clearly without.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    path::Path,
    time::Instant,
};

use kit::{Config, Lab, http::Http, traffic};
use nix::sys::resource::{Resource, getrlimit};
use serde_json::{Value, json};

use crate::{engines::Engine, scene::Scene};

pub(crate) const FIRST: u16 = 35_000;

#[test]
fn five_hundred_numbers_of_both_protocols_are_held_or_what_they_need_is_said() {
    println!("{}", run(501));
}

/// The descriptors that the unit allows, as far as this machine does.
fn unit_limit() -> String {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../harbor-ctl/dist");
    let unit = fs::read_to_string(dist.join("harbor.service")).unwrap();
    let mut lines = unit.lines();
    let limit = lines.find_map(|line| line.strip_prefix("LimitNOFILE="));
    let limit: u64 = limit.unwrap().parse().unwrap();
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    limit.min(most).to_string()
}

fn limited(limit: &str) -> Config {
    Config {
        wrapper: vec!["prlimit".into(), format!("--nofile={limit}")],
        ..Config::with("[ports]\nrange = \"35000-40999\"\n")
    }
}

/// Makes a port of each of so many numbers, all in one request, with both apps behind it.
pub(crate) fn fill(scene: &Scene, count: u16) {
    let first = FIRST.to_string();
    let apps = [0, 1].map(|app| scene.app(app).to_string());
    let backends = ["--backend", &apps[0], "--backend", &apps[1]];
    scene
        .agent
        .create(&[&["both-0", "--port", &first][..], &backends].concat());
    let mut state = scene.agent.ctl_json(&["state", "export"]);
    let one = state["services"][0].clone();
    let others = (1..count).map(|number| {
        let mut service = one.clone();
        service["id"] = json!(format!("id-{number}"));
        service["name"] = json!(format!("both-{number}"));
        service["port"] = json!(FIRST + number);
        service
    });
    state["services"] = others.collect::<Vec<Value>>().into();
    let mut http = Http::new(&scene.agent.socket());
    let imported = http.post("/v1/state/import", state.to_string().as_bytes());
    let (status, answer) = imported.unwrap();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
}

/// How many sockets of the numbers somebody else could still have.
fn free(scene: &Scene, count: u16) -> usize {
    let any = Ipv4Addr::UNSPECIFIED;
    scene.lab.node.enter(|| {
        let numbers = FIRST..FIRST + count;
        let free = numbers.map(|port| {
            let tcp = TcpListener::bind((any, port)).is_ok();
            let udp = UdpSocket::bind((any, port)).is_ok();
            usize::from(tcp) + usize::from(udp)
        });
        free.sum()
    })
}

/// Holds so many numbers, twice: within the unit's limit, and with fewer descriptors than they need.
pub(crate) fn run(count: u16) -> String {
    let sockets = 2 * usize::from(count);
    let mut scene = Engine::Proxy.on(Lab::routed(), &limited(&unit_limit()));
    let empty = scene.agent.process().memory();
    let begun = Instant::now();
    fill(&scene, count);
    let filled = begun.elapsed();
    assert_eq!(free(&scene, count), 0);
    let proxy = |scene: &Scene| scene.agent.ctl_json_whatever(&["status"])["proxy"].clone();
    let all = format!("{sockets} numbers held");
    assert!(proxy(&scene)["text"].to_string().contains(&all));
    scene.agent.stop();
    assert_eq!(free(&scene, count), sockets);
    let begun = Instant::now();
    scene.agent.restart();
    let started = begun.elapsed();
    assert_eq!(free(&scene, count), 0);
    let memory = scene.agent.process().memory() - empty;
    let last = scene.at(FIRST + count - 1);
    let tally = traffic::connect(&scene.lab.client, last, 2);
    assert_eq!(tally.errors, Vec::<String>::new());
    assert_eq!(traffic::ask(&scene.lab.client, last, 2).errors.len(), 0);
    drop(scene);

    too_few(count);
    format!(
        "{sockets} sockets: made and held in {filled:.2?}, held again {started:.2?} after a start, \
         {memory} KiB of the agent, services and all"
    )
}

/// With a descriptor for each socket, and none for anything else.
fn too_few(count: u16) {
    let sockets = 2 * usize::from(count);
    let scene = Engine::Proxy.on(Lab::routed(), &limited(&sockets.to_string()));
    fill(&scene, count);
    let lacking = free(&scene, count);
    assert!((1..sockets / 2).contains(&lacking), "{lacking}");
    let status = scene.agent.ctl_json_whatever(&["status"]);
    let proxy = &status["proxy"];
    assert_eq!(proxy["state"], "degraded", "{proxy}");
    let text = proxy["text"].to_string();
    for part in [
        "no descriptor is left for it",
        &format!("and {} more", lacking - 1),
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let needed = named(&proxy["fix"].to_string());
    assert!(needed > sockets, "{needed}");
    let refused = scene.agent.ctl(&["ports", "create", "one-more"]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(named(&refused.stderr) > needed, "{}", refused.stderr);
    // What is held is served.
    let first = scene.at(FIRST);
    let tally = traffic::connect(&scene.lab.client, first, 2);
    assert_eq!(tally.errors, Vec::<String>::new());

    // What is named is enough, for the numbers and for the connections that there were.
    let (Scene { mut agent, lab, .. }, limit) = (scene, needed.to_string());
    agent.stop();
    agent.start_by(limited(&limit).wrapper);
    agent.restart();
    let proxy = agent.ctl_json_whatever(&["status"])["proxy"].clone();
    assert_eq!(proxy["state"], "ok", "{proxy}");
    drop((agent, lab));
}

/// The limit that a fix names.
#[track_caller]
fn named(fix: &str) -> usize {
    let (_, rest) = fix.split_once("LimitNOFILE=").expect(fix);
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap();
    rest[..end].parse().unwrap()
}
