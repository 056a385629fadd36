//! Somebody takes the programs off an interface: `datapath attach` puts them back at once, with an agent
//! and without one, and flows go on.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use kit::{Config, Finished, Lab, V4, binary, bound, eventually, finish, traffic};
use serde_json::Value;

use crate::scene::Scene;

/// `harbor-ctl datapath`, with or without an agent.
fn datapath(scene: &Scene, words: &[&str]) -> Finished {
    let mut command = scene.lab.node.command(binary("harbor-ctl"));
    command.arg("--config").arg(scene.agent.config_file());
    finish(command.arg("datapath").args(words))
}

/// Takes the program off the interface that clients come in by.
fn take_off(scene: &Scene) {
    let node = &scene.lab.node;
    let status = datapath(scene, &["status", "-o", "json"]).json();
    let mut links = status["links"].as_array().unwrap().iter();
    let link = links.find(|link| link["interface"] == "eth0").unwrap();
    match link["link_id"].as_u64() {
        Some(id) => {
            let mut detach = node.command("bpftool");
            finish(detach.args(["link", "detach", "id", &id.to_string()])).ok();
        }
        None => {
            let mut tc = node.command("tc");
            finish(tc.args(["qdisc", "del", "dev", "eth0", "clsact"])).ok();
        }
    }
}

/// How long ago each interface was given the program back, as it was told.
fn put_back(told: &Finished) -> Vec<(String, Value)> {
    let report = told.json();
    let links = report["links"].as_array().unwrap().iter();
    let of = |link: &Value| {
        let name = link["interface"].as_str().unwrap().to_owned();
        (name, link["put_back_s"].clone())
    };
    links.map(of).collect()
}

/// Connections that say nothing until they are asked whether they still stand: while the program is off,
/// the node's own stack would reset whoever speaks.
struct Idle(Vec<TcpStream>);

impl Idle {
    fn open(scene: &Scene, to: SocketAddr) -> Self {
        let from = SocketAddr::new(V4.any(), 0);
        let dial = || {
            let mut stream = bound::dial(from, to).unwrap();
            stream.read_exact(&mut [0; "app1\n".len()]).unwrap();
            stream
        };
        let client = &scene.lab.client;
        Self(client.enter(|| (0..10).map(|_| dial()).collect()))
    }

    /// They go on, and new ones come through.
    #[track_caller]
    fn forwards(&mut self, scene: &Scene, to: SocketAddr) {
        for stream in &mut self.0 {
            let mut echo = [0; 5];
            stream.write_all(b"still").unwrap();
            stream.read_exact(&mut echo).unwrap();
            assert_eq!(&echo, b"still");
        }
        let tally = traffic::connect(&scene.lab.client, to, 5);
        assert_eq!(tally.errors, Vec::<String>::new());
    }
}

/// What is told of interfaces that have never lost the program.
fn never() -> Vec<(String, Value)> {
    ["eth0", "eth1"]
        .map(|name| (name.into(), Value::Null))
        .into()
}

fn is_put_back(hook: &str) {
    let config = Config::with(&format!("[datapath]\nhook = \"{hook}\""));
    let mut scene = Scene::on(Lab::routed(), &config);
    let to = scene.port("web");
    let mut idle = Idle::open(&scene, to);
    let told = datapath(&scene, &["attach", "-o", "json"]).ok();
    assert_eq!(put_back(&told), never(), "{hook}");

    take_off(&scene);
    let told = put_back(&datapath(&scene, &["attach", "-o", "json"]).ok());
    let ago = told[0].1.as_u64();
    assert!(ago.is_some_and(|s| s < 5), "{hook}: {told:?}");
    assert_eq!(told[1].1, Value::Null, "{hook}: {told:?}");
    idle.forwards(&scene, to);

    // Nobody is there to do it by itself.
    assert_eq!(scene.agent.stop(), 0);
    take_off(&scene);
    assert_eq!(traffic::connect(&scene.lab.client, to, 1).errors.len(), 1);
    let told = datapath(&scene, &["attach", "-o", "json"]).ok();
    assert!(told.stderr.contains("no agent runs"), "{}", told.stderr);
    let told = put_back(&told);
    assert_eq!(
        (&told[0].1, &told[1].1),
        (&0.into(), &Value::Null),
        "{hook}"
    );
    idle.forwards(&scene, to);
    // What is there stays there.
    let told = datapath(&scene, &["attach", "-o", "json"]).ok();
    assert_eq!(put_back(&told), never(), "{hook}");
    idle.forwards(&scene, to);

    // The next agent takes over what was attached.
    scene.agent.restart();
    idle.forwards(&scene, to);
}

#[test]
fn programs_that_others_took_off_are_put_back_by_tcx() {
    is_put_back("tcx");
}

#[test]
fn programs_that_others_took_off_are_put_back_by_clsact() {
    is_put_back("clsact");
}

#[test]
fn an_interface_that_was_made_anew_is_attached_to_without_an_agent() {
    let mut scene = Scene::routed();
    let to = scene.port("web");
    assert_eq!(scene.agent.stop(), 0);
    let Lab { client, node, .. } = &scene.lab;
    node.ip("link del eth0");
    let name = client.name();
    node.ip(&format!(
        "link add eth0 type veth peer name eth0 netns {name}"
    ));
    for (host, address) in [
        (client, scene.lab.client_address(V4)),
        (node, scene.lab.public(V4)),
    ] {
        host.ip(&format!("addr add {address}/24 dev eth0\nlink set eth0 up"));
    }
    assert_eq!(traffic::connect(client, to, 1).errors.len(), 1);
    let told = datapath(&scene, &["attach"]).ok().stdout;
    assert!(told.contains("0s ago"), "{told}");
    assert!(!told.contains("gone"), "{told}");
    // Neighbours on the new link have to be asked for first.
    eventually(Duration::from_secs(20), || {
        traffic::connect(client, to, 1).errors.is_empty()
    });
    assert_eq!(traffic::connect(client, to, 5).errors.len(), 0);
}

#[test]
fn nothing_is_attached_where_nothing_is_pinned_or_wanted() {
    let lab = Lab::routed();
    let agent = kit::Agent::configured(&lab, &Config::default());
    let attach = |more: &[&str]| {
        let mut attach = lab.node.command(binary("harbor-ctl"));
        attach.arg("--config").arg(agent.config_file());
        attach.envs(more.iter().filter_map(|pair| pair.split_once('=')));
        finish(attach.args(["datapath", "attach"]))
    };
    let refused = attach(&[]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("no datapath is pinned"),
        "{}",
        refused.stderr
    );
    assert!(
        refused.stderr.contains("start the agent"),
        "{}",
        refused.stderr
    );
    let unwanted = attach(&["HARBOR_DATAPATH__MODE=proxy"]);
    assert_eq!(unwanted.code, 1, "{}", unwanted.stderr);
    assert!(
        unwanted.stderr.contains("mode is proxy"),
        "{}",
        unwanted.stderr
    );
    assert!(!lab.bpf().join("v2").exists());
}
