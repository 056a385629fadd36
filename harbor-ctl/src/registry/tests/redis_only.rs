//! What only a registry that others share can promise.

use std::time::Duration;

use tokio::sync::mpsc::Receiver;

use super::{Node, Server};
use crate::registry::{News, Registry, RegistryError, Rests};

/// The next news of a kind; panics if it does not come.
async fn next(news: &mut Receiver<News>, wanted: impl Fn(&News) -> bool) -> News {
    let wait = async {
        loop {
            let one = news.recv().await.unwrap();
            if wanted(&one) {
                return one;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait)
        .await
        .expect("the news did not come")
}

fn is_change(news: &News) -> bool {
    matches!(news, News::Changed(_))
}

#[tokio::test]
async fn what_one_node_changes_the_other_hears() {
    let Some(server) = Server::start().await else {
        return;
    };
    let (one, two) = (Node::new(&server, "one"), Node::new(&server, "two"));
    let (first, second) = (one.open().await.unwrap(), two.open().await.unwrap());
    let mut news = second.follow();
    let web = one.service("web", 35_000);
    let mut web = first.allocate(&web, Rests::Respected).await.unwrap();
    assert_eq!(
        next(&mut news, is_change).await,
        News::Changed(vec![web.id.clone()])
    );
    assert_eq!(second.known(&web.id), Some(web.clone()));
    web.draining = true;
    let web = second.update(&web).await.unwrap();
    first.release(&web.id, Duration::ZERO).await.unwrap();
    next(&mut news, is_change).await;
    assert_eq!(second.known(&web.id), None);
    let names: Vec<_> = first
        .nodes()
        .await
        .unwrap()
        .into_iter()
        .map(|n| n.id)
        .collect();
    assert_eq!(names, ["one", "two"]);
}

#[tokio::test]
async fn an_emptied_registry_gets_its_ports_back() {
    let Some(server) = Server::start().await else {
        return;
    };
    let node = Node::new(&server, "one");
    let registry = node.open().await.unwrap();
    let mut news = registry.follow();
    for port in 35_000..35_020 {
        let one = node.service(&format!("s{port}"), port);
        registry.allocate(&one, Rests::Respected).await.unwrap();
    }
    let before = registry.load().await.unwrap();
    server.say(&["FLUSHALL"]).await;
    next(&mut news, |one| matches!(one, News::Synchronised)).await;
    let wait = async {
        while registry.load().await.map(|c| c.services).ok() != Some(before.services.clone())
            || server.say(&["HLEN", "{harbor:test}:services"]).await != redis::Value::Int(20)
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait)
        .await
        .unwrap();
    assert!(registry.condition().withheld.is_empty());
}

#[tokio::test]
async fn a_second_agent_with_the_same_id_fences_the_first() {
    let Some(server) = Server::start().await else {
        return;
    };
    let (node, same) = (Node::new(&server, "one"), Node::new(&server, "one"));
    let first = node.open().await.unwrap();
    let web = first
        .allocate(&node.service("web", 35_000), Rests::Respected)
        .await
        .unwrap();
    let second = same.open().await.unwrap();
    let error = first.update(&web).await.unwrap_err();
    assert!(matches!(error, RegistryError::Fenced(_)), "{error}");
    let error = first
        .allocate(&node.service("x", 35_001), Rests::Ended)
        .await
        .unwrap_err();
    assert!(matches!(error, RegistryError::Fenced(_)), "{error}");
    assert!(first.condition().is_fenced && !second.condition().is_fenced);
    second.update(&web).await.unwrap();
}

#[tokio::test]
async fn a_registry_that_is_away_is_said_so_and_the_journal_starts_the_next_agent() {
    let Some(server) = Server::start().await else {
        return;
    };
    let node = Node::new(&server, "one");
    let web = {
        let registry = node.open().await.unwrap();
        registry
            .allocate(&node.service("web", 35_000), Rests::Respected)
            .await
            .unwrap()
    };
    drop(server);
    let registry = node.open().await.unwrap();
    assert_eq!(
        registry.load().await.unwrap().services,
        std::slice::from_ref(&web)
    );
    assert!(registry.condition().away.is_some());
    let error = registry.update(&web).await.unwrap_err();
    assert!(matches!(error, RegistryError::Away(_)), "{error}");
    assert!(registry.app_hosts().await.is_err());
}

#[tokio::test]
async fn a_node_without_a_journal_does_not_start_from_nothing() {
    let Some(server) = Server::start().await else {
        return;
    };
    let node = Node::new(&server, "one");
    drop(server);
    let error = node.open().await.unwrap_err();
    assert!(matches!(error, RegistryError::Away(_)), "{error}");
}

#[tokio::test]
async fn a_drained_node_gets_no_new_port() {
    let Some(server) = Server::start().await else {
        return;
    };
    let (one, two) = (Node::new(&server, "one"), Node::new(&server, "two"));
    let (first, second) = (one.open().await.unwrap(), two.open().await.unwrap());
    assert!(first.drain_node("two", true).await.unwrap());
    assert!(!first.drain_node("none", true).await.unwrap());
    let web = two.service("web", 35_000);
    let error = second.allocate(&web, Rests::Ended).await.unwrap_err();
    assert!(matches!(error, RegistryError::Drained(_)), "{error}");
    assert!(first.drain_node("two", false).await.unwrap());
    second.allocate(&web, Rests::Ended).await.unwrap();
}

#[tokio::test]
async fn announcements_are_handed_on_unless_they_are_too_long() {
    let Some(server) = Server::start().await else {
        return;
    };
    let registry = Node::new(&server, "one").open().await.unwrap();
    let mut news = registry.follow();
    let long = "x".repeat(16_385);
    for words in [long.as_str(), "", "{\"v\":1}"] {
        server
            .say(&["XADD", "{harbor:test}:announce", "*", "m", words])
            .await;
    }
    let heard = next(&mut news, |one| matches!(one, News::Announced(_))).await;
    assert_eq!(heard, News::Announced("{\"v\":1}".into()));
}

/// A node that changes its own services as fast as it can, while another does the same, never sees
/// one of its own changes undone by an answer that was on its way.
#[tokio::test]
async fn what_a_node_has_changed_itself_is_never_undone_by_older_news() {
    let Some(server) = Server::start().await else {
        return;
    };
    let (one, two) = (Node::new(&server, "one"), Node::new(&server, "two"));
    let (first, second) = (one.open().await.unwrap(), two.open().await.unwrap());
    let (_news, _other_news) = (first.follow(), second.follow());
    let web = one.service("web", 35_000);
    let mut web = first.allocate(&web, Rests::Respected).await.unwrap();
    let noise = two.service("noise", 35_001);
    let mut noise = second.allocate(&noise, Rests::Respected).await.unwrap();
    for round in 0..300 {
        web.draining = round % 2 == 0;
        noise.draining = web.draining;
        let (mine, other) = tokio::join!(first.update(&web), second.update(&noise));
        (web, noise) = (mine.unwrap(), other.unwrap());
        assert_eq!(first.known(&web.id), Some(web.clone()), "round {round}");
        if round % 50 == 49 {
            first.release(&web.id, Duration::ZERO).await.unwrap();
            assert_eq!(first.known(&web.id), None, "round {round}");
            web = first
                .allocate(&one.service("web", 35_000), Rests::Ended)
                .await
                .unwrap();
        }
    }
}
