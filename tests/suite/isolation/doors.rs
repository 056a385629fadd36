//! Small doors: locks that strangers hold, servers that answer too much, pages that ask in a browser's
//! name, and answers that tell more than they should.

use std::{
    fs::{self, Permissions},
    io::Write as _,
    net::{SocketAddr, TcpListener},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    thread,
    time::Duration,
};

use kit::{Agent, Config, Lab, Process, V4, eventually, http::Http, traffic};
use serde_json::json;

use crate::{
    gateway::{self, Ground, order},
    scene::Scene,
};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn nobody_s_lock_keeps_the_agent_from_starting() {
    let mut scene = Scene::routed();
    let to = scene.port("web");
    scene.agent.stop();
    let lock = scene.agent.socket().with_file_name("agent.lock");
    // As an earlier version left it; any user can get there.
    fs::set_permissions(&lock, Permissions::from_mode(0o644)).unwrap();
    for folder in lock
        .ancestors()
        .skip(1)
        .take_while(|f| f.parent().is_some())
    {
        let mode = fs::metadata(folder).unwrap().permissions().mode();
        fs::set_permissions(folder, Permissions::from_mode(mode | 0o011)).unwrap();
    }
    for (name, kind) in [("shared", "-s"), ("exclusive", "-x")] {
        fs::set_permissions(&lock, Permissions::from_mode(0o644)).unwrap();
        let mut nobody = scene.lab.node.command("setpriv");
        nobody.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        nobody.args(["flock", "-n", kind]).arg(&lock);
        nobody.args(["sh", "-c", "echo held; exec sleep 600"]);
        let held = Process::start(&mut nobody, scene.lab.folder(), name);
        eventually(SOON, || held.printed().contains("held"));
        scene.agent.restart();
        assert_eq!(fs::metadata(&lock).unwrap().mode() & 0o777, 0o600);
        let tally = traffic::connect(&scene.lab.client, to, 3);
        assert_eq!(tally.errors, Vec::<String>::new());
        scene.agent.stop();
        drop(held);
    }
    scene.agent.restart();
}

/// Answers whatever is asked with one bulk string that does not end.
fn endless(listener: &TcpListener) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { return };
        thread::spawn(move || {
            let block = vec![b'x'; 1 << 20];
            let _ = stream.write_all(b"$536870912\r\n");
            while stream.write_all(&block).is_ok() {}
        });
    }
}

#[test]
fn a_redis_that_answers_without_end_does_not_make_the_agent_grow() {
    let lab = Lab::routed();
    let address = SocketAddr::new(lab.app(V4, 1), 6_379);
    let listener = lab.apps[1].enter(|| TcpListener::bind(address)).unwrap();
    thread::spawn(move || endless(&listener));
    let lines = format!("[registry]\nurl = \"redis://{address}\"\ntimeout = \"30s\"\n");
    let mut agent = Agent::configured(&lab, &Config::with(&lines));
    agent.launch();
    let id = agent.process().id();
    let mut most = 0;
    eventually(Duration::from_secs(60), || {
        // One that has just ended has no memory any more.
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = kib.and_then(|rest| rest.split_whitespace().next());
        most = most.max(kib.map_or(0, |kib| kib.parse().unwrap()));
        !agent.is_running()
    });
    assert_eq!(agent.wait_until_ended(), 7, "{}", agent.printed());
    println!("{most} KiB at most");
    assert!((1..512 * 1_024).contains(&most), "{most} KiB");
    assert!(
        agent.printed().contains("longer than"),
        "{}",
        agent.printed()
    );
}

