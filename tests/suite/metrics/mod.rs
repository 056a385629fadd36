//! Metrics: what a scrape says is what was carried, in a form that strict readers accept.

mod alerts;
mod files;
mod prometheus;
pub(crate) mod scale;
mod scraper;
mod text;

use std::{net::SocketAddr, time::Duration};

use kit::{Config, Lab, V4, eventually, finish, http::Http, patient, traffic};

use crate::scene::{APP_PORT, Scene};
use text::{Samples, accepted_by_promtool, accepted_by_python};

pub(crate) const LISTEN: &str = "127.0.0.1:9442";
const OPEN: &str = "Accept: application/openmetrics-text; version=1.0.0\r\n";

/// An agent that serves metrics by TCP, with apps behind nothing yet.
pub(crate) fn scene(more: &str) -> Scene {
    let config = Config::with(&format!("[metrics]\nlisten = \"{LISTEN}\"\n{more}"));
    Scene::on(Lab::routed(), &config)
}

/// A scrape by TCP, from the node itself.
#[track_caller]
pub(crate) fn scrape(scene: &Scene) -> Samples {
    let (status, text) = ask(scene, OPEN);
    assert_eq!(status, 200, "{text}");
    Samples::read(&text)
}

fn ask(scene: &Scene, header: &str) -> (u16, String) {
    let mut http = Http::tcp(&scene.lab.node, LISTEN.parse().unwrap());
    let (status, body) = http.ask("GET /metrics", header, b"").unwrap();
    (status, String::from_utf8(body).unwrap())
}

#[test]
fn both_formats_are_accepted_by_strict_readers_and_all_doors_say_the_same() {
    let scene = scene("");
    scene.port("web");
    let (status, open) = ask(&scene, OPEN);
    assert_eq!(status, 200, "{open}");
    accepted_by_python(&scene.lab, &open);
    let (status, older) = ask(&scene, "Accept: text/plain\r\n");
    assert_eq!(status, 200, "{older}");
    accepted_by_promtool(&scene.lab, &older);

    let mut socket = Http::new(&scene.agent.socket());
    let (status, by_socket) = socket.ask("GET /metrics", OPEN, b"").unwrap();
    assert_eq!(status, 200);
    let by_socket = Samples::read(&String::from_utf8(by_socket).unwrap());
    assert_eq!(by_socket.families(), Samples::read(&open).families());

    let curl = |words: &[&str]| {
        let mut curl = scene.lab.node.command("curl");
        finish(
            curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}"])
                .args(words),
        )
        .ok()
    };
    let url = format!("http://{LISTEN}/metrics");
    let stranger = curl(&["-H", "Host: evil.example:9442", &url]);
    assert_eq!(stranger.stdout, "403", "a browser can be made to ask");
    assert_eq!(curl(&["-X", "POST", &url]).stdout, "405");
    assert_eq!(curl(&[&format!("http://{LISTEN}/v1/ports")]).stdout, "404");
}

#[test]
fn values_are_those_of_the_traffic_and_of_the_lists() {
    let scene = scene("");
    let (web, game) = (scene.port("web"), 38_811);
    let app = scene.app(0).to_string();
    let words = [
        "game",
        "--protocol",
        "udp",
        "--port",
        "38811",
        "--backend",
        &app,
    ];
    assert_eq!(scene.agent.create(&words), game);
    let to_game = SocketAddr::new(web.ip(), game);
    let held = traffic::Live::open(&scene.lab.client, web, 3);
    assert_eq!(traffic::connect(&scene.lab.client, web, 20).errors.len(), 0);
    assert_eq!(traffic::ask(&scene.lab.client, to_game, 5).errors.len(), 0);
    traffic::transfer(&scene.lab.client, web, 300_000).unwrap();

    let tcp = format!("{{port=\"{}\",protocol=\"tcp\",name=\"web\"}}", web.port());
    let udp = format!("{{port=\"{game}\",protocol=\"udp\",name=\"game\"}}");
    // The number of flows is counted by the sweep, the rest as packets pass.
    eventually(patient(Duration::from_secs(10)), || {
        scrape(&scene).of("harbor_port_flows", &tcp) >= 3.0
    });
    let found = scrape(&scene);
    assert_eq!(found.of("harbor_port_new_flows_total", &tcp), 24.0);
    assert_eq!(found.of("harbor_port_new_flows_total", &udp), 5.0);
    assert!(found.of("harbor_port_forward_bytes_total", &tcp) >= 300_000.0);

    held.finish();
    agrees_with_lists(&scene, [("web", &tcp), ("game", &udp)]);
    let of_web = format!("{{port=\"{}\",name=\"web\"}}", web.port());
    let found = scrape(&scene);
    assert_eq!(found.of("harbor_port_backends_up", &of_web), 2.0);
    assert_eq!(found.of("harbor_ports", "{state=\"up\"}"), 2.0);
    assert_eq!(found.of("harbor_ports", "{state=\"down\"}"), 0.0);
    assert_eq!(found.of("harbor_part_ok", "{part=\"metrics\"}"), 1.0);
    assert_eq!(
        found.of(
            "harbor_range_numbers",
            "{protocol=\"udp\",state=\"assigned\"}"
        ),
        1.0
    );
    let counted = found.of(
        "harbor_datapath_packets_total",
        "{verdict=\"forward\",reason=\"forward\"}",
    );
    let stats = scene.agent.items(&["stats"]);
    let forwarded = stats
        .iter()
        .find(|count| count["verdict"] == "forward")
        .unwrap();
    assert_eq!(counted, forwarded["packets"].as_f64().unwrap());
    let of_backend = format!("{{port=\"{game}\",name=\"game\",backend=\"{app}\"}}");
    assert_eq!(found.of("harbor_backend_new_flows_total", &of_backend), 5.0);
    assert!(found.of("harbor_reconcile_seconds_count", "") >= 2.0);
    let allocations = "{operation=\"allocate\"}";
    assert_eq!(
        found.of("harbor_registry_request_seconds_count", allocations),
        2.0
    );
}

