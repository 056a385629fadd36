//! The TCP listener for scrapes.

use std::{future::pending, sync::Arc};

use axum::{
    Router,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::get,
};

use super::exposition::{Source, response};
use crate::{
    http::{self, Door, Names, Peer, Strangers, TcpSide, misdirected},
    model::HttpLimits,
};

/// Serves until the runtime ends.
pub(crate) async fn serve<S: Source>(
    listener: TcpSide,
    names: Names,
    (source, limits): (S, HttpLimits),
) {
    // Nothing can be changed here, so a line of the log is enough.
    let strangers = Strangers::new(|text| tracing::warn!("{text}"), |_| ());
    let guard = middleware::from_fn_with_state(Arc::new((names, strangers)), ours);
    let router = Router::new()
        .route("/metrics", get(metrics::<S>))
        .fallback(async || (StatusCode::NOT_FOUND, "metrics are at /metrics\n"))
        .layer(guard)
        .with_state(source);
    http::serve(Door::Network(listener), router, limits, pending()).await;
}

async fn metrics<S: Source>(State(source): State<S>, headers: HeaderMap) -> Response {
    response(&source, &headers).await
}

/// Refuses what a browser was made to ask by another's name.
async fn ours(
    State(own): State<Arc<(Names, Strangers)>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let (names, strangers) = &*own;
    let Some(why) = misdirected((request.uri(), request.headers()), Some(names)) else {
        return next.run(request).await;
    };
    strangers
        .refuse(&peer, (request.method(), request.uri()), why)
        .await;
    let text = format!("{why}: ask by the node's address, or name it in metrics.hosts\n");
    (StatusCode::FORBIDDEN, text).into_response()
}
