//! Routes of the platform API.

use std::sync::Arc;

use axum::{
    Extension, Router,
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
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    Answer, Bound, Broker, Keeper, Novelty, catalog,
    documents::{Bind, Named, Patch, Provision},
    failure::failure,
    guard::{Minor, guard},
};
use crate::{
    http::{Peer, TcpSide},
    model::{Refusal, RefusalKind, check_name},
};

const BODY_LIMIT: usize = 64 * 1024;
/// The version that brought `endpoints`.
const WITH_ENDPOINTS: Minor = Minor(15);

type Shared<B> = State<Arc<B>>;
type Body = Result<Bytes, BytesRejection>;
type Names = Path<(String, String)>;
type Hints = Result<Query<Named>, QueryRejection>;

/// Serves until the runtime ends.
pub(crate) async fn serve<B: Broker>(
    listener: TcpSide,
    keeper: Keeper,
    broker: B,
) -> std::io::Result<()> {
    let guard = middleware::from_fn_with_state(Arc::new(keeper), guard);
    let service = router(broker)
        .layer(guard)
        .into_make_service_with_connect_info::<Peer>();
    axum::serve(listener, service).await
}

fn router<B: Broker>(broker: B) -> Router {
    const INSTANCE: &str = "/v2/service_instances/{id}";
    const BINDING: &str = "/v2/service_instances/{id}/service_bindings/{binding}";
    Router::new()
        .route("/v2/catalog", get(async || Json(catalog::catalog())))
        .route(
            INSTANCE,
            get(instance::<B>)
                .put(provision::<B>)
                .patch(update::<B>)
                .delete(deprovision::<B>),
        )
        .route(
            &format!("{INSTANCE}/last_operation"),
            get(last_of_instance::<B>),
        )
        .route(
            BINDING,
            get(binding::<B>).put(bind::<B>).delete(unbind::<B>),
        )
        .route(
            &format!("{BINDING}/last_operation"),
            get(last_of_binding::<B>),
        )
        .fallback(async || failure(&Refusal::new(RefusalKind::NotFound, "no such path")))
        .method_not_allowed_fallback(async || {
            let body = json!({"description": "this path does not know that method"});
            (StatusCode::METHOD_NOT_ALLOWED, Json(body)).into_response()
        })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(Arc::new(broker))
}

async fn provision<B: Broker>(
    State(broker): Shared<B>,
    Path(id): Path<String>,
    body: Body,
) -> Response {
    answer(async {
        check_name("instance_id", &id)?;
        let order = parsed::<Provision>(body)?.order()?;
        let novelty = broker.provision(id, order).await?;
        Ok((status(novelty), json!({})))
    })
    .await
}

async fn instance<B: Broker>(
    State(broker): Shared<B>,
    Path(id): Path<String>,
    hints: Hints,
) -> Response {
    answer(async {
        let found = broker.instance(id).await?;
        checked(hints)?.check(found.plan)?;
        let parameters = serde_json::to_value(&found.parameters.given)
            .map_err(|error| Refusal::failed(error.to_string()))?;
        let body = json!({
            "service_id": catalog::SERVICE,
            "plan_id": catalog::plan_id(found.plan),
            "parameters": parameters,
        });
        Ok((StatusCode::OK, body))
    })
    .await
}

async fn update<B: Broker>(
    State(broker): Shared<B>,
    Path(id): Path<String>,
    body: Body,
) -> Response {
    answer(async {
        check_name("instance_id", &id)?;
        let update = parsed::<Patch>(body)?.update()?;
        broker.update(id, update).await?;
        Ok((StatusCode::OK, json!({})))
    })
    .await
}

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

async fn bind<B: Broker>(
    State(broker): Shared<B>,
    Path((id, binding)): Names,
    Extension(minor): Extension<Minor>,
    body: Body,
) -> Response {
    answer(async {
        check_name("binding_id", &binding)?;
        let (plan, app) = parsed::<Bind>(body)?.read()?;
        let (novelty, bound) = broker.bind((id, binding), plan, app).await?;
        Ok((status(novelty), told(&bound, minor)?))
    })
    .await
}

async fn binding<B: Broker>(
    State(broker): Shared<B>,
    Path(names): Names,
    Extension(minor): Extension<Minor>,
    hints: Hints,
) -> Response {
    answer(async {
        let bound = broker.bound(names).await?;
        checked(hints)?.check(bound.plan)?;
        Ok((StatusCode::OK, told(&bound, minor)?))
    })
    .await
}

async fn unbind<B: Broker>(State(broker): Shared<B>, Path(names): Names, hints: Hints) -> Response {
    let gone = async {
        let plan = checked(hints)?.plan()?;
        broker.unbind(names, plan).await
    };
    removed(gone.await)
}

async fn last_of_binding<B: Broker>(
    State(broker): Shared<B>,
    Path(names): Names,
    hints: Hints,
) -> Response {
    let found = async {
        let bound = broker.bound(names).await?;
        checked(hints)?.check(bound.plan)
    };
    succeeded(found.await)
}

/// A binding's body: `endpoints` for platforms that know them.
fn told(bound: &Bound, minor: Minor) -> Answer<Value> {
    let failed = |error: serde_json::Error| Refusal::failed(error.to_string());
    let credentials = serde_json::to_value(&bound.credentials).map_err(failed)?;
    let mut body = json!({"credentials": credentials});
    if minor >= WITH_ENDPOINTS {
        let host = bound.credentials.place.reached_at();
        let port = bound.credentials.port.to_string();
        let each = bound.protocols.each().iter();
        let endpoint = |protocol: &crate::model::Protocol| json!({"host": host, "ports": [port], "protocol": protocol.to_string()});
        body["endpoints"] = each.map(endpoint).collect();
    }
    Ok(body)
}

fn status(novelty: Novelty) -> StatusCode {
    match novelty {
        Novelty::New => StatusCode::CREATED,
        Novelty::Known => StatusCode::OK,
    }
}

/// What is not there is gone: that is what was wanted.
fn removed(outcome: Answer<()>) -> Response {
    unless_gone(outcome, json!({}))
}

/// Every operation was over when it was answered.
fn succeeded(outcome: Answer<()>) -> Response {
    unless_gone(outcome, json!({"state": "succeeded"}))
}

fn unless_gone(outcome: Answer<()>, body: Value) -> Response {
    match outcome {
        Ok(()) => (StatusCode::OK, Json(body)).into_response(),
        Err(refusal) if refusal.kind == RefusalKind::NotFound => {
            (StatusCode::GONE, Json(json!({}))).into_response()
        }
        Err(refusal) => failure(&refusal),
    }
}

fn parsed<T: DeserializeOwned>(body: Body) -> Answer<T> {
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

fn checked(hints: Hints) -> Answer<Named> {
    let wrong = |rejection: QueryRejection| {
        let text: String = rejection.body_text().chars().take(400).collect();
        Refusal::new(RefusalKind::Invalid, text)
    };
    hints.map(|Query(named)| named).map_err(wrong)
}

async fn answer(outcome: impl Future<Output = Answer<(StatusCode, Value)>>) -> Response {
    match outcome.await {
        Ok((status, body)) => (status, Json(body)).into_response(),
        Err(refusal) => failure(&refusal),
    }
}
