//! Who asks for what is being done: known where a request comes in, and needed where an event is told,
//! many calls further in. It goes along with the task.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{http::Method, response::Response};

use super::peer::Peer;
use crate::model::{Actor, EventKind, Happening, Subject};

/// The longest path that is told.
const LONGEST_PATH: usize = 256;

/// Goes along with an answer that refuses: why, in one line.
#[derive(Clone, Debug)]
pub(crate) struct Why(pub(crate) String);

tokio::task_local! {
    static REQUESTER: Arc<Requester>;
}

/// Who asks, and whether an event has told of it.
#[derive(Debug, Default)]
pub(crate) struct Requester {
    actor: Actor,
    is_told: AtomicBool,
}

impl Requester {
    /// `subject`: whom an API has let in, if it asks for that.
    pub(crate) fn new(peer: Option<&Peer>, subject: Option<String>) -> Arc<Self> {
        let mut actor = Actor {
            subject,
            ..Actor::default()
        };
        match peer {
            Some(Peer::Process { uid, pid, .. }) => {
                let name = fs::read_to_string(format!("/proc/{pid}/comm"));
                actor.uid = Some(*uid);
                actor.pid = Some(*pid);
                actor.process = name.ok().map(|name| name.trim_end().to_owned());
            }
            Some(Peer::Network { address, .. }) => actor.address = Some(address.to_string()),
            None => {}
        }
        let is_told = AtomicBool::new(false);
        Arc::new(Self { actor, is_told })
    }

    /// Who is to be named in an event that is being told.
    pub(crate) fn named(&self) -> Actor {
        self.is_told.store(true, Ordering::Relaxed);
        self.actor.clone()
    }

    /// Whether an event has named him.
    pub(crate) fn is_told(&self) -> bool {
        self.is_told.load(Ordering::Relaxed)
    }
}

/// What is to be told of a request that asked for a change, and of which no event has told yet.
pub(crate) fn untold(method: &Method, path: &str, response: &Response) -> Option<Happening> {
    let status = response.status();
    let is_refused = status.is_client_error() || status.is_server_error();
    let is_told = requester().is_some_and(|requester| requester.is_told());
    if matches!(*method, Method::GET | Method::HEAD) || is_told && !is_refused {
        return None;
    }
    let (kind, why) = match (is_refused, response.extensions().get::<Why>()) {
        (true, Some(Why(why))) => (EventKind::RequestRefused, format!(": {why}")),
        (true, None) => (EventKind::RequestRefused, String::new()),
        (false, _) => (EventKind::RequestDone, String::new()),
    };
    let path: String = path.chars().take(LONGEST_PATH).collect();
    let text = format!("{method} {path}: {}{why}", status.as_u16());
    Some(Happening::new(kind, Subject::default(), text))
}

/// Does something because somebody has asked for it.
pub(crate) async fn asked_by<F: Future>(requester: Option<Arc<Requester>>, work: F) -> F::Output {
    match requester {
        Some(requester) => REQUESTER.scope(requester, work).await,
        None => work.await,
    }
}

/// Who has asked for what this task does.
pub(crate) fn requester() -> Option<Arc<Requester>> {
    REQUESTER.try_with(Arc::clone).ok()
}
