//! Routes of the console, and the layers in front of them.

use std::{future::pending, path::PathBuf, sync::Arc, time::Instant};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Path},
    http::StatusCode,
    middleware,
    response::Redirect,
    routing::{MethodRouter, get, post},
};

use super::{
    accounts::Accounts,
    assets, backend_pages, certificate_page, event_page, explain_page,
    gate::Gate,
    guard, live, node_page, overview, port_forms, port_list, port_page, problem,
    samples::Samples,
    sessions::Sessions,
    settings_page, sign_in,
    state::{Console, Readings, Streams},
};
use crate::{
    control::Operations,
    http::{self, Door, Names, Strangers, TcpSide},
    model::{EventKind, Happening, HttpLimits, Subject},
};

/// Of a form, in bytes.
const BODY_LIMIT: usize = 64 * 1024;

/// Serves until the runtime ends, or whoever called it; the file keeps who is signed in.
pub(crate) async fn serve<O: Operations>(
    listener: TcpSide,
    (accounts, sessions, names): (Accounts, PathBuf, Names),
    (operations, limits): (O, HttpLimits),
) {
    let events = operations.events();
    let tell = move |text: &str| {
        let subject = Subject::default();
        events.tell(Happening::new(EventKind::RequestRefused, subject, text));
    };
    let sessions = Sessions::kept(sessions, &accounts, Instant::now());
    let console = Arc::new(Console {
        accounts: Arc::new(accounts),
        sessions,
        gate: Gate::default(),
        samples: Samples::default(),
        readings: Readings::default(),
        streams: Streams::default(),
        has_tls: listener.has_tls(),
        names: names.with(listener.names()),
        strangers: Strangers::new(|text| tracing::warn!("{text}"), tell),
        start: operations.events().newest().to_string(),
        operations,
    });
    let served = http::serve(Door::Network(listener), router(&console), limits, pending());
    tokio::select! {
        () = served => {}
        () = live::sample(console) => {}
    }
}

/// A form of a port's page. What was refused is shown at the form's own address, and whoever asks for
/// that again, as the script does, means the port.
fn of_port<O: Operations>(form: MethodRouter<Arc<Console<O>>>) -> MethodRouter<Arc<Console<O>>> {
    form.get(async |Path(id): Path<String>| {
        Redirect::to(&format!("/ports/{}", crate::control::segment(&id)))
    })
}

fn router<O: Operations>(console: &Arc<Console<O>>) -> Router {
    let pages = Router::new()
        .route("/", get(overview::page::<O>))
        .route("/ports", get(port_list::page::<O>))
        .route(
            "/ports/create",
            get(port_forms::create_page::<O>).post(port_forms::create::<O>),
        )
        .route("/ports/{id}", get(port_page::page::<O>))
        .route("/ports/{id}/drain", of_port(post(port_forms::drain::<O>)))
        .route("/ports/{id}/set", of_port(post(port_forms::set::<O>)))
        .route("/ports/{id}/delete", of_port(post(port_forms::delete::<O>)))
        .route(
            "/ports/{id}/backends",
            of_port(post(backend_pages::change::<O>)),
        )
        .route("/backends", get(backend_pages::page::<O>))
        .route(
            "/nodes",
            get(node_page::page::<O>).post(node_page::change::<O>),
        )
        .route("/events", get(event_page::page::<O>))
        .route("/explain", get(explain_page::page::<O>))
        .route(
            "/settings",
            get(settings_page::page::<O>).post(settings_page::set::<O>),
        )
        .route("/certificates", get(certificate_page::page::<O>))
        .route("/live", get(live::live::<O>))
        .route("/samples", get(live::samples::<O>))
        .route("/sign-out", post(sign_in::sign_out::<O>))
        .fallback(async || (StatusCode::NOT_FOUND, "no such page"))
        .method_not_allowed_fallback(async || StatusCode::METHOD_NOT_ALLOWED)
        .layer(middleware::from_fn(problem::readable))
        .layer(middleware::from_fn_with_state(
            Arc::clone(console),
            guard::signed_in::<O>,
        ));
    Router::new()
        .route(
            "/sign-in",
            get(sign_in::page::<O>)
                .post(sign_in::sign_in::<O>)
                .layer(middleware::from_fn(problem::readable)),
        )
        .route("/assets/{name}", get(assets::asset))
        .merge(pages)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn_with_state(
            Arc::clone(console),
            guard::own_requests::<O>,
        ))
        .layer(middleware::from_fn(guard::headers))
        .with_state(Arc::clone(console))
}
