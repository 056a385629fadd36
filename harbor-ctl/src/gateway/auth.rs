//! Who comes in: first the password, then the version, then the rest; and a line for every change.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    LOG,
    error::{failure, plain},
    identity::{self, IDENTITY},
    operations::Broker,
};
use crate::{
    http::{Names, Peer, Pulse, Requester, Strangers, asked_by, misdirected, untold},
    model::{Refusal, RefusalKind, Secret},
};

const VERSION: &str = "x-broker-api-version";
const REQUEST: &str = "x-broker-api-request-identity";
/// A request that takes longer is answered with a timeout; a change it began is still finished.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// Who may ask.
#[derive(Clone, Debug)]
pub(crate) struct BasicAuth {
    pub(crate) user: String,
    pub(crate) password: Secret,
}

/// A listener's keeper, and what it needs to know of those whom it turns away.
#[derive(Clone, Debug)]
pub(super) struct Doorkeeper {
    pub(super) keeper: BasicAuth,
    /// What it is called, where there is no TLS.
    pub(super) names: Option<Names>,
    pub(super) strangers: Strangers,
}

/// The minor number of the version that a request speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Minor(pub(super) u16);

impl BasicAuth {
    /// Takes as long whichever of the two is wrong.
    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some((user, password)) = basic(headers) else {
            return false;
        };
        let is_user = subtle::ConstantTimeEq::ct_eq(self.user.as_bytes(), user.as_bytes());
        bool::from(is_user) & self.password.is(&password)
    }
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, word) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(word.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn minor(headers: &HeaderMap) -> Option<Minor> {
    let value = headers.get(VERSION)?.to_str().ok()?;
    let minor = value.trim().strip_prefix("2.")?;
    let is_number = !minor.is_empty() && minor.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| minor.parse().ok().map(Minor))?
}

/// Lets in who has the password and speaks the version; bounds the time, and writes the audit line.
pub(super) async fn guard<B: Broker>(
    State((doorkeeper, broker)): State<(Arc<Doorkeeper>, Arc<B>)>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let Doorkeeper {
        keeper,
        names,
        strangers,
    } = &*doorkeeper;
    let asked = (request.uri(), request.headers());
    if let Some(why) = misdirected(asked, names.as_ref()) {
        strangers.refuse(&peer, (&method, request.uri()), why).await;
        return plain(StatusCode::FORBIDDEN, why);
    }
    if !keeper.admits(request.headers()) {
        let why = "no user and password, or wrong ones";
        strangers.refuse(&peer, (&method, request.uri()), why).await;
        return unauthorized(why);
    }
    if let Some(pulse) = request.extensions().get::<Pulse>() {
        pulse.trust();
    }
    let number = request.headers().get(REQUEST).cloned();
    let mut on_behalf = String::new();
    let outcome = match admitted(request.headers()) {
        Ok((minor, identity)) => {
            request.extensions_mut().insert(minor);
            on_behalf = identity;
            let subject = match on_behalf.is_empty() {
                true => keeper.user.clone(),
                false => format!("{} for {on_behalf}", keeper.user),
            };
            let requester = Requester::new(Some(&peer), Some(subject));
            let work = async {
                let response = timed(next.run(request)).await;
                if let Some(untold) = untold(&method, &path, &response) {
                    broker.note(untold);
                }
                response
            };
            asked_by(Some(requester), work).await
        }
        Err(response) => *response,
    };
    if method != Method::GET {
        let status = outcome.status().as_u16();
        let number = number.as_ref().and_then(|value| value.to_str().ok());
        let number: String = number.unwrap_or_default().chars().take(128).collect();
        tracing::info!(target: LOG, %method, path, status, on_behalf, request = number, "change requested, {peer}");
    }
    named(outcome, number)
}

fn admitted(headers: &HeaderMap) -> Result<(Minor, String), Box<Response>> {
    let minor = minor(headers).ok_or_else(|| Box::new(wrong_version()))?;
    let refused = |refusal| Box::new(failure(&refusal));
    let identity = match headers.get(IDENTITY) {
        None => String::new(),
        Some(value) => identity::read(value.to_str().unwrap_or_default()).map_err(refused)?,
    };
    Ok((minor, identity))
}

async fn timed(answer: impl Future<Output = Response>) -> Response {
    match tokio::time::timeout(REQUEST_LIMIT, answer).await {
        Ok(response) => response,
        Err(_) => failure(&Refusal::new(
            RefusalKind::Timeout,
            "the agent took too long",
        )),
    }
}

/// Gives the request's own number back.
fn named(mut response: Response, number: Option<HeaderValue>) -> Response {
    if let Some(number) = number {
        response.headers_mut().insert(REQUEST, number);
    }
    response
}

fn unauthorized(why: &str) -> Response {
    let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"harbor\"")];
    let answer = plain(StatusCode::UNAUTHORIZED, why);
    (challenge, answer).into_response()
}

fn wrong_version() -> Response {
    let text = "the header X-Broker-API-Version is missing, or not 2.x: this broker speaks 2.17";
    plain(StatusCode::PRECONDITION_FAILED, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn versions_of_the_second_kind_are_spoken() {
        for (value, expected) in [
            ("2.17", Some(Minor(17))),
            ("2.3", Some(Minor(3))),
            ("2.18", Some(Minor(18))),
            ("1.9", None),
            ("3.0", None),
            ("2", None),
            ("2.", None),
            ("2.x", None),
            ("2.+1", None),
        ] {
            assert_eq!(minor(&headers(VERSION, value)), expected, "{value}");
        }
        assert_eq!(minor(&HeaderMap::new()), None);
    }

    #[test]
    fn only_user_and_password_together_are_let_in() {
        let keeper = BasicAuth {
            user: "harbor".into(),
            password: Secret::from_file("a password of a platform\n"),
        };
        let admits = |text: &str| {
            let value = format!("Basic {}", STANDARD.encode(text));
            keeper.admits(&headers("authorization", &value))
        };
        assert!(admits("harbor:a password of a platform"));
        for wrong in [
            "harbor:",
            "harbor",
            "other:a password of a platform",
            "harbor:b",
            ":",
            "",
        ] {
            assert!(!admits(wrong), "{wrong}");
        }
        assert!(!keeper.admits(&headers("authorization", "Bearer x")));
        assert!(!keeper.admits(&headers("authorization", "Basic !!!")));
        assert!(!format!("{keeper:?}").contains("platform"));
    }
}
