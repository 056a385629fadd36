//! Messages that nobody heard, and app hosts that are heard by all nodes at once.

use std::time::{Duration, Instant};

use kit::{
    app_host::{self, Instance},
    eventually,
    traffic::{self, Live},
};
use nix::sys::signal::Signal;

use super::{Ground, Registry, SOON};

#[test]
fn no_packet_reaches_a_stranger_after_lease_and_sweep_though_every_message_was_lost() {
    for registry in [Registry::Embedded, Registry::Redis] {
        println!(
            "{registry:?}, to the stranger: {}",
            lose_every_message(registry)
        );
    }
}

/// Says what reached the stranger.
fn lose_every_message(registry: Registry) -> String {
    let ground = Ground::kept(registry, "3s");
    let to = ground.port("both-web");
    let mut one = Instance::start(&ground.lab, 0, ("both-web", "one"), 4_100, &[]);
    ground.wait_for("both-web", &["one"]);
    let _two = Instance::start(&ground.lab, 1, ("both-web", "two"), 4_100, &[]);
    ground.wait_for("both-web", &["one", "two"]);
    let host = &ground.lab.apps[0];
    host.nft("add table inet lost");
    host.nft("add chain inet lost out { type filter hook output priority 0; }");
    host.nft("add rule inet lost out tcp dport 8442 drop");
    one.cut();
    let stranger = traffic::serve(host, ground.lab.folder(), "stranger", &[one.address]);
    let before = traffic::connect(&ground.lab.client, to, 20);
    // One lease, and one sweep of a second; the list shows the sweep.
    eventually(Duration::from_secs(3 + 1 + 5), || {
        ground.backends("both-web").len() == 1
    });
    let tcp = traffic::connect(&ground.lab.client, to, 200);
    let udp = traffic::ask(&ground.lab.client, to, 200);
    assert_eq!((tcp.of("two"), tcp.errors.len()), (200, 0), "{tcp:?}");
    assert_eq!((udp.of("two"), udp.errors.len()), (200, 0), "{udp:?}");
    drop(stranger);
    format!(
        "{} of 20 connections before the lease was over, {} of 200 connections and {} of 200 datagrams after",
        before.of("stranger"),
        tcp.of("stranger"),
        udp.of("stranger"),
    )
}

#[test]
fn app_hosts_announce_over_the_redis_that_nodes_share() {
    let ground = Ground::kept(Registry::Redis, "3s");
    let url = ground.redis.as_ref().unwrap().url();
    let to = ground.port("both-web");
    let over = ["--to", url.as_str()];
    let mut one = Instance::start(&ground.lab, 0, ("both-web", "one"), 4_100, &over);
    ground.wait_for("both-web", &["one"]);
    let mut two = Instance::start(&ground.lab, 1, ("both-web", "two"), 4_100, &over);
    ground.wait_for("both-web", &["one", "two"]);
    assert_eq!(traffic::connect(&ground.lab.client, to, 10).of("two"), 5);
    // Nobody answers there, and the lease is renewed all the same.
    let seq = || -> u64 {
        let hosts = ground.agent.items(&["dea", "list"]);
        hosts.iter().map(|host| host["seq"].as_u64().unwrap()).sum()
    };
    let begun = seq();
    eventually(Duration::from_secs(40), || seq() >= begun + 4);
    one.announcer.signal(Signal::SIGTERM);
    one.announcer.wait(SOON);
    ground.wait_for("both-web", &["two"]);
    two.cut();
    eventually(Duration::from_secs(20), || {
        let all = ground.backends("both-web");
        all.iter().all(|(instance, _)| instance != "two")
    });
    // What is no document changes nothing.
    let redis = ground.redis.as_ref().unwrap();
    let stream = "{harbor:harbor}:announce";
    for words in ["", "{", r#"{"v":1,"dea":"x"}"#, "\u{1b}[2J"] {
        redis.say(&["XADD", stream, "*", "m", words]).ok();
    }
    let document = r#"{"v":1,"dea":"dea9","epoch":1,"seq":1,"service":"both-web","instance":"z",
        "ip":"10.77.2.11","port":4100,"state":"up"}"#;
    redis.say(&["XADD", stream, "*", "m", document]).ok();
    ground.wait_for("both-web", &["z"]);
}

