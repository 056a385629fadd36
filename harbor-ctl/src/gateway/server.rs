//! Routes of the platform API: the catalog, instances, and what all answers have in common.

use std::{future::pending, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::{
        DefaultBodyLimit, Path, Query, State,
        rejection::{BytesRejection, QueryRejection},
    },
    http::StatusCode,
    middleware,
    response::{IntoResponse as _, Json, Response},
    routing::get,
};
use serde::{Serialize, de::DeserializeOwned};
use utoipa_axum::router::OpenApiRouter;

use super::{
    LOG,
    auth::{BasicAuth, Doorkeeper, guard},
    catalog,
    error::{Refused, failure, plain},
    openapi,
    operations::{Answer, Broker, Novelty},
    requests::{Named, Naming, OfInstance, Patch, Provision, Spoken},
    responses::{Catalog, Done, InstanceFound, LastOperation},
};
use crate::{
    http::{self, Door, Names, Strangers, TcpSide, described, served},
    model::{EventKind, Happening, HttpLimits, Refusal, RefusalKind, Subject, check_name},
};

const BODY_LIMIT: usize = 64 * 1024;

pub(super) type Shared<B> = State<Arc<B>>;
pub(super) type Body = Result<Bytes, BytesRejection>;
pub(super) type Hints = Result<Query<Named>, QueryRejection>;

/// Serves until the runtime ends.
pub(crate) async fn serve<B: Broker>(
    listener: TcpSide,
    (keeper, names): (BasicAuth, Names),
    (broker, limits): (B, HttpLimits),
) {
    let broker = Arc::new(broker);
    let events = Arc::clone(&broker);
    let tell = move |text: &str| {
        events.note(Happening::new(
            EventKind::RequestRefused,
            Subject::default(),
            text,
        ));
    };
    let doorkeeper = Doorkeeper {
        keeper,
        names: (!listener.has_tls()).then_some(names),
        strangers: Strangers::new(|text| tracing::warn!(target: LOG, "{text}"), tell),
    };
    let router = router(broker, doorkeeper);
    http::serve(Door::Network(listener), router, limits, pending()).await;
}

/// All routes, and the document that describes them: that is there for everybody.
fn router<B: Broker>(broker: Arc<B>, doorkeeper: Doorkeeper) -> Router {
    let state = (Arc::new(doorkeeper), Arc::clone(&broker));
    let guard = middleware::from_fn_with_state(state, guard::<B>);
    let (router, mut document) = OpenApiRouter::with_openapi(openapi::document())
        .routes(described!(B: offers))
        .routes(described!(B: provision, instance, update, deprovision))
        .routes(described!(B: last_of_instance))
        .merge(super::binding_routes::routes::<B>())
        .split_for_parts();
    openapi::complete(&mut document);
    router
        .fallback(async || failure(&Refusal::new(RefusalKind::NotFound, "no such path")))
        .method_not_allowed_fallback(async || {
            let text = "this path does not know that method";
            plain(StatusCode::METHOD_NOT_ALLOWED, text)
        })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(guard)
        .route(openapi::PLACE, get(async move || served(&document)))
        .with_state(broker)
}

/// The catalog: one service, and its plans.
#[utoipa::path(
    get,
    path = "/v2/catalog",
    params(
        Spoken,
    ),
    responses(
        (status = 200, description = "as it is", body = Catalog),
        Refused,
    ),
)]
async fn offers<B: Broker>(State(_): Shared<B>) -> Response {
    Json(catalog::catalog()).into_response()
}

/// Makes an instance: a service with its port.
#[utoipa::path(
    put,
    path = "/v2/service_instances/{id}",
    params(
        OfInstance,
        Spoken,
    ),
    request_body = Provision,
    responses(
        (status = 201, description = "new", body = Done),
        (status = 200, description = "done, or as it was", body = Done),
        Refused,
    ),
)]
async fn provision<B: Broker>(
    State(broker): Shared<B>,
    Path(id): Path<String>,
    body: Body,
) -> Response {
    answer(async {
        check_name("instance_id", &id)?;
        let order = parsed::<Provision>(body)?.order()?;
        let novelty = broker.provision(id, order).await?;
        Ok((status(novelty), Done {}))
    })
    .await
}

