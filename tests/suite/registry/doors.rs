//! The ways to a Redis: with a password, over TLS, through Sentinels; and what is wrong with an
//! address is said before anything is done.

use std::{fs, net::SocketAddr, time::Duration};

use kit::{Agent, Config, Lab, Redis, V4, certify, eventually, traffic};

use super::REDIS;
use crate::scene::Scene;

const SECRET: &str = "correct-horse-battery";
const SOON: Duration = Duration::from_secs(30);

fn at(lab: &Lab, port: u16) -> SocketAddr {
    SocketAddr::new(lab.app(V4, 1), port)
}

/// Ports can be created and are served, and the secret stands nowhere.
#[track_caller]
fn works(scene: &Scene) {
    let web = scene.port("web");
    assert_eq!(traffic::connect(&scene.lab.client, web, 4).errors.len(), 0);
    let status = scene.agent.ctl(&["status"]).ok().stdout;
    assert!(status.contains("redis"), "{status}");
    let logs: String = ["node", "redis"].map(|part| scene.agent.log(part)).concat();
    let shown = scene.agent.ctl(&["config", "show", "--origin"]).stdout;
    for text in [&status, &logs, &shown, &scene.agent.printed()] {
        assert!(!text.contains(SECRET), "{text}");
    }
}

#[test]
fn a_password_is_read_from_its_file_and_shown_nowhere() {
    let lab = Lab::routed();
    let secret = lab.folder().join("secret");
    fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let more = ["--requirepass", SECRET];
    let _redis = Redis::start_with(&lab.apps[1], lab.folder(), at(&lab, REDIS), &more);
    let address = at(&lab, REDIS);
    let lines = |file: &str| {
        format!(
            "[registry]\nurl = \"redis://{address}\"\npassword_file = {file:?}\n[log]\nlevel = \"trace\"\n"
        )
    };
    let mut without = Agent::configured(
        &lab,
        &Config {
            name: "without".into(),
            ..Config::with(&lines(""))
        },
    );
    without.launch();
    assert_eq!(without.wait_until_ended(), 7, "{}", without.printed());
    assert!(
        without.printed().contains("NOAUTH"),
        "{}",
        without.printed()
    );
    works(&Scene::on(
        lab,
        &Config::with(&lines(secret.to_str().unwrap())),
    ));
}

#[test]
fn a_redis_is_reached_over_tls_if_its_certificate_is_trusted() {
    let lab = Lab::routed();
    let folder = lab.folder().to_owned();
    certify(&folder, "redis", &format!("IP:{}", lab.app(V4, 1)));
    let file = |name: &str| folder.join(name).display().to_string();
    let (cert, key) = (file("redis.crt"), file("redis.key"));
    let tls = [
        "--tls-port",
        "6380",
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
    ];
    let more = [&tls[..], &["--tls-auth-clients", "no"]].concat();
    let _redis = Redis::start_with(&lab.apps[1], &folder, at(&lab, REDIS), &more);
    let lines = |file: &str| {
        format!(
            "[registry]\nurl = \"rediss://{}\"\nca_file = {file:?}\n",
            at(&lab, 6380)
        )
    };
    let mut without = Agent::configured(
        &lab,
        &Config {
            name: "without".into(),
            ..Config::with(&lines(""))
        },
    );
    without.launch();
    assert_eq!(without.wait_until_ended(), 7, "{}", without.printed());
    let lines = lines(&cert);
    works(&Scene::on(lab, &Config::with(&lines)));
}

#[test]
fn a_new_master_is_found_through_the_sentinels() {
    let lab = Lab::routed();
    let (host, ip) = (lab.apps[1].clone(), lab.app(V4, 1).to_string());
    let mut first = Redis::start(&host, lab.folder(), at(&lab, 7001));
    let second = Redis::start_with(
        &host,
        lab.folder(),
        at(&lab, 7002),
        &["--replicaof", &ip, "7001"],
    );
    let file = lab.folder().join("sentinel.conf");
    let text = format!(
        "sentinel monitor harbor {ip} 7001 1\nsentinel down-after-milliseconds harbor 1000\n\
         sentinel failover-timeout harbor 3000\n"
    );
    fs::write(&file, text).unwrap();
    let more = [file.to_str().unwrap(), "--sentinel"];
    let sentinel = Redis::start_with(&host, lab.folder(), at(&lab, 26379), &more);
    let knows = |words: &str| sentinel.say(&["sentinel", words, "harbor"]).stdout;
    eventually(SOON, || knows("replicas").contains("7002"));
    // The first Sentinel is dead: nobody answers there, not even with a reset.
    let lines = format!(
        "[registry]\nurl = \"redis+sentinel://10.77.2.99:26379,{}/harbor\"\ntimeout = \"500ms\"\n",
        at(&lab, 26379)
    );
    let scene = Scene::on(lab, &Config::with(&lines));
    works(&scene);
    eventually(SOON, || {
        second.say(&["hlen", "{harbor:harbor}:services"]).stdout == "1\n"
    });
    first.kill();
    let state = || scene.agent.ctl_json_whatever(&["status"])["registry"]["state"].clone();
    eventually(SOON, || state() != "ok");
    eventually(SOON, || second.say(&["role"]).stdout.starts_with("master"));
    eventually(SOON, || state() == "ok");
    scene.port("api");
    assert_eq!(
        second.say(&["hlen", "{harbor:harbor}:services"]).stdout,
        "2\n"
    );
}

#[test]
fn a_wrong_address_is_named_with_what_is_right() {
    let lab = Lab::routed();
    for (url, words) in [
        ("redis://user:secret@core", "password_file"),
        ("http://core", "redis://HOST"),
        ("redis://core:0", "is not a host"),
        ("redis+sentinel://core", "master"),
    ] {
        let config = Config::with(&format!("[registry]\nurl = {url:?}\n"));
        let mut agent = Agent::configured(&lab, &config);
        agent.launch();
        assert_eq!(agent.wait_until_ended(), 2, "{}", agent.printed());
        let said = agent.printed();
        assert!(
            said.contains("registry.url") && said.contains(words),
            "{url}: {said}"
        );
        fs::remove_file(agent.folder().join("agent.out")).unwrap();
    }
}
