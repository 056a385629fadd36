//! The connection: made when needed, given up when an answer is late, never waited for twice.

use std::{
    io,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, FromRedisValue, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, Script, TlsCertificates,
    aio::MultiplexedConnection,
    sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType},
};
use tokio::{net::TcpStream, sync::Mutex, task::JoinSet};

use super::bounded::{ANSWER_LIMIT, Bounded};
use crate::model::{RedisUrl, Secret, Transport};

/// After a failed attempt others are told the same for so long, instead of each trying.
const RETRY: Duration = Duration::from_millis(200);
/// What a server says that was demoted, or that does not know us any more.
const USELESS: [&str; 4] = ["READONLY", "MASTERDOWN", "NOAUTH", "WRONGPASS"];
/// What one Sentinel may take, and no more of the time for a connection than that.
const SENTINEL: Duration = Duration::from_secs(1);

/// How the server is found and spoken to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) url: RedisUrl,
    pub(crate) password: Option<Password>,
    /// Certificates (PEM) that the server's may be signed by; `None`: the system's.
    pub(crate) authorities: Option<Vec<u8>>,
    /// The longest wait for an answer; half of it for a connection.
    pub(crate) timeout: Duration,
}

/// A secret that somebody may replace while it is in use.
#[derive(Clone)]
pub(crate) struct Password {
    last: Arc<std::sync::Mutex<Secret>>,
    read: Arc<dyn Fn() -> Option<Secret> + Send + Sync>,
}

impl Password {
    /// `read` is asked before each connection; while it has no answer the last one counts.
    pub(crate) fn new(
        first: Secret,
        read: impl Fn() -> Option<Secret> + Send + Sync + 'static,
    ) -> Self {
        Self {
            last: Arc::new(std::sync::Mutex::new(first)),
            read: Arc::new(read),
        }
    }

    fn now(&self) -> Secret {
        let fresh = (self.read)();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fresh) = fresh {
            *last = fresh;
        }
        last.clone()
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// The first word of the server's error, for example `READONLY`; empty if it did not answer.
    pub(super) code: String,
    pub(super) text: String,
}

impl Fault {
    pub(super) fn strange(text: impl Into<String>) -> Self {
        Self {
            code: "STRANGE".into(),
            text: text.into(),
        }
    }

    fn silent(text: impl Into<String>) -> Self {
        Self {
            code: String::new(),
            text: text.into(),
        }
    }
}

impl From<RedisError> for Fault {
    fn from(error: RedisError) -> Self {
        let code = error.code().unwrap_or_default().to_owned();
        let detail = error.detail().unwrap_or_default();
        let text = match code.as_str() {
            "" => error.to_string(),
            code => format!("{code} {detail}"),
        };
        // What a server says may be long and may hold anything.
        let text: String = text.chars().filter(|c| !c.is_control()).take(300).collect();
        Self { code, text }
    }
}

/// What is connected, and since when nothing is.
#[derive(Default)]
struct Wire {
    open: Option<(u64, MultiplexedConnection)>,
    failed: Option<(Instant, Fault)>,
}

/// A connection to the registry's server.
pub(super) struct Link {
    target: Target,
    keys: Vec<String>,
    wire: Mutex<Wire>,
    count: AtomicU64,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn new(target: Target, keys: Vec<String>) -> Self {
        Self {
            target,
            keys,
            wire: Mutex::default(),
            count: AtomicU64::default(),
        }
    }

