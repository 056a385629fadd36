//! The other end of the control socket, for the command line.

use std::{
    io::ErrorKind,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::Method;
use serde::{Serialize, de::DeserializeOwned};

use super::wire::{ErrorBody, List};
use crate::model::Refusal;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("agent is not running: no socket at {0}")]
    NoSocket(PathBuf),
    #[error("agent is not running: nobody listens at {0}")]
    NobodyListens(PathBuf),
    #[error("permission denied: {0}")]
    Denied(PathBuf),
    #[error("the agent did not answer within {0:?}")]
    Timeout(Duration),
    #[error("{0}")]
    Refused(Refusal),
    #[error("the agent's answer was not understood: {0}")]
    Transport(String),
}

/// A connection to one agent.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    socket: PathBuf,
    timeout: Duration,
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
            .build()
            .map_err(|error| ClientError::Transport(error.to_string()))?;
        Ok(Self {
            http,
            socket: socket.to_owned(),
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

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        let mut request = self.http.request(method, format!("http://localhost{path}"));
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| self.failed(&error))?;
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

    fn failed(&self, error: &reqwest::Error) -> ClientError {
        if error.is_timeout() {
            ClientError::Timeout(self.timeout)
        } else if error.is_connect() {
            ClientError::NobodyListens(self.socket.clone())
        } else {
            ClientError::Transport(error.to_string())
        }
    }
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