#[test]
fn pages_of_other_servers_ask_nothing_in_a_browser_s_name() {
    let lab = Lab::routed();
    let side = "[control]\nlisten = \"127.0.0.1:8442\"\nhosts = [\"harbor.example\"]\n";
    let token = kit::app_host::token(&lab);
    let lines = format!("{}{side}token_file = {token:?}\n", gateway::gateway(&lab));
    let _agent = Agent::start_with(&lab, &Config::with(&lines));
    let bearer = "Authorization: Bearer a-token-of-app-hosts\r\n";
    let basic = format!("{}{}", gateway::BASIC, gateway::VERSION);
    for (to, path, right) in [
        ("127.0.0.1:8442", "/v1/ports", bearer),
        ("127.0.0.1:8442", "/healthz", ""),
        (gateway::LISTEN, "/v2/catalog", &basic),
    ] {
        let mut http = Http::tcp(&lab.node, to.parse().unwrap());
        let mut ask = |header: &str| {
            let head = format!("GET {path} HTTP/1.1\r\n{header}\r\n{right}\r\n");
            http.send(head.as_bytes()).unwrap().0
        };
        for good in ["Host: 127.0.0.1:8442", "Host: localhost"] {
            assert_eq!(ask(good), 200, "{path} {good}");
        }
        for bad in [
            "Host: evil.example",
            "Host: 127.0.0.1.evil.example:8442",
            "Host: localhost\r\nOrigin: https://evil.example",
            "Host: localhost\r\nOrigin: null",
        ] {
            assert_eq!(ask(bad), 403, "{path} {bad}");
        }
    }
    let mut http = Http::tcp(&lab.node, "127.0.0.1:8442".parse().unwrap());
    let named = b"GET /healthz HTTP/1.1\r\nHost: harbor.example:8442\r\n\r\n";
    assert_eq!(http.send(named).unwrap().0, 200);
}

#[test]
fn a_tenant_is_told_that_a_number_is_taken_and_not_by_whom() {
    let mut ground = Ground::start("");
    let held = traffic::hold(&ground.lab.node, ground.lab.folder(), &[35_500]);
    let own = ground.agent.create(&["a-secret-name"]);
    for number in [35_500, own] {
        let asked = order("tenant", &json!({"port": number}));
        let (status, body) = ground.platform.provision("i", &asked);
        assert_eq!(
            (status, &body["error"]),
            (422, &json!("PortTaken")),
            "{body}"
        );
        let text = body["description"].as_str().unwrap();
        assert!(
            text.starts_with(&format!("port {number}/tcp is taken")),
            "{text}"
        );
        for secret in ["pid", &held.id().to_string(), "traffic", "secret"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    // The operator is.
    let told = ground
        .agent
        .ctl(&["ports", "create", "x", "--port", "35500"]);
    assert!(
        told.stderr.contains(&format!("pid {}", held.id())),
        "{}",
        told.stderr
    );
}

#[test]
fn what_an_admin_does_stands_in_the_events_with_its_values() {
    let scene = Scene::routed();
    scene.port("web");
    scene
        .agent
        .ctl(&["flows", "kill", "--port", "web", "10.77.1.2", "--yes"])
        .ok();
    scene.agent.ctl(&["state", "backup"]).ok();
    let events = scene.agent.items(&["events", "--audit"]);
    let of = |kind: &str| {
        let found = events.iter().rev().find(|event| event["kind"] == kind);
        found.unwrap_or_else(|| panic!("no {kind}: {events:?}"))
    };
    let ended = of("flows_ended");
    for value in ["web", "10.77.1.2"] {
        assert!(ended.to_string().contains(value), "{ended}");
    }
    let done = of("request_done");
    assert!(
        done["text"].as_str().unwrap().contains("/v1/state/backup"),
        "{done}"
    );
    for event in [ended, done] {
        assert_eq!(event["actor"]["uid"], 0, "{event}");
    }
    // What is refused has changed nothing.
    assert_eq!(
        scene
            .agent
            .ctl(&["flows", "kill", "--port", "nobody", "--yes"])
            .code,
        4
    );
    let newest = scene.agent.items(&["events", "--audit"]).pop().unwrap();
    assert_eq!(newest["kind"], "request_refused", "{newest}");
}