    /// How often a connection was made: after a new one the server may be another, or an older self.
    pub(super) fn connections(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Runs a script on all keys. Every script may be asked twice, so a connection that broke in
    /// between is replaced once; a late answer is not waited for again.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        arguments: &[Vec<u8>],
        patience: u32,
    ) -> Result<T, Fault> {
        for is_last in [false, true] {
            let (number, mut connection) = self.connected().await?;
            let mut call = script.prepare_invoke();
            for key in &self.keys {
                call.key(key);
            }
            for argument in arguments {
                call.arg(argument);
            }
            let limit = self.target.timeout * patience;
            let answer = tokio::time::timeout(limit, call.invoke_async(&mut connection)).await;
            match answer {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) if error.code().is_some() => {
                    let fault = Fault::from(error);
                    if USELESS.contains(&fault.code.as_str()) {
                        self.give_up(number, &fault).await;
                    }
                    return Err(fault);
                }
                Ok(Err(error)) => {
                    self.hang_up(number).await;
                    let is_broken = error.is_connection_dropped() || error.is_io_error();
                    if is_last || !is_broken || error.is_timeout() {
                        return Err(error.into());
                    }
                }
                Err(_) => {
                    self.hang_up(number).await;
                    return Err(Fault::silent(format!("no answer within {limit:?}")));
                }
            }
        }
        unreachable!("the second attempt always returns")
    }

    async fn connected(&self) -> Result<(u64, MultiplexedConnection), Fault> {
        let mut wire = self.wire.lock().await;
        if let Some(open) = &wire.open {
            return Ok(open.clone());
        }
        if let Some((when, fault)) = &wire.failed
            && when.elapsed() < RETRY
        {
            return Err(fault.clone());
        }
        let limit = self.target.timeout / 2;
        let greet = async {
            let mut connection = dial(&self.target).await?;
            // One who may not ask anything is told so here, and in words.
            redis::cmd("PING")
                .query_async::<()>(&mut connection)
                .await?;
            Ok::<_, RedisError>(connection)
        };
        let made = match tokio::time::timeout(limit, greet).await {
            Ok(made) => made.map_err(Fault::from),
            Err(_) => Err(Fault::silent(format!("no connection within {limit:?}"))),
        };
        match made {
            Ok(connection) => {
                let open = (self.count.fetch_add(1, Ordering::Relaxed), connection);
                *wire = Wire {
                    open: Some(open.clone()),
                    failed: None,
                };
                Ok(open)
            }
            Err(fault) => {
                wire.failed = Some((Instant::now(), fault.clone()));
                Err(fault)
            }
        }
    }

    /// Gives up a server that takes no changes from us: another may have its name now.
    async fn give_up(&self, number: u64, fault: &Fault) {
        self.hang_up(number).await;
        self.wire.lock().await.failed = Some((Instant::now(), fault.clone()));
    }

    /// Gives up this connection, unless it was replaced already.
    async fn hang_up(&self, number: u64) {
        let mut wire = self.wire.lock().await;
        if wire.open.as_ref().is_some_and(|(open, _)| *open == number) {
            wire.open = None;
        }
    }
}

async fn dial(target: &Target) -> Result<MultiplexedConnection, RedisError> {
    let RedisUrl {
        transport,
        hosts,
        master,
        ..
    } = &target.url;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(target.timeout))
        // Each call has its own limit.
        .set_response_timeout(None);
    let settings = settings(target);
    let tls = || TlsCertificates {
        client_tls: None,
        root_cert: target.authorities.clone(),
    };
    if let Some(master) = master {
        return first_master(hosts, master, &settings, &config).await;
    }
    let (host, port) = hosts.first().cloned().unwrap_or_default();
    let client = match transport {
        Transport::Plain => return plain(&(host, port), &settings, config).await,
        Transport::Tls => {
            let address = ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            };
            let info = address.into_connection_info()?.set_redis_settings(settings);
            Client::build_with_tls(info, tls())?
        }
    };
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

/// A connection on which no answer grows without bound.
async fn plain(
    (host, port): &(String, u16),
    settings: &RedisConnectionInfo,
    config: AsyncConnectionConfig,
) -> Result<MultiplexedConnection, RedisError> {
    let stream = TcpStream::connect((host.as_str(), *port)).await?;
    stream.set_nodelay(true)?;
    let stream = Bounded::new(stream, ANSWER_LIMIT);
    let made = MultiplexedConnection::new_with_config(settings, stream, config);
    let (connection, driver) = made.await?;
    tokio::spawn(driver);
    Ok(connection)
}

/// Asks every Sentinel at once: the first that names a master which answers is believed, and one
/// that is dead keeps nobody waiting.
async fn first_master(
    hosts: &[(String, u16)],
    master: &str,
    settings: &RedisConnectionInfo,
    config: &AsyncConnectionConfig,
) -> Result<MultiplexedConnection, RedisError> {
    let mut asked = JoinSet::new();
    for (host, port) in hosts {
        let address = ConnectionAddr::Tcp(host.clone(), *port).into_connection_info()?;
        let node = SentinelNodeConnectionInfo::default();
        let node = node.set_redis_connection_info(settings.clone());
        let mut client = SentinelClient::build(
            vec![address],
            master,
            Some(node),
            SentinelServerType::Master,
        )?;
        let config = config.clone();
        asked.spawn(async move {
            let asking = async {
                let found = client.async_get_client().await?;
                let info = found.get_connection_info();
                match info.addr() {
                    ConnectionAddr::Tcp(host, port) => {
                        plain(&(host.clone(), *port), info.redis_settings(), config).await
                    }
                    _ => Err(io::Error::other("a Sentinel names no address").into()),
                }
            };
            let late = || io::Error::new(io::ErrorKind::TimedOut, "a Sentinel does not answer");
            tokio::time::timeout(SENTINEL, asking)
                .await
                .unwrap_or_else(|_| Err(late().into()))
        });
    }
    let mut last = io::Error::other("no Sentinel is named").into();
    while let Some(answer) = asked.join_next().await {
        match answer {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => last = error,
            Err(error) => last = io::Error::other(error).into(),
        }
    }
    Err(last)
}

fn settings(target: &Target) -> RedisConnectionInfo {
    let mut settings = RedisConnectionInfo::default().set_db(target.url.db.into());
    if let Some(user) = &target.url.user {
        settings = settings.set_username(user);
    }
    match &target.password {
        Some(password) => settings.set_password(password.now().reveal()),
        None => settings,
    }
}
