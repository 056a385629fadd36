//! Access rights of whoever is at the other end.

use std::sync::Arc;

use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::error::failure;
use crate::{
    discovery::{KnownHosts, Sender},
    http::{Names, Peer, Pulse, Strangers, misdirected},
    model::{Refusal, RefusalKind, Secret},
};

/// What app hosts may ask.
pub(super) const ANNOUNCING: [&str; 2] = ["/v1/announce", "/v1/heartbeat"];

/// The tokens of the TCP side, and what certificates are for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens {
    /// May ask everything.
    pub(crate) all: Option<Secret>,
    /// May announce.
    pub(crate) announce: Option<Secret>,
    /// May announce, each for itself.
    pub(crate) hosts: KnownHosts,
    pub(crate) subjects: Subjects,
}

/// Subjects of certificates, by what they may; another gives no right.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subjects {
    pub(crate) admin: Vec<String>,
    pub(crate) read: Vec<String>,
    pub(crate) announce: Vec<String>,
}

/// What somebody may.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Right {
    All,
    Look,
    Announce(Sender),
}

impl Tokens {
    /// What a certificate is for, or else a token.
    fn right(&self, subject: Option<&str>, token: Option<&str>) -> Option<Right> {
        let by_subject = subject.and_then(|subject| self.of_subject(subject));
        by_subject.or_else(|| self.of_token(token?))
    }

    /// By what it is, in words.
    fn by(&self, subject: Option<&str>, token: Option<&str>) -> String {
        let certified = subject.filter(|subject| self.of_subject(subject).is_some());
        match (certified, token.and_then(|token| self.of_token(token))) {
            (Some(subject), _) => format!("certificate {subject}"),
            (None, Some(Right::Announce(_))) => "announce token".to_owned(),
            (None, Some(_)) => "token".to_owned(),
            (None, None) => "nobody".to_owned(),
        }
    }

    fn of_subject(&self, subject: &str) -> Option<Right> {
        let Subjects {
            admin,
            read,
            announce,
        } = &self.subjects;
        let is_in = |subjects: &[String]| subjects.iter().any(|own| own == subject);
        if is_in(admin) {
            return Some(Right::All);
        }
        if let Some(host) = self.hosts.by_subject(subject) {
            return Some(Right::Announce(host));
        }
        let announces = is_in(announce).then_some(Right::Announce(Sender::Announcer));
        announces.or(is_in(read).then_some(Right::Look))
    }

    fn of_token(&self, given: &str) -> Option<Right> {
        let is = |token: &Option<Secret>| token.as_ref().is_some_and(|token| token.is(given));
        if is(&self.all) {
            return Some(Right::All);
        }
        if is(&self.announce) {
            return Some(Right::Announce(Sender::Announcer));
        }
        self.hosts.by_token(given).map(Right::Announce)
    }
}

/// Who may ask by TCP.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) tokens: Tokens,
    /// What it is called, where there is no TLS.
    pub(super) names: Option<Names>,
    pub(super) strangers: Strangers,
}

/// By what somebody was let in.
#[derive(Clone, Debug)]
pub(super) struct Admitted(pub(super) String);

/// Lets in by TCP who has a certificate or a token, each to what it is for.
pub(super) async fn authorize(
    State(access): State<Arc<Access>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let Access {
        tokens,
        names,
        strangers,
    } = &*access;
    let asked = (request.uri(), request.headers());
    if let Some(why) = misdirected(asked, names.as_ref()) {
        strangers
            .refuse(&peer, (request.method(), request.uri()), why)
            .await;
        return failure(
            Refusal::new(RefusalKind::Denied, why)
                .fix("ask by the node's address, or name it in control.hosts"),
        );
    }
    let subject = match &peer {
        Peer::Network { subject, .. } => subject.as_deref(),
        Peer::Process { .. } => None,
    };
    let path = request.uri().path();
    let admitted = Admitted(tokens.by(subject, bearer(request.headers())));
    let is_look = matches!(*request.method(), Method::GET | Method::HEAD);
    let why = match tokens.right(subject, bearer(request.headers())) {
        Some(Right::All) => return trusted((request, next), Sender::Admin, admitted).await,
        Some(Right::Look) if is_look => {
            return trusted((request, next), Sender::Announcer, admitted).await;
        }
        Some(Right::Announce(sender)) if ANNOUNCING.contains(&path) => {
            return trusted((request, next), sender, admitted).await;
        }
        _ if is_public(path) => return next.run(request).await,
        Some(Right::Look) => "this certificate may look, and change nothing",
        Some(Right::Announce(_)) => "it may announce, and nothing else",
        None => "no token, or a wrong one",
    };
    let known = tokens.right(subject, bearer(request.headers())).is_some();
    strangers
        .refuse(&peer, (request.method(), request.uri()), why)
        .await;
    let mut answer = failure(denied(why));
    if known {
        return answer;
    }
    *answer.status_mut() = StatusCode::UNAUTHORIZED;
    ([(header::WWW_AUTHENTICATE, "Bearer")], answer).into_response()
}

async fn trusted(
    (mut request, next): (Request, Next),
    sender: Sender,
    admitted: Admitted,
) -> Response {
    if let Some(pulse) = request.extensions().get::<Pulse>() {
        pulse.trust();
    }
    request.extensions_mut().insert(sender);
    request.extensions_mut().insert(admitted);
    next.run(request).await
}

/// What tells nothing but that somebody lives, and what can be asked.
fn is_public(path: &str) -> bool {
    path == "/healthz" || path == super::openapi::PLACE
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn denied(text: &str) -> Refusal {
    Refusal::new(RefusalKind::Denied, text).fix("give --token-file the right file")
}
