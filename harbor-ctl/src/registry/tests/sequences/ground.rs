//! Two nodes with a way to the server each, which can be cut, and a server that can be put back.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use crate::{
    model::{BackendRule, RegistryUrl},
    registry::{
        RedisRegistry, RedisSettings, Registry as _,
        backing::faults::{self, Fault},
    },
};

/// A way to the server that can be cut.
pub(super) struct Door {
    port: u16,
    pub(super) is_open: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Door {
    pub(super) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (is_open, opened) = watch::channel(true);
        let task = tokio::spawn(async move {
            loop {
                let Ok((mut client, _)) = listener.accept().await else {
                    return;
                };
                // Nothing lingers: thousands of numbers of the host would be taken for a minute.
                let _ = client.set_zero_linger();
                let mut opened = opened.clone();
                if !*opened.borrow_and_update() {
                    continue;
                }
                tokio::spawn(async move {
                    let mut there = TcpStream::connect(("127.0.0.1", server)).await?;
                    there.set_zero_linger()?;
                    tokio::select! {
                        done = tokio::io::copy_bidirectional(&mut client, &mut there) => done.map(drop),
                        _ = opened.wait_for(|is_open| !is_open) => Ok(()),
                    }
                });
            }
        });
        Self {
            port,
            is_open,
            task,
        }
    }

    pub(super) fn set(&self, is_open: bool) {
        self.is_open.send_replace(is_open);
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A node, running or not.
pub(super) struct Node {
    pub(super) settings: RedisSettings,
    pub(super) door: Door,
    pub(super) running: Option<Running>,
    /// Its journal has a hole that nobody can see before it is opened again.
    pub(super) is_holed: bool,
    _folder: tempfile::TempDir,
}

pub(super) struct Running {
    registry: RedisRegistry,
    heard: JoinHandle<()>,
}

impl Node {
    pub(super) async fn new(server: u16, cluster: &str, name: &str) -> Self {
        let (folder, door) = (tempfile::tempdir().unwrap(), Door::to(server).await);
        let url = format!("redis://127.0.0.1:{}", door.port);
        let RegistryUrl::Redis(url) = url.parse().unwrap() else {
            unreachable!("it is a Redis")
        };
        let settings = RedisSettings {
            target: crate::registry::redis::Target {
                url,
                password: None,
                authorities: None,
                timeout: Duration::from_secs(2),
            },
            cluster: cluster.into(),
            node: name.into(),
            journal: folder.path().join("journal.redb"),
            rule: BackendRule::default(),
            sync: None,
        };
        let mut node = Self {
            settings,
            door,
            running: None,
            is_holed: false,
            _folder: folder,
        };
        node.start().await;
        node
    }

    /// Starts, from its journal if nobody answers.
    pub(super) async fn start(&mut self) {
        if self.running.is_some() {
            return;
        }
        // A first start needs an answer, which a cut door does not give.
        let Ok(registry) = RedisRegistry::open(self.settings.clone()).await else {
            return;
        };
        let mut news = registry.follow();
        let heard = tokio::spawn(async move { while news.recv().await.is_some() {} });
        self.running = Some(Running { registry, heard });
    }

    pub(super) async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            drop(running.registry);
            let _ = running.heard.await;
        }
    }

    /// Whether what it knows is on its disk, which is well.
    pub(super) fn keeps(&self) -> bool {
        let is_kept = |registry: &RedisRegistry| registry.condition().not_kept.is_none();
        !faults::of(&self.settings.journal).is_set() && self.registry().is_none_or(is_kept)
    }

    pub(super) fn heal(&self) {
        faults::of(&self.settings.journal).set(Fault::None, 0);
    }

    pub(super) fn registry(&self) -> Option<&RedisRegistry> {
        self.running.as_ref().map(|running| &running.registry)
    }
}

/// Everything of one cluster that the server holds.
pub(super) struct Dump(Vec<(String, Vec<u8>)>);

impl Dump {
    pub(super) async fn of(mut server: MultiplexedConnection, cluster: &str) -> Self {
        let pattern = format!("{{harbor:{cluster}}}*");
        let mut keys = redis::cmd("KEYS");
        keys.arg(&pattern);
        let keys: Vec<String> = keys.query_async(&mut server).await.unwrap();
        let mut all = Vec::new();
        for key in keys {
            let bytes = redis::cmd("DUMP").arg(&key).query_async(&mut server).await;
            // One that has ended in between.
            if let Ok(Some(bytes)) = bytes {
                all.push((key, bytes));
            }
        }
        Self(all)
    }

    /// Puts the cluster back to this.
    pub(super) async fn restore(&self, mut server: MultiplexedConnection, cluster: &str) {
        let now = Self::of(server.clone(), cluster).await;
        let mut pipe = redis::pipe();
        pipe.atomic();
        for (key, _) in &now.0 {
            pipe.cmd("DEL").arg(key);
        }
        for (key, bytes) in &self.0 {
            pipe.cmd("RESTORE")
                .arg(key)
                .arg(0)
                .arg(&bytes[..])
                .arg("REPLACE");
        }
        let done = pipe.query_async::<redis::Value>(&mut server).await;
        done.unwrap();
    }
}

/// Sets the server's clock by so many seconds, as far as one cluster can see.
pub(super) async fn set_clock(mut server: MultiplexedConnection, cluster: &str, by: i64) {
    const SHIFT: &str = "
        for i, key in ipairs({ 'seen', 'leases', 'buried', 'resting' }) do
          local by = i < 4 and ARGV[1] * 1000 or ARGV[1]
          for _, name in ipairs(redis.call('ZRANGE', KEYS[1] .. key, 0, -1)) do
            redis.call('ZINCRBY', KEYS[1] .. key, -by, name)
          end
        end
        redis.call('HINCRBY', KEYS[1] .. 'meta', 'guard', -ARGV[1] * 1000)";
    let script = redis::Script::new(SHIFT);
    let mut call = script.prepare_invoke();
    call.key(format!("{{harbor:{cluster}}}:")).arg(by);
    let done = call.invoke_async::<redis::Value>(&mut server).await;
    done.unwrap();
}
