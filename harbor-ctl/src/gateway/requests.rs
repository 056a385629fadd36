//! What platforms send, as the specification names it. Fields that are not known are extensions,
//! which a broker ignores; parameters are ours, and known or refused.

use serde::Deserialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{
    catalog,
    operations::{Answer, ProvisionRequest, Update},
    parameters::read_parameters,
};
use crate::model::{Plan, Refusal, RefusalKind, check_word};

/// `PUT /v2/service_instances/{id}`
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Provision {
    #[schema(schema_with = catalog::service_ids)]
    service_id: String,
    #[schema(schema_with = catalog::plan_ids)]
    plan_id: String,
    #[schema(
        min_length = 1,
        max_length = 256,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$"
    )]
    organization_guid: String,
    #[schema(
        min_length = 1,
        max_length = 256,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$"
    )]
    space_guid: String,
    #[serde(default)]
    context: Option<Context>,
    #[serde(default)]
    #[schema(schema_with = catalog::creation_or_null)]
    parameters: Option<Value>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    maintenance_info: Option<Value>,
}

/// Where the platform is; what it says besides is its own.
#[derive(Debug, Default, Deserialize, ToSchema)]
struct Context {
    #[serde(default)]
    platform: Option<String>,
    #[serde(default)]
    instance_name: Option<String>,
}

/// `PATCH /v2/service_instances/{id}`
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Patch {
    #[schema(schema_with = catalog::service_ids)]
    service_id: String,
    #[serde(default)]
    plan_id: Option<String>,
    #[serde(default)]
    #[schema(schema_with = catalog::update_or_null)]
    parameters: Option<Value>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    maintenance_info: Option<Value>,
}

/// `PUT /v2/service_instances/{id}/service_bindings/{id}`
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Bind {
    #[schema(schema_with = catalog::service_ids)]
    service_id: String,
    #[schema(schema_with = catalog::plan_ids)]
    plan_id: String,
    /// Its older name.
    #[serde(default)]
    app_guid: Option<String>,
    #[serde(default)]
    bind_resource: Option<Resource>,
    #[serde(default)]
    #[schema(schema_with = catalog::binding_or_null)]
    parameters: Option<Value>,
}

#[derive(Debug, Deserialize, ToSchema)]
struct Resource {
    #[serde(default)]
    app_guid: Option<String>,
    #[serde(default)]
    route: Option<String>,
}

/// What names service and plan in an address.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Named {
    service_id: Option<String>,
    plan_id: Option<String>,
}

/// An instance in a path, for the document.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "a document of the shape, never a value")]
pub(super) struct OfInstance {
    /// The instance's id
    #[param(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_.-]+$")]
    id: String,
}

/// A binding in a path, for the document.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "a document of the shape, never a value")]
pub(super) struct OfBinding {
    /// The instance's id
    #[param(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_.-]+$")]
    id: String,
    /// The binding's id
    #[param(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_.-]+$")]
    binding: String,
}

/// What names service and plan where both must be there, for the document.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a document of the shape, never a value")]
pub(super) struct Naming {
    #[param(schema_with = catalog::service_ids)]
    service_id: String,
    #[param(schema_with = catalog::plan_ids)]
    plan_id: String,
}

/// What every request says in its header, for the document; the guard reads it.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "a document of the shape, never a value")]
pub(super) struct Spoken {
    /// The version of the specification that the platform speaks: 2.x
    #[param(
        rename = "X-Broker-API-Version",
        pattern = r"^2\.[0-9]+$",
        example = "2.17"
    )]
    version: String,
    /// On whose behalf: a platform's name, and an object in base64
    #[param(
        rename = "X-Broker-API-Originating-Identity",
        example = "cloudfoundry eyJ1c2VyX2lkIjogIjY4MyJ9"
    )]
    identity: Option<String>,
    /// The request's own number, which is given back
    #[param(rename = "X-Broker-API-Request-Identity")]
    number: Option<String>,
}

