//! Routes of bindings: what apps are told.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use utoipa_axum::router::OpenApiRouter;

use super::{
    auth::Minor,
    error::Refused,
    operations::{Bound, Broker},
    requests::{Bind, Named, Naming, OfBinding, Spoken},
    responses::{BindingTold, Done, Endpoint, LastOperation},
    server::{Body, Hints, Shared, answer, checked, parsed, removed, status, succeeded},
};
use crate::{
    http::described,
    model::{Protocol, check_name},
};

/// The version that brought `endpoints`.
const WITH_ENDPOINTS: Minor = Minor(15);

type Names = Path<(String, String)>;

pub(super) fn routes<B: Broker>() -> OpenApiRouter<Arc<B>> {
    OpenApiRouter::new()
        .routes(described!(B: bind, binding, unbind))
        .routes(described!(B: last_of_binding))
}

/// Makes a binding: an app is told the credentials.
#[utoipa::path(
    put,
    path = "/v2/service_instances/{id}/service_bindings/{binding}",
    params(
        OfBinding,
        Spoken,
    ),
    request_body = Bind,
    responses(
        (status = 201, description = "new", body = BindingTold),
        (status = 200, description = "done, or as it was", body = BindingTold),
        Refused,
    ),
)]
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
        Ok((status(novelty), told(bound, minor)))
    })
    .await
}

/// A binding, with its credentials as they are now.
#[utoipa::path(
    get,
    path = "/v2/service_instances/{id}/service_bindings/{binding}",
    params(
        OfBinding,
        Named,
        Spoken,
    ),
    responses(
        (status = 200, description = "as it is", body = BindingTold),
        Refused,
    ),
)]
async fn binding<B: Broker>(
    State(broker): Shared<B>,
    Path(names): Names,
    Extension(minor): Extension<Minor>,
    hints: Hints,
) -> Response {
    answer(async {
        let bound = broker.bound(names).await?;
        checked(hints)?.check(bound.plan)?;
        Ok((StatusCode::OK, told(bound, minor)))
    })
    .await
}

/// Ends a binding.
#[utoipa::path(
    delete,
    path = "/v2/service_instances/{id}/service_bindings/{binding}",
    params(
        OfBinding,
        Naming,
        Spoken,
    ),
    responses(
        (status = 200, description = "done, or as it was", body = Done),
        (status = 410, description = "not there", body = Done),
        Refused,
    ),
)]
async fn unbind<B: Broker>(State(broker): Shared<B>, Path(names): Names, hints: Hints) -> Response {
    let gone = async {
        let plan = checked(hints)?.plan()?;
        broker.unbind(names, plan).await
    };
    removed(gone.await)
}

/// How far the last operation on a binding is.
#[utoipa::path(
    get,
    path = "/v2/service_instances/{id}/service_bindings/{binding}/last_operation",
    params(
        OfBinding,
        Named,
        Spoken,
    ),
    responses(
        (status = 200, description = "as it is", body = LastOperation),
        (status = 410, description = "not there", body = Done),
        Refused,
    ),
)]
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
fn told(bound: Bound, minor: Minor) -> BindingTold {
    let Bound {
        credentials,
        protocols,
        ..
    } = bound;
    let endpoint = |protocol: &Protocol| Endpoint {
        host: credentials.place.reached_at().to_owned(),
        ports: [credentials.port.to_string()],
        protocol: protocol.to_string(),
    };
    let endpoints =
        (minor >= WITH_ENDPOINTS).then(|| protocols.each().iter().map(endpoint).collect());
    BindingTold {
        credentials,
        endpoints,
    }
}
