//! A Redis that forgets its last writes, while another node writes on: what was acknowledged is there
//! afterwards, and what was deleted is not.

use std::time::Duration;

use super::{Node, Server, eventually};
use crate::{
    model::Service,
    registry::{RedisRegistry, Registry, Rests},
};

/// Everything that a server holds.
struct Dump(Vec<(String, Vec<u8>)>);

impl Dump {
    async fn of(server: &Server) -> Self {
        let keys: Vec<String> = redis::from_redis_value(server.say(&["KEYS", "*"]).await).unwrap();
        let mut all = Vec::new();
        for key in keys {
            let bytes = redis::from_redis_value(server.say(&["DUMP", &key]).await).unwrap();
            all.push((key, bytes));
        }
        Self(all)
    }

    /// Puts a server back to this, and hangs up on everybody, as one that starts from its dump.
    async fn restore(&self, server: &Server) {
        let mut connection = server.connection().await;
        let mut pipe = redis::pipe();
        pipe.atomic().cmd("FLUSHALL");
        for (key, bytes) in &self.0 {
            pipe.cmd("RESTORE").arg(key).arg(0).arg(&bytes[..]);
        }
        let kill = ["KILL", "TYPE", "normal", "SKIPME", "yes"];
        pipe.query_async::<redis::Value>(&mut connection)
            .await
            .unwrap();
        let mut hang_up = redis::cmd("CLIENT");
        for word in kill {
            hang_up.arg(word);
        }
        hang_up
            .query_async::<redis::Value>(&mut connection)
            .await
            .unwrap();
    }
}

/// Two of a node's ports, of which one is deleted and the other changed, and a third one.
struct Story {
    web: Service,
    gone: Service,
    late: Service,
}

impl Story {
    /// What is dumped is of the time before the deletion, the change and the third port.
    async fn tell(node: &Node, registry: &RedisRegistry, server: &Server) -> (Self, Dump) {
        let web = node.service("web", 35_000);
        let mut web = registry.allocate(&web, Rests::Ended).await.unwrap();
        let gone = node.service("gone", 35_001);
        let gone = registry.allocate(&gone, Rests::Ended).await.unwrap();
        let dump = Dump::of(server).await;
        web.draining = true;
        let web = registry.update(&web).await.unwrap();
        registry.release(&gone.id, Duration::ZERO).await.unwrap();
        let late = node.service("late", 35_002);
        let late = registry.allocate(&late, Rests::Ended).await.unwrap();
        (Self { web, gone, late }, dump)
    }

    /// Whether a registry holds what was acknowledged last, and the server too.
    async fn is_so(&self, registry: &RedisRegistry, server: &Server) -> bool {
        let held = |service: &Service| {
            let words = ["HGET", "{harbor:test}:services", &service.id].map(str::to_owned);
            async move {
                let found = server.say(&words.each_ref().map(String::as_str)).await;
                redis::from_redis_value::<Option<String>>(found).unwrap()
            }
        };
        let is_known = registry.known(&self.web.id).as_ref() == Some(&self.web)
            && registry.known(&self.late.id).as_ref() == Some(&self.late)
            && registry.known(&self.gone.id).is_none();
        let text = |service: &Service| Some(serde_json::to_string(service).unwrap());
        is_known
            && held(&self.web).await == text(&self.web)
            && held(&self.late).await == text(&self.late)
            && held(&self.gone).await.is_none()
    }
}

#[tokio::test]
async fn what_was_acknowledged_outlives_lost_writes_that_others_have_written_over() {
    let Some(server) = Server::start().await else {
        return;
    };
    let (one, two) = (Node::new(&server, "one"), Node::new(&server, "two"));
    let (first, second) = (one.open().await.unwrap(), two.open().await.unwrap());
    let (_news, _other_news) = (first.follow(), second.follow());
    let (story, dump) = Story::tell(&one, &first, &server).await;
    eventually("both know", || async {
        story.is_so(&first, &server).await && story.is_so(&second, &server).await
    })
    .await;
    dump.restore(&server).await;
    // The numbers of its changes go beyond those that were lost.
    for port in 35_100..35_110 {
        let noise = two.service(&format!("noise{port}"), port);
        eventually("the other writes", || async {
            second.allocate(&noise, Rests::Ended).await.is_ok()
        })
        .await;
    }
    eventually("all is so again", || async {
        story.is_so(&first, &server).await && story.is_so(&second, &server).await
    })
    .await;
    assert_eq!(first.load().await.unwrap().services.len(), 12);
}

#[tokio::test]
async fn an_agent_that_starts_after_the_loss_knows_from_its_journal_what_was_so() {
    let Some(server) = Server::start().await else {
        return;
    };
    let one = Node::new(&server, "one");
    let (story, dump) = {
        let registry = one.open().await.unwrap();
        Story::tell(&one, &registry, &server).await
    };
    dump.restore(&server).await;
    let registry = one.open().await.unwrap();
    assert!(story.is_so(&registry, &server).await);
}

/// Another agent deletes for good what this one does not follow.
#[tokio::test]
async fn what_somebody_else_has_deleted_is_not_put_back() {
    let Some(server) = Server::start().await else {
        return;
    };
    let (one, two) = (Node::new(&server, "one"), Node::new(&server, "two"));
    let web = one.service("web", 35_000);
    {
        let registry = one.open().await.unwrap();
        registry.allocate(&web, Rests::Ended).await.unwrap();
    }
    let second = two.open().await.unwrap();
    second.release(&web.id, Duration::ZERO).await.unwrap();
    let registry = one.open().await.unwrap();
    assert_eq!(registry.load().await.unwrap().services, []);
    // And a new one of the same id is none that was deleted.
    let again = Service {
        created_at: web.created_at + 5,
        ..web
    };
    registry.allocate(&again, Rests::Ended).await.unwrap();
    drop(registry);
    let registry = one.open().await.unwrap();
    assert_eq!(registry.load().await.unwrap().services.len(), 1);
}
