//! Routes of services, their ports, and the range of numbers.

use std::sync::Arc;

use axum::{
    extract::{Path, Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use utoipa_axum::router::OpenApiRouter;

use super::{
    error::{NotTold, Refused},
    extract::{Body, PageQuery, checked, parsed},
    operations::Operations,
    page::page,
    server::{Shared, answer},
};
use crate::{
    api::{ChangePort, CreatePort, DeletedPort, List, PortItem, RangeReport, ServiceItem},
    http::described,
    model::{PortRef, Seen},
};

pub(super) fn routes<O: Operations>() -> OpenApiRouter<Arc<O>> {
    OpenApiRouter::new()
        .routes(described!(O: list_services))
        .routes(described!(O: list_ports, create_port))
        .routes(described!(O: show_port, set_port, delete_port))
        .routes(described!(O: drain_port))
        .routes(described!(O: resume_port))
        .routes(described!(O: show_range))
}

/// Services with their backends, as the registry keeps them.
#[utoipa::path(
    get,
    path = "/v1/services",
    tag = "ports",
    params(PageQuery),
    responses((status = 200, description = "as it is", body = List<ServiceItem>), NotTold),
)]
async fn list_services<O: Operations>(
    State(operations): Shared<O>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Response {
    answer(async {
        let query = checked(query)?;
        let key = |s: &ServiceItem| format!("{:05} {:?} {}", s.port, s.protocols, s.id);
        let services = operations.services().await?;
        let mut list = page("ServiceList", services, key, (query.limit, query.token))?;
        list.warning = operations.unlisted().await;
        Ok(list)
    })
    .await
}

/// Every port and how it is.
#[utoipa::path(
    get,
    path = "/v1/ports",
    tag = "ports",
    params(PageQuery),
    responses((status = 200, description = "as it is", body = List<PortItem>), NotTold),
)]
async fn list_ports<O: Operations>(
    State(operations): Shared<O>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Response {
    answer(async {
        let query = checked(query)?;
        let key = |p: &PortItem| format!("{:05} {:?} {}", p.port, p.protocols, p.id);
        let ports = operations.ports().await?;
        let mut list = page("PortList", ports, key, (query.limit, query.token))?;
        list.warning = operations.unlisted().await;
        Ok(list)
    })
    .await
}

/// One port and how it is.
#[utoipa::path(
    get,
    path = "/v1/ports/{port}",
    tag = "ports",
    params(("port" = String, Path, description = "a number, NUMBER/PROTOCOL, a name or an id")),
    responses((status = 200, description = "as it is", body = PortItem), NotTold),
)]
async fn show_port<O: Operations>(State(o): Shared<O>, Path(port): Path<String>) -> Response {
    answer(async { o.port(PortRef::parse(&port)?).await }).await
}

/// Creates a service with its port.
#[utoipa::path(
    post,
    path = "/v1/ports",
    tag = "ports",
    request_body = CreatePort,
    responses(
        (status = 201, description = "done", body = PortItem, links(
            ("show_port" = (operation_id = "show_port", parameters(("port" = "$response.body#/id")))),
            ("set_port" = (operation_id = "set_port", parameters(("port" = "$response.body#/id")))),
            ("drain_port" = (operation_id = "drain_port", parameters(("port" = "$response.body#/id")))),
            ("resume_port" = (operation_id = "resume_port", parameters(("port" = "$response.body#/id")))),
            ("delete_port" = (operation_id = "delete_port", parameters(("port" = "$response.body#/id")))),
        )),
        Refused),
)]
async fn create_port<O: Operations>(State(o): Shared<O>, body: Body) -> Response {
    let response = answer(async { o.create_port(parsed(body)?).await }).await;
    match response.status() {
        StatusCode::OK => (StatusCode::CREATED, response).into_response(),
        _ => response,
    }
}

/// Changes settings of a port: what is not named stays.
#[utoipa::path(
    patch,
    path = "/v1/ports/{port}",
    tag = "ports",
    params(("port" = String, Path, description = "a number, NUMBER/PROTOCOL, a name or an id")),
    request_body = ChangePort,
    responses((status = 200, description = "done", body = PortItem), Refused),
)]
async fn set_port<O: Operations>(
    State(o): Shared<O>,
    Path(port): Path<String>,
    body: Body,
) -> Response {
    answer(async {
        let port = PortRef::parse(&port)?;
        o.set_port(port, parsed(body)?, Seen::default()).await
    })
    .await
}

/// Ends a port and its flows; the number rests.
#[utoipa::path(
    delete,
    path = "/v1/ports/{port}",
    tag = "ports",
    params(("port" = String, Path, description = "a number, NUMBER/PROTOCOL, a name or an id")),
    responses((status = 200, description = "done", body = DeletedPort), Refused),
)]
async fn delete_port<O: Operations>(State(o): Shared<O>, Path(port): Path<String>) -> Response {
    answer(async { o.delete_port(PortRef::parse(&port)?).await }).await
}

/// Takes no new flows any more; those that there are go on.
#[utoipa::path(
    post,
    path = "/v1/ports/{port}/drain",
    tag = "ports",
    params(("port" = String, Path, description = "a number, NUMBER/PROTOCOL, a name or an id")),
    responses((status = 200, description = "done", body = PortItem), Refused),
)]
async fn drain_port<O: Operations>(State(o): Shared<O>, Path(port): Path<String>) -> Response {
    answer(async { o.drain_port(PortRef::parse(&port)?, true).await }).await
}

/// Takes new flows again.
#[utoipa::path(
    post,
    path = "/v1/ports/{port}/resume",
    tag = "ports",
    params(("port" = String, Path, description = "a number, NUMBER/PROTOCOL, a name or an id")),
    responses((status = 200, description = "done", body = PortItem), Refused),
)]
async fn resume_port<O: Operations>(State(o): Shared<O>, Path(port): Path<String>) -> Response {
    answer(async { o.drain_port(PortRef::parse(&port)?, false).await }).await
}

/// The range, and what became of its numbers.
#[utoipa::path(
    get,
    path = "/v1/range",
    tag = "ports",
    responses((status = 200, description = "as it is", body = RangeReport), NotTold),
)]
async fn show_range<O: Operations>(State(o): Shared<O>) -> Response {
    answer(o.range()).await
}