#[test]
fn what_was_lost_is_made_good_by_the_next_digest() {
    let ground = Ground::with_lease("17s");
    ground.port("web");
    let bearer = "Authorization: Bearer a-token-of-app-hosts";
    let say = |path: &str, document: &str| {
        let url = format!("http://{}/v1/{path}", app_host::CONTROL);
        let (code, body) = app_host::ask(&ground.lab, &["-H", bearer, "-d", document, &url]);
        (
            code,
            serde_json::from_str::<serde_json::Value>(&body).unwrap(),
        )
    };
    let instance = |name: &str, last: u8, head: &str| {
        format!(
            r#"{{{head}"service":"web","instance":"{name}","ip":"10.77.2.{last}","port":4100,"state":"up"}}"#
        )
    };
    let head = |seq: u32| format!(r#""v":1,"dea":"dea1","epoch":5,"seq":{seq},"#);
    for (seq, (name, last)) in [("a", 11), ("b", 12)].into_iter().enumerate() {
        let (code, _) = say("announce", &instance(name, last, &head(seq as u32 + 1)));
        assert_eq!(code, 200);
    }
    ground.wait_for("web", &["a", "b"]);
    // printf 'web a 10.77.2.11:4100 up\n' | sha256sum
    let mut digest = ground.lab.apps[0].command("sh");
    digest.args([
        "-c",
        r"printf 'web a 10.77.2.11:4100 up\n' | sha256sum | cut -c1-64",
    ]);
    let digest = kit::finish(&mut digest).ok().stdout;
    let beat = |seq| format!(r#"{{{}"digest":"{}"}}"#, head(seq), digest.trim());
    let (_, heard) = say("heartbeat", &beat(3));
    assert_eq!(
        heard["announce"], true,
        "b was withdrawn, and nobody heard it"
    );
    let all = format!(r#"{{{}"instances":[{}]}}"#, head(4), instance("a", 11, ""));
    let (code, heard) = say("announce", &all);
    assert_eq!((code, &heard["applied"]), (200, &true.into()), "{heard}");
    ground.wait_for("web", &["a"]);
    assert_eq!(say("heartbeat", &beat(5)).1["announce"], false);

    // Said before, said by an older announcer, and said by nobody who may.
    let (_, repeated) = say("announce", &instance("c", 12, &head(4)));
    assert_eq!(repeated["applied"], false);
    let older = instance("c", 12, &head(9).replace("\"epoch\":5", "\"epoch\":4"));
    assert_eq!(say("announce", &older).0, 409);
    assert_eq!(
        say("announce", &instance("c", 1, &head(6))).0,
        400,
        "an address of the node"
    );
    ground.wait_for("web", &["a"]);
}

#[test]
fn instances_live_through_the_loss_of_redis_and_of_all_that_it_held() {
    let mut ground = Ground::kept(Registry::Redis, "3s");
    let to = ground.port("web");
    let mut one = Instance::start(&ground.lab, 0, ("web", "one"), 4_100, &[]);
    ground.wait_for("web", &["one"]);
    let live = Live::open(&ground.lab.client, to, 5);
    ground.redis.as_mut().unwrap().kill();
    eventually(SOON, || ground.agent.ctl(&["status"]).code == 7);
    // Two leases' worth of silence of the registry is no silence of the app host.
    let begun = Instant::now();
    eventually(SOON, || begun.elapsed() > Duration::from_secs(6));
    assert_eq!(ground.backends("web"), [("one".into(), "up".into())]);
    live.progress();
    ground.redis.as_mut().unwrap().restart();
    eventually(SOON, || {
        let hosts = ground.agent.ctl(&["dea", "list", "-o", "json"]);
        hosts.code == 0 && hosts.json()["items"][0]["instances"] == 1
    });
    live.progress();
    assert_eq!(live.finish().errors, Vec::<String>::new());
    // And who falls silent afterwards is out as before.
    one.cut();
    eventually(Duration::from_secs(20), || {
        ground.backends("web").is_empty()
    });
}

/// Another agent has this one's node, and who announces to this one is heard by nobody: what this one forwards
/// ends with its leases all the same.
#[test]
fn leases_end_in_the_kernel_of_an_agent_that_is_fenced() {
    let ground = Ground::kept(Registry::Redis, "3s");
    let to = ground.port("web");
    let mut one = Instance::start(&ground.lab, 0, ("web", "one"), 4_100, &[]);
    ground.wait_for("web", &["one"]);
    let config = ground.redis.as_ref().unwrap().config("one");
    let _second = crate::registry::other(&ground.lab, &config, "second");
    let registry = || ground.agent.ctl_json_whatever(&["status"])["registry"].clone();
    eventually(SOON, || {
        registry()["text"].to_string().contains("another agent")
    });
    assert!(traffic::connect(&ground.lab.client, to, 5).of("one") > 0);
    one.cut();
    let host = &ground.lab.apps[0];
    let stranger = traffic::serve(host, ground.lab.folder(), "stranger", &[one.address]);
    eventually(SOON, || ground.backends("web").is_empty());
    let tally = traffic::connect(&ground.lab.client, to, 50);
    assert!(tally.names.is_empty(), "{tally:?}");
    assert!(registry()["text"].to_string().contains("another agent"));
    drop(stranger);
}
