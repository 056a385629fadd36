//! The client of the control socket, for the command line.

use std::{
    fs,
    io::ErrorKind,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use reqwest::Method;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    api::{ErrorBody, List},
    model::{Refusal, Secret},
};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("agent is not running: no socket at {0}")]
    NoSocket(PathBuf),
    #[error("agent is not running: nobody listens at {0}")]
    NobodyListens(PathBuf),
    #[error("permission denied: {0}")]
    Denied(PathBuf),
    #[error("nobody answers at {0}")]
    Unreachable(String),
    #[error("{0}")]
    Local(String),
    #[error("the agent did not answer within {0:?}")]
    Timeout(Duration),
    #[error("{0}")]
    Refused(Refusal),
    #[error("the agent's answer was not understood: {0}")]
    Transport(String),
}

/// Where an agent is.
#[derive(Clone, Debug)]
enum Place {
    Socket(PathBuf),
    Network { url: String, token: Option<Secret> },
}

/// Before a socket whose queue is full is tried again.
const CROWDED: Duration = Duration::from_millis(10);

/// A connection to one agent.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    place: Place,
    timeout: Duration,
}

/// An agent's control API by TCP.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    /// `http://HOST:PORT` or `https://HOST:PORT`
    pub(crate) url: String,
    pub(crate) token_file: Option<PathBuf>,
    /// The authority of the agent's certificate, if the system does not know it.
    pub(crate) ca: Option<PathBuf>,
    /// Certificate and key in one file, for an agent that asks for one.
    pub(crate) identity: Option<PathBuf>,
}

impl Client {
    /// Connects once to find out who is there.
    pub(crate) fn connect(socket: &Path, timeout: Duration) -> Result<Self, ClientError> {
        if let Err(error) = UnixStream::connect(socket) {
            let socket = socket.to_owned();
            return Err(match error.kind() {
                ErrorKind::NotFound => ClientError::NoSocket(socket),
                ErrorKind::ConnectionRefused => ClientError::NobodyListens(socket),
                ErrorKind::PermissionDenied => ClientError::Denied(socket),
                _ => ClientError::Transport(format!("{}: {error}", socket.display())),
            });
        }
        let http = reqwest::Client::builder()
            .unix_socket(socket)
            .no_proxy()
            .timeout(timeout)
            // No TLS is spoken here, and a system without authorities' certificates would fail the rest.
            .tls_certs_only([])
            .build()
            .map_err(|error| ClientError::Transport(error.to_string()))?;
        Ok(Self {
            http,
            place: Place::Socket(socket.to_owned()),
            timeout,
        })
    }

