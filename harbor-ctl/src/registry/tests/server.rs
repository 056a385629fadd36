//! A real Redis for one test: Debian's redis-tools holds the server, which goes by the name it is
//! called by. On a machine without it the tests that need it say so and pass, unless `HARBOR_REDIS` is set.

use std::{
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

/// Programs that hold the server, and what they are to be called.
const PROGRAMS: [&str; 2] = ["redis-server", "redis-check-rdb"];

const PATIENCE: Duration = Duration::from_secs(60);

/// A server on a free port of the loopback; it ends with this guard.
pub(super) struct Server {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Server {
    /// Starts one and waits until it answers; `None` if this machine has none.
    pub(super) async fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        for program in PROGRAMS {
            // Another process may take the port in between; the next attempt has another.
            for _ in 0..3 {
                let port = TcpListener::bind("127.0.0.1:0")
                    .unwrap()
                    .local_addr()
                    .unwrap()
                    .port();
                let mut command = Command::new(program);
                command.arg0("redis-server").current_dir(folder.path());
                command.args([
                    "--bind",
                    "127.0.0.1",
                    "--save",
                    "",
                    "--port",
                    &port.to_string(),
                ]);
                let Ok(child) = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn() else {
                    break;
                };
                let mut server = Self {
                    child,
                    port,
                    _folder: tempfile::tempdir().unwrap(),
                };
                if server.answers().await {
                    return Some(server);
                }
            }
        }
        let needed = std::env::var_os("HARBOR_REDIS").is_some();
        assert!(
            !needed,
            "no redis-server on this machine: apt-get install redis-tools"
        );
        println!("SKIPPED: no redis-server on this machine: apt-get install redis-tools");
        None
    }

    async fn answers(&mut self) -> bool {
        for _ in 0..1_000 {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return true;
            }
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection that waits for a busy machine.
    pub(super) async fn connection(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.url()).unwrap();
        let config = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let connected = client.get_multiplexed_async_connection_with_config(&config);
        connected.await.unwrap()
    }

    /// Runs one command, whatever it is.
    pub(super) async fn say(&self, words: &[&str]) -> redis::Value {
        let mut connection = self.connection().await;
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query_async(&mut connection).await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