impl Provision {
    pub(super) fn order(self) -> Answer<ProvisionRequest> {
        let plan = catalog::plan(&self.service_id, &self.plan_id)?;
        check_word("organization_guid", &self.organization_guid)?;
        check_word("space_guid", &self.space_guid)?;
        no_maintenance(self.maintenance_info.as_ref())?;
        let Context {
            platform,
            instance_name,
        } = self.context.unwrap_or_default();
        Ok(ProvisionRequest {
            plan,
            organization: self.organization_guid,
            space: self.space_guid,
            platform: word("context.platform", platform)?,
            name: word("context.instance_name", instance_name)?,
            parameters: read_parameters(self.parameters)?,
        })
    }
}

impl Patch {
    pub(super) fn update(self) -> Answer<Update> {
        no_maintenance(self.maintenance_info.as_ref())?;
        let plan = match &self.plan_id {
            Some(plan) => Some(catalog::plan(&self.service_id, plan)?),
            None => catalog::check_service(&self.service_id).map(|()| None)?,
        };
        let parameters = read_parameters(self.parameters)?;
        Ok(Update { plan, parameters })
    }
}

impl Bind {
    /// The plan, and the app that is bound, if it is one.
    pub(super) fn read(self) -> Answer<(Plan, Option<String>)> {
        let plan = catalog::plan(&self.service_id, &self.plan_id)?;
        let resource = self.bind_resource.unwrap_or(Resource {
            app_guid: None,
            route: None,
        });
        if resource.route.is_some() {
            let text = "bind_resource.route: a port is no route service";
            return Err(Refusal::invalid("bind_resource.route", text));
        }
        let app = match (resource.app_guid, self.app_guid) {
            (Some(a), Some(b)) if a != b => {
                let text = "app_guid and bind_resource.app_guid name different apps";
                return Err(Refusal::invalid("app_guid", text));
            }
            (a, b) => a.or(b),
        };
        if let Some(app) = &app {
            check_word("app_guid", app)?;
        }
        match self.parameters {
            None | Some(Value::Null) => Ok((plan, app)),
            Some(Value::Object(map)) => match map.keys().next() {
                None => Ok((plan, app)),
                Some(key) => {
                    let shown: String = key.chars().take(64).collect();
                    let text = format!("unknown parameter {shown:?}: a binding has none");
                    Err(Refusal::new(RefusalKind::UnknownField, text).field(&shown))
                }
            },
            Some(_) => Err(Refusal::invalid(
                "parameters",
                "parameters is not an object",
            )),
        }
    }
}

impl Named {
    /// Where both must be there.
    pub(super) fn plan(&self) -> Answer<Plan> {
        let missing =
            |name: &str| Refusal::invalid(name, format!("{name} is missing in the query"));
        let service = self
            .service_id
            .as_ref()
            .ok_or_else(|| missing("service_id"))?;
        let plan = self.plan_id.as_ref().ok_or_else(|| missing("plan_id"))?;
        catalog::plan(service, plan)
    }

    /// Where they are hints, which must be right all the same.
    pub(super) fn check(&self, of: Plan) -> Answer<()> {
        if let Some(service) = &self.service_id {
            catalog::check_service(service)?;
        }
        match &self.plan_id {
            Some(plan) if plan != catalog::plan_id(of) => Err(Refusal::invalid(
                "plan_id",
                format!("the instance is of plan {of}"),
            )),
            _ => Ok(()),
        }
    }
}

/// A word that may be missing.
fn word(field: &str, word: Option<String>) -> Answer<String> {
    let word = word.unwrap_or_default();
    if !word.is_empty() {
        check_word(field, &word)?;
    }
    Ok(word)
}

/// No plan has a version to keep up with.
fn no_maintenance(info: Option<&Value>) -> Answer<()> {
    match info {
        None | Some(Value::Null) => Ok(()),
        Some(_) => {
            let text = "maintenance_info: the catalog has none for this plan";
            Err(Refusal::new(RefusalKind::Conflict, text).field("maintenance_info"))
        }
    }
}
