//! Who may write for a node, and over which connection: what a Redis forgets, and what is changed
//! about it while agents run.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{Node, Server, eventually};
use crate::{
    model::Secret,
    registry::{Password, RedisRegistry, Registry, RegistryError, Rests},
};

/// Whether this node's agent may change something.
async fn may_write(registry: &RedisRegistry) -> bool {
    registry.end_rests().await.is_ok()
}

#[tokio::test]
async fn an_agent_that_started_from_its_journal_has_its_node_when_the_registry_is_back() {
    let Some(server) = Server::start().await else {
        return;
    };
    let node = Node::new(&server, "one");
    let web = node.service("web", 35_000);
    drop(
        node.open()
            .await
            .unwrap()
            .allocate(&web, Rests::Ended)
            .await,
    );
    server.say(&["CLIENT", "PAUSE", "3000", "ALL"]).await;
    let registry = node.open().await.unwrap();
    assert!(registry.condition().away.is_some());
    let _news = registry.follow();
    eventually("it may write", || may_write(&registry)).await;
    let condition = registry.condition();
    assert!(!condition.is_fenced && condition.away.is_none());
}

#[tokio::test]
async fn the_token_of_an_agent_that_has_ended_is_no_takeover() {
    let Some(server) = Server::start().await else {
        return;
    };
    let node = Node::new(&server, "one");
    let registry = node.open().await.unwrap();
    let _news = registry.follow();
    // As a registry that was put back to a time before this agent.
    server
        .say(&["HSET", "{harbor:test}:tokens", "one", "of-an-earlier-agent"])
        .await;
    server
        .say(&["ZADD", "{harbor:test}:seen", "1000", "one"])
        .await;
    eventually("it may write", || may_write(&registry)).await;
    assert!(!registry.condition().is_fenced);
}

/// The server's clock was years ahead when the earlier agent was heard, and is right again.
#[tokio::test]
async fn what_was_heard_in_the_future_is_no_sign_of_life() {
    let Some(server) = Server::start().await else {
        return;
    };
    let node = Node::new(&server, "one");
    let registry = node.open().await.unwrap();
    let _news = registry.follow();
    server
        .say(&["HSET", "{harbor:test}:tokens", "one", "of-an-earlier-agent"])
        .await;
    let future = "99999999999999";
    for name in ["one", "gone"] {
        server
            .say(&["ZADD", "{harbor:test}:seen", future, name])
            .await;
    }
    server
        .say(&["HSET", "{harbor:test}:nodes", "gone", "{}"])
        .await;
    eventually("it may write", || may_write(&registry)).await;
    assert!(!registry.condition().is_fenced);
    // Nor is a node up that nobody has heard since.
    eventually("the other is away", || async {
        let nodes = registry.nodes().await.unwrap();
        nodes
            .iter()
            .any(|one| one.id == "gone" && one.state() == "away")
    })
    .await;
}

#[tokio::test]
async fn a_fenced_agent_takes_its_node_back_when_it_is_alone_and_not_before() {
    let Some(server) = Server::start().await else {
        return;
    };
    let (node, same) = (Node::new(&server, "one"), Node::new(&server, "one"));
    let first = node.open().await.unwrap();
    let _news = first.follow();
    let second = same.open().await.unwrap();
    let news = second.follow();
    eventually("the first is fenced", || async {
        first.condition().is_fenced
    })
    .await;
    // It looks at leases nevertheless.
    first.app_hosts().await.unwrap();
    // Longer than what counts as silence.
    let beats = || async {
        let seen = server.say(&["ZSCORE", "{harbor:test}:seen", "one"]).await;
        redis::from_redis_value::<f64>(seen).unwrap()
    };
    let begun = beats().await;
    eventually("many beats", || async { beats().await > begun + 5_000.0 }).await;
    assert!(first.condition().is_fenced && may_write(&second).await);
    drop((second, news));
    eventually("the first may write", || may_write(&first)).await;
    assert!(!first.condition().is_fenced);
}

#[tokio::test]
async fn a_master_that_was_demoted_is_hung_up_on() {
    let Some(server) = Server::start().await else {
        return;
    };
    let node = Node::new(&server, "one");
    let registry = node.open().await.unwrap();
    let ids = || async {
        let list = server.say(&["CLIENT", "LIST"]).await;
        let list: String = redis::from_redis_value(list).unwrap();
        // All but the one that asks; what each of them did last depends on the moment.
        let lines = list.lines().filter(|line| !line.contains("cmd=client"));
        let ids = lines.filter_map(|line| line.split(' ').next().map(str::to_owned));
        ids.collect::<Vec<_>>()
    };
    let before = ids().await;
    assert_eq!(before.len(), 1, "{before:?}");
    server.say(&["REPLICAOF", "127.0.0.1", "1"]).await;
    let error = registry.end_rests().await.unwrap_err();
    assert!(error.to_string().contains("READONLY"), "{error}");
    eventually("it is gone", || async { ids().await.is_empty() }).await;
    server.say(&["REPLICAOF", "NO", "ONE"]).await;
    let _news = registry.follow();
    eventually("it may write", || may_write(&registry)).await;
}