    /// Makes ready to ask an agent by TCP; connects with the first question.
    pub(crate) fn remote(remote: &Remote, timeout: Duration) -> Result<Self, ClientError> {
        let wrong = |path: &Path, error: &dyn std::fmt::Display| {
            ClientError::Local(format!("{}: {error}", path.display()))
        };
        let token = remote.token_file.as_deref().map(|path| {
            let read = Secret::read(path);
            read.map_err(|error| wrong(path, &error))
        });
        let mut builder = reqwest::Client::builder().no_proxy().timeout(timeout);
        if let Some(path) = &remote.ca {
            let pem = fs::read(path).map_err(|error| wrong(path, &error))?;
            let authorities = reqwest::Certificate::from_pem_bundle(&pem);
            let authorities = authorities.map_err(|error| wrong(path, &error))?;
            builder = builder.tls_certs_only(authorities);
        } else if remote.url.starts_with("http://") {
            builder = builder.tls_certs_only([]);
        }
        if let Some(path) = &remote.identity {
            let pem = fs::read(path).map_err(|error| wrong(path, &error))?;
            let identity = reqwest::Identity::from_pem(&pem);
            builder = builder.identity(identity.map_err(|error| wrong(path, &error))?);
        }
        let http = builder.build();
        Ok(Self {
            http: http.map_err(|error| ClientError::Local(because(&remote.url, &error)))?,
            place: Place::Network {
                url: remote.url.trim_end_matches('/').to_owned(),
                token: token.transpose()?,
            },
            timeout,
        })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, None::<&()>).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.call(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn patch<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.call(Method::PATCH, path, Some(body)).await
    }

    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::DELETE, path, None::<&()>).await
    }

    /// Every page of a list.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        port: Option<&str>,
    ) -> Result<List<T>, ClientError> {
        let port = port
            .map(|port| format!("port={}&", segment(port)))
            .unwrap_or_default();
        let mut whole: List<T> = self.get(&format!("{path}?{port}")).await?;
        while let Some(token) = whole.next.take() {
            let page = format!("{path}?{port}continue={}", segment(&token));
            let mut more: List<T> = self.get(&page).await?;
            whole.items.append(&mut more.items);
            whole.next = more.next;
        }
        Ok(whole)
    }

    /// What is no JSON, as it is.
    pub(crate) async fn text(&self, path: &str) -> Result<String, ClientError> {
        let response = self.send(self.request(Method::GET, path)).await?;
        let status = response.status();
        let text = response.text().await.map_err(|error| self.failed(&error))?;
        if status.is_success() {
            return Ok(text);
        }
        let strange =
            |error: serde_json::Error| ClientError::Transport(format!("{status}: {error}"));
        let body: ErrorBody = serde_json::from_str(&text).map_err(strange)?;
        Err(ClientError::Refused(body.into()))
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = self.send(request).await?;
        let status = response.status();
        let bytes = response
            .bytes()
            .await
            .map_err(|error| self.failed(&error))?;
        let strange =
            |error: serde_json::Error| ClientError::Transport(format!("{status}: {error}"));
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(strange);
        }
        let body: ErrorBody = serde_json::from_slice(&bytes).map_err(strange)?;
        Err(ClientError::Refused(body.into()))
    }

    /// Sends a request; where so many connect at once that the socket has no room, again and again
    /// until it has.
    pub(super) async fn send(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<reqwest::Response, ClientError> {
        let begun = Instant::now();
        let mut next = Some(request);
        while let Some(request) = next.take() {
            let again = request.try_clone();
            match request.send().await {
                Ok(response) => return Ok(response),
                Err(error) if is_crowded(&error) && begun.elapsed() < self.timeout => {
                    tokio::time::sleep(CROWDED).await;
                    next = again;
                }
                Err(error) => return Err(self.failed(&error)),
            }
        }
        Err(ClientError::Timeout(self.timeout))
    }

    /// A request with what this agent asks for.
    pub(super) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let (base, token) = match &self.place {
            Place::Socket(_) => ("http://localhost", None),
            Place::Network { url, token } => (url.as_str(), token.as_ref()),
        };
        let request = self.http.request(method, format!("{base}{path}"));
        match token {
            Some(token) => request.bearer_auth(token.reveal()),
            None => request,
        }
    }

    pub(super) fn failed(&self, error: &reqwest::Error) -> ClientError {
        if error.is_timeout() {
            ClientError::Timeout(self.timeout)
        } else if error.is_connect() {
            match &self.place {
                Place::Socket(socket) => ClientError::NobodyListens(socket.clone()),
                Place::Network { url, .. } => ClientError::Unreachable(because(url, error)),
            }
        } else {
            match &self.place {
                Place::Socket(_) => ClientError::Transport(error.to_string()),
                Place::Network { url, .. } => ClientError::Transport(because(url, error)),
            }
        }
    }
}

/// Whether the socket's queue of connections is full.
fn is_crowded(error: &reqwest::Error) -> bool {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    let cause = inner.downcast_ref::<std::io::Error>();
    error.is_connect() && cause.is_some_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// The innermost reason: "refused", "certificate not trusted" and the like.
fn because(url: &str, error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    format!("{url}: {inner}")
}

/// Text as one segment of a path, or one value of a query.
pub(crate) fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_travel_as_one_segment() {
        assert_eq!(segment("35217/udp"), "35217%2Fudp");
        assert_eq!(segment("web-1.a_b"), "web-1.a_b");
        assert_eq!(segment("a b\n%"), "a%20b%0A%25");
    }

    #[test]
    fn a_missing_socket_and_a_dead_one_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("harbor.sock");
        let connect = || Client::connect(&path, Duration::from_secs(1)).unwrap_err();
        assert!(matches!(connect(), ClientError::NoSocket(_)));
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(matches!(connect(), ClientError::NobodyListens(_)));
    }
}
