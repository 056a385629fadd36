//! The client of streams: events, and lists that are too long for a page.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde::de::DeserializeOwned;

use super::client::{Client, ClientError};
use crate::{
    api::{ErrorBody, TracePackets},
    model::{Event, TraceLine},
};

/// A stream has no time limit of its own; this is one that nobody sees.
const NO_LIMIT: Duration = Duration::from_secs(10 * 365 * 86_400);
/// The longest message that is read.
const LONGEST: usize = 1024 * 1024;

impl Client {
    /// Hands on every event of a stream until it ends, or until `take` has had enough.
    pub(crate) async fn events<E: From<ClientError>>(
        &self,
        path: &str,
        mut take: impl FnMut(Event) -> Result<(), E>,
    ) -> Result<(), E> {
        let take_message = |message: &[u8]| match read(message)? {
            Some(event) => take(event),
            None => Ok(()),
        };
        let request = self.request(Method::GET, path);
        self.messages(request, b"\n\n", take_message).await
    }

    /// Hands on every item of a stream of lines.
    pub(crate) async fn lines<T: DeserializeOwned, E: From<ClientError>>(
        &self,
        path: &str,
        take: impl FnMut(T) -> Result<(), E>,
    ) -> Result<(), E> {
        self.items(self.request(Method::GET, path), take).await
    }

    /// Hands on every line of a trace, for as long as `take` wants more.
    pub(crate) async fn trace<E: From<ClientError>>(
        &self,
        which: &TracePackets,
        take: impl FnMut(TraceLine) -> Result<(), E>,
    ) -> Result<(), E> {
        let request = self.request(Method::POST, "/v1/trace").json(which);
        self.items(request, take).await
    }

    async fn items<T: DeserializeOwned, E: From<ClientError>>(
        &self,
        request: RequestBuilder,
        mut take: impl FnMut(T) -> Result<(), E>,
    ) -> Result<(), E> {
        let take_line = |line: &[u8]| {
            let item = serde_json::from_slice(line);
            take(item.map_err(|error| ClientError::Transport(error.to_string()))?)
        };
        self.messages(request, b"\n", take_line).await
    }

    async fn messages<E: From<ClientError>>(
        &self,
        request: RequestBuilder,
        end: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let response = self.send(request.timeout(NO_LIMIT)).await?;
        let status = response.status();
        let mut response = response;
        if !status.is_success() {
            let bytes = response
                .bytes()
                .await
                .map_err(|error| self.failed(&error))?;
            let body: ErrorBody = serde_json::from_slice(&bytes)
                .map_err(|error| ClientError::Transport(format!("{status}: {error}")))?;
            return Err(ClientError::Refused(body.into()).into());
        }
        let mut text = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.failed(&error))?
        {
            text.extend_from_slice(&chunk);
            let mut done = 0;
            while let Some(length) = text[done..].windows(end.len()).position(|at| at == end) {
                take(&text[done..done + length])?;
                done += length + end.len();
            }
            text.drain(..done);
            if text.len() > LONGEST {
                return Err(ClientError::Transport("a message has no end".into()).into());
            }
        }
        Ok(())
    }
}

/// The event of a message; comments hold none.
fn read(message: &[u8]) -> Result<Option<Event>, ClientError> {
    let text = String::from_utf8_lossy(message);
    let data = text.lines().find_map(|line| line.strip_prefix("data: "));
    let event = data.map(serde_json::from_str).transpose();
    event.map_err(|error| ClientError::Transport(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_an_event_and_a_comment_is_none() {
        let message =
            b"id: 7\nevent: gap\ndata: {\"id\":7,\"at\":1,\"time\":\"t\",\"kind\":\"gap\",\"text\":\"x\"}\n\n";
        assert_eq!(read(message).unwrap().unwrap().id, 7);
        assert_eq!(read(b": alive\n\n").unwrap(), None);
        assert!(read(b"data: {\n\n").is_err());
    }
}
