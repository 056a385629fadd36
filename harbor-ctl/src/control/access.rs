//! Who is at the other end, and what that one may ask.

use std::{fmt, net::SocketAddr, sync::Arc};

use axum::{
    extract::{ConnectInfo, Request, State, connect_info::Connected},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
    serve::IncomingStream,
};
use tokio::net::UnixListener;

use super::{failure::failure, listener::TcpSide};
use crate::model::{Refusal, RefusalKind, Secret};

/// What app hosts may ask.
const ANNOUNCING: [&str; 2] = ["/v1/announce", "/v1/heartbeat"];

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Peer {
    /// A process of this machine, by the control socket.
    Process { uid: u32, gid: u32, pid: i32 },
    /// Somebody by TCP; `is_certified` with a certificate that was asked for.
    Network {
        address: SocketAddr,
        is_certified: bool,
    },
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { uid, gid, pid } => write!(f, "uid={uid} gid={gid} pid={pid}"),
            Self::Network { address, .. } => write!(f, "address={address}"),
        }
    }
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        match stream.io().peer_cred() {
            Ok(cred) => Self::Process {
                uid: cred.uid(),
                gid: cred.gid(),
                pid: cred.pid().unwrap_or_default(),
            },
            // Without credentials the line shows the overflow ids, never root's.
            Err(_) => Self::Process {
                uid: 65_534,
                gid: 65_534,
                pid: 0,
            },
        }
    }
}

impl Connected<IncomingStream<'_, TcpSide>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TcpSide>) -> Self {
        *stream.remote_addr()
    }
}

/// The tokens of the TCP side.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens {
    /// May ask everything.
    pub(crate) all: Option<Secret>,
    /// May announce.
    pub(crate) announce: Option<Secret>,
}

/// Lets in by TCP who has a certificate or a token, each to what it is for.
pub(super) async fn authorize(
    State(tokens): State<Arc<Tokens>>,
    request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<ConnectInfo<Peer>>();
    let is_certified = matches!(
        peer,
        Some(ConnectInfo(Peer::Network {
            is_certified: true,
            ..
        }))
    );
    let given = bearer(request.headers());
    let has = |token: &Option<Secret>| {
        let token = token.as_ref().zip(given);
        token.is_some_and(|(token, given)| token.is(given))
    };
    let path = request.uri().path();
    if is_certified || has(&tokens.all) || is_public(path) {
        return next.run(request).await;
    }
    if has(&tokens.announce) {
        return match ANNOUNCING.contains(&path) {
            true => next.run(request).await,
            false => failure(denied("this token may announce, and nothing else")),
        };
    }
    let answer = failure(denied("no token, or a wrong one"));
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    (StatusCode::UNAUTHORIZED, challenge, answer.into_body()).into_response()
}

/// What tells nothing but that somebody lives.
fn is_public(path: &str) -> bool {
    path == "/healthz"
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn denied(text: &str) -> Refusal {
    Refusal::new(RefusalKind::Denied, text).fix("give --token-file the right file")
}