/// What a scrape says of ports is what `ports show` says, in the end: the last packets of connections
/// that end may come between the two looks.
#[track_caller]
fn agrees_with_lists(scene: &Scene, ports: [(&str, &String); 2]) {
    let compared = [
        ("harbor_port_forward_packets_total", "forward_packets"),
        ("harbor_port_forward_bytes_total", "forward_bytes"),
        ("harbor_port_reply_packets_total", "reply_packets"),
        ("harbor_port_reply_bytes_total", "reply_bytes"),
        ("harbor_port_new_flows_total", "flows_total"),
        ("harbor_port_refused_flows_total", "refused"),
    ];
    eventually(patient(Duration::from_secs(20)), || {
        let found = scrape(scene);
        ports.iter().all(|(name, labels)| {
            let shown = scene.agent.ctl_json(&["ports", "show", name]);
            compared.iter().all(|(metric, field)| {
                found.of(metric, labels) == shown["counters"][0][field].as_f64().unwrap()
            })
        })
    });
}

#[test]
fn a_port_that_fails_shows_and_one_that_is_gone_does_not() {
    let scene = scene("");
    let port = scene.agent.create(&["lonely"]);
    let found = scrape(&scene);
    let state = format!("{{port=\"{port}\",name=\"lonely\",state=\"down\"}}");
    assert_eq!(found.of("harbor_port_state", &state), 1.0);
    assert_eq!(found.of("harbor_ports", "{state=\"down\"}"), 1.0);
    assert_eq!(found.of("harbor_part_ok", "{part=\"ports\"}"), 0.0);
    assert_eq!(found.of("harbor_registry_reachable", ""), 1.0);
    scene
        .agent
        .ctl(&["ports", "delete", "lonely", "--yes"])
        .ok();
    let found = scrape(&scene);
    assert!(
        found.get("harbor_port_state", &state).is_none(),
        "it is gone"
    );
}

#[test]
fn how_many_backends_have_metrics_of_their_own_is_bounded() {
    let scene = scene("");
    // A port has at most 128 backends.
    let ports: Vec<u16> = (0..8)
        .map(|n| scene.agent.create(&[&format!("many-{n}")]))
        .collect();
    let mut http = Http::new(&scene.agent.socket());
    let mut add = |number: u16| {
        let address = SocketAddr::new(scene.lab.app(V4, 1), APP_PORT + number);
        let port = ports[usize::from(number) % ports.len()];
        let body = format!("{{\"port\":\"{port}\",\"address\":\"{address}\"}}");
        let (status, said) = http.post("/v1/backends", body.as_bytes()).unwrap();
        assert!(status < 300, "{}", String::from_utf8_lossy(&said));
    };
    (0..1_000).for_each(&mut add);
    let found = scrape(&scene);
    assert_eq!(found.count("harbor_backend_up"), 1_000);
    assert_eq!(found.of("harbor_backends_left_out", ""), 0.0);
    add(1_000);
    let found = scrape(&scene);
    assert_eq!(found.count("harbor_backend_up"), 0);
    assert_eq!(found.of("harbor_backends_left_out", ""), 1_001.0);
    let set = |value: &str| {
        scene
            .agent
            .ctl(&["config", "set", "metrics.per_backend", value])
    };
    set("on").ok();
    assert_eq!(scrape(&scene).count("harbor_backend_up"), 1_001);
    set("off").ok();
    assert_eq!(scrape(&scene).count("harbor_backend_up"), 0);
    assert_eq!(set("some").code, 2);
}

#[test]
fn a_listener_that_cannot_be_had_is_shown_and_comes_when_it_can() {
    let lab = Lab::routed();
    let holder = traffic::hold(&lab.node, lab.folder(), &[9_442]);
    let config = Config::with("[metrics]\nlisten = \"0.0.0.0:9442\"\n");
    let scene = Scene::on(lab, &config);
    let part = |field: &str| scene.agent.ctl_json_whatever(&["status"])["metrics"][field].clone();
    eventually(patient(Duration::from_secs(10)), || {
        part("state") == "degraded"
    });
    let text = part("text").to_string();
    assert!(text.contains("0.0.0.0:9442"), "{text}");
    drop(holder);
    eventually(patient(Duration::from_secs(30)), || part("state") == "ok");
    assert!(scrape(&scene).of("harbor_agent_uptime_seconds", "") > 0.0);
}