#[tokio::test]
async fn a_password_that_was_replaced_is_read_again() {
    let Some(server) = Server::start().await else {
        return;
    };
    let mut node = Node::new(&server, "one");
    let secret = |text: &str| Secret::from_file(text);
    let held = Arc::new(Mutex::new(secret("first")));
    let read = {
        let held = Arc::clone(&held);
        move || Some(held.lock().unwrap().clone())
    };
    node.settings.target.password = Some(Password::new(secret("first"), read));
    let user = |text: &str| {
        let url = server
            .url()
            .replace("redis://", &format!("redis://:{text}@"));
        redis::Client::open(url).unwrap()
    };
    server.say(&["CONFIG", "SET", "requirepass", "first"]).await;
    let registry = node.open().await.unwrap();
    let _news = registry.follow();
    let mut operator = user("first")
        .get_multiplexed_async_connection()
        .await
        .unwrap();
    *held.lock().unwrap() = secret("second");
    for words in [
        &["CONFIG", "SET", "requirepass", "second"][..],
        &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"],
    ] {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command
            .query_async::<redis::Value>(&mut operator)
            .await
            .unwrap();
    }
    eventually("it may write", || may_write(&registry)).await;
}

#[tokio::test]
async fn the_rights_that_the_manual_names_are_enough() {
    const MANUAL: &str = include_str!("../../../../docs/how-to/nodes.md");
    let Some(server) = Server::start().await else {
        return;
    };
    let line = MANUAL.lines().find(|line| line.contains("ACL SETUSER"));
    let line = line.unwrap().replace("PASSWORD", "secret");
    let line = line.replace("{harbor:harbor}", "{harbor:test}");
    let words: Vec<&str> = line
        .split_whitespace()
        .skip_while(|w| *w != "ACL")
        .collect();
    server.say(&words).await;
    let url = server.url().replace("redis://", "redis://harbor@");
    let mut node = Node::new(&server, "one");
    let crate::model::RegistryUrl::Redis(url) = url.parse().unwrap() else {
        unreachable!()
    };
    node.settings.target.url = url;
    let secret = Secret::from_file("secret");
    node.settings.target.password = Some(Password::new(secret, || None));
    let registry = node.open().await.unwrap();
    let mut news = registry.follow();
    every_verb(&registry, &node).await;
    let log = server.say(&["ACL", "LOG"]).await;
    assert_eq!(log, redis::Value::Array(Vec::new()));
    news.close();
}

async fn every_verb(registry: &RedisRegistry, node: &Node) {
    let rest = Duration::from_secs(60);
    let mut web = node.service("web", 35_000);
    web = registry.allocate(&web, Rests::Respected).await.unwrap();
    web.draining = true;
    registry.update(&web).await.unwrap();
    let spoken = crate::model::Spoken { epoch: 1, seq: 1 };
    registry.heard("dea", spoken, Some(rest)).await.unwrap();
    assert_eq!(registry.app_hosts().await.unwrap().len(), 1);
    registry.forget_app_host("dea").await.unwrap();
    registry.release(&web.id, rest).await.unwrap();
    registry.end_rests().await.unwrap();
    registry
        .import(&[node.service("api", 35_001)])
        .await
        .unwrap();
    assert_eq!(registry.nodes().await.unwrap().len(), 1);
    assert!(registry.drain_node("one", true).await.unwrap());
    let late = node.service("x", 35_002);
    let error = registry.allocate(&late, Rests::Ended).await.unwrap_err();
    assert!(matches!(error, RegistryError::Drained(_)), "{error}");
    assert_eq!(registry.audit().await.unwrap(), [""; 0]);
    registry.leave().await.unwrap();
}

/// What is heard first is as of the server's clock, whatever this host's says.
#[tokio::test]
async fn places_in_the_announcements_are_the_servers_own() {
    let Some(server) = Server::start().await else {
        return;
    };
    let registry = Node::new(&server, "one").open().await.unwrap();
    let heard = |place: &str, back: &str| {
        let words = [place, "10", back].map(str::to_owned);
        let registry = registry.clone();
        async move { registry.heard_from(&words).await }
    };
    let say = |id: &'static str| {
        let words = ["XADD", "{harbor:test}:announce", id, "m", "{}"];
        let server = &server;
        async move { server.say(&words).await }
    };
    let (from_start, _) = heard("", "60000").await;
    let seconds: (u64, u64) = redis::from_redis_value(server.say(&["TIME"]).await).unwrap();
    let place: u64 = from_start.trim_end_matches("-0").parse().unwrap();
    assert!(place.abs_diff(seconds.0 * 1_000 - 60_000) < 30_000);
    // Nothing was there: the place stays, so that nothing is missed between two looks.
    assert_eq!(heard(&from_start, "0").await.0, from_start);
    say("*").await;
    let (last, words) = heard(&from_start, "0").await;
    assert_eq!(words, ["{}"]);
    assert_eq!(heard(&last, "0").await, (last, Vec::new()));
}
