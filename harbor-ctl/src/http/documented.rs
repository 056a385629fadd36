//! Routes that describe themselves: what a handler's `#[utoipa::path]` says becomes its route and its
//! part of the OpenAPI document in one step.
//!
//! A route that is added in any other way is in no document; a test looks for those.

use axum::{
    handler::Handler,
    http::header,
    response::{IntoResponse as _, Response},
    routing::MethodRouter,
};
use utoipa::{
    __dev::SchemaReferences,
    Path, ToSchema,
    openapi::{
        Info, OpenApi, RefOr, Schema,
        path::{HttpMethod, Paths},
    },
};
use utoipa_axum::{PathItemExt as _, router::UtoipaMethodRouter};

/// Handlers of one path, each with its description.
pub(crate) struct Described<S>(UtoipaMethodRouter<S>);

impl<S: Clone + Send + Sync + 'static> Described<S> {
    pub(crate) fn new() -> Self {
        Self((Vec::new(), Paths::new(), MethodRouter::new()))
    }

    /// Adds a handler with what its attribute says.
    pub(crate) fn with<P: Path + SchemaReferences, T: 'static>(
        mut self,
        handler: impl Handler<T, S>,
    ) -> Self {
        let (schemas, paths, mut router) = self.0;
        let mut schemas: Vec<(String, RefOr<Schema>)> = schemas;
        P::schemas(&mut schemas);
        let methods: Vec<HttpMethod> = P::methods();
        for method in &methods {
            router = router.on(method.to_method_filter(), handler.clone());
        }
        let mut paths: Paths = paths;
        paths.add_path_operation(P::path(), methods, P::operation());
        self.0 = (schemas, paths, router);
        self
    }

    /// For the router.
    pub(crate) fn routes(self) -> UtoipaMethodRouter<S> {
        self.0
    }
}

/// The routes of handlers that share a path: `described!(O: show, set)` for `show::<O>` and `set::<O>`.
macro_rules! described {
    ($own:ident: $($handler:ident),+ $(,)?) => {
        pastey::paste! {
            $crate::http::Described::new()
                $(.with::<[<__path_ $handler>], _>($handler::<$own>))+
                .routes()
        }
    };
}
pub(crate) use described;

/// A document without paths.
pub(crate) fn document(title: &str, description: &str) -> OpenApi {
    let mut info = Info::new(title, env!("CARGO_PKG_VERSION"));
    info.description = Some(description.to_owned());
    OpenApi::new(info, Paths::new())
}

/// Adds the schema of what no operation of the document names by itself.
pub(crate) fn add_schema<T: ToSchema>(document: &mut OpenApi) {
    let components = document.components.get_or_insert_default();
    let (name, schema) = (T::name().into_owned(), T::schema());
    components.schemas.insert(name, schema);
}

/// A document as it is served.
pub(crate) fn served(document: &OpenApi) -> Response {
    let text = document.to_json().unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}