/// An instance as it is.
#[utoipa::path(
    get,
    path = "/v2/service_instances/{id}",
    params(
        OfInstance,
        Named,
        Spoken,
    ),
    responses(
        (status = 200, description = "as it is", body = InstanceFound),
        Refused,
    ),
)]
async fn instance<B: Broker>(
    State(broker): Shared<B>,
    Path(id): Path<String>,
    hints: Hints,
) -> Response {
    answer(async {
        let found = broker.instance(id).await?;
        checked(hints)?.check(found.plan)?;
        let body = InstanceFound {
            service_id: catalog::SERVICE,
            plan_id: catalog::plan_id(found.plan),
            parameters: found.parameters.given,
        };
        Ok((StatusCode::OK, body))
    })
    .await
}

/// Changes parameters of an instance: what is not named stays.
#[utoipa::path(
    patch,
    path = "/v2/service_instances/{id}",
    params(
        OfInstance,
        Spoken,
    ),
    request_body = Patch,
    responses(
        (status = 200, description = "done, or as it was", body = Done),
        Refused,
    ),
)]
async fn update<B: Broker>(
    State(broker): Shared<B>,
    Path(id): Path<String>,
    body: Body,
) -> Response {
    answer(async {
        check_name("instance_id", &id)?;
        let update = parsed::<Patch>(body)?.update()?;
        broker.update(id, update).await?;
        Ok((StatusCode::OK, Done {}))
    })
    .await
}

/// Ends an instance with all its bindings.
#[utoipa::path(
    delete,
    path = "/v2/service_instances/{id}",
    params(
        OfInstance,
        Naming,
        Spoken,
    ),
    responses(
        (status = 200, description = "done, or as it was", body = Done),
        (status = 410, description = "not there", body = Done),
        Refused,
    ),
)]
async fn deprovision<B: Broker>(
    State(broker): Shared<B>,
    Path(id): Path<String>,
    hints: Hints,
) -> Response {
    let gone = async {
        let plan = checked(hints)?.plan()?;
        broker.deprovision(id, plan).await
    };
    removed(gone.await)
}

/// How far the last operation on an instance is.
#[utoipa::path(
    get,
    path = "/v2/service_instances/{id}/last_operation",
    params(
        OfInstance,
        Named,
        Spoken,
    ),
    responses(
        (status = 200, description = "as it is", body = LastOperation),
        (status = 410, description = "not there", body = Done),
        Refused,
    ),
)]
async fn last_of_instance<B: Broker>(
    State(broker): Shared<B>,
    Path(id): Path<String>,
    hints: Hints,
) -> Response {
    let found = async {
        let found = broker.instance(id).await?;
        checked(hints)?.check(found.plan)
    };
    succeeded(found.await)
}

pub(super) fn status(novelty: Novelty) -> StatusCode {
    match novelty {
        Novelty::New => StatusCode::CREATED,
        Novelty::Known => StatusCode::OK,
    }
}

/// What is not there is gone: that is what was wanted.
pub(super) fn removed(outcome: Answer<()>) -> Response {
    unless_gone(outcome, Done {})
}

/// Every operation was over when it was answered.
pub(super) fn succeeded(outcome: Answer<()>) -> Response {
    unless_gone(outcome, LastOperation { state: "succeeded" })
}

fn unless_gone(outcome: Answer<()>, body: impl Serialize) -> Response {
    match outcome {
        Ok(()) => (StatusCode::OK, Json(body)).into_response(),
        Err(refusal) if refusal.kind == RefusalKind::NotFound => {
            (StatusCode::GONE, Json(Done {})).into_response()
        }
        Err(refusal) => failure(&refusal),
    }
}

pub(super) fn parsed<T: DeserializeOwned>(body: Body) -> Answer<T> {
    let too_long = |_| {
        let text = format!("the request's body is longer than {BODY_LIMIT} bytes");
        Refusal::new(RefusalKind::BodyTooLarge, text)
    };
    let bytes = body.map_err(too_long)?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let text: String = error.to_string().chars().take(400).collect();
        let field = text.split('`').nth(1).map(ToOwned::to_owned);
        match field {
            Some(field) => Refusal::invalid(&field, text),
            None => Refusal::new(RefusalKind::Invalid, text),
        }
    })
}

pub(super) fn checked(hints: Hints) -> Answer<Named> {
    let wrong = |rejection: QueryRejection| {
        let text: String = rejection.body_text().chars().take(400).collect();
        Refusal::new(RefusalKind::Invalid, text)
    };
    hints.map(|Query(named)| named).map_err(wrong)
}

pub(super) async fn answer<T: Serialize>(
    outcome: impl Future<Output = Answer<(StatusCode, T)>>,
) -> Response {
    match outcome.await {
        Ok((status, body)) => (status, Json(body)).into_response(),
        Err(refusal) => failure(&refusal),
    }
}
