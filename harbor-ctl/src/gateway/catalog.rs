//! The catalog: one service, five plans, and the parameters of each as a JSON schema. Ids never
//! change: platforms remember them.

use serde_json::{Value, json};
use utoipa::openapi::{
    ObjectBuilder, RefOr, Schema,
    schema::{AdditionalProperties, SchemaType, Type},
};

use super::responses::{Catalog, Offer, OfferMetadata, PlanOffer};
use crate::model::{Plan, Refusal, lifetime_schema, setting_schemas};

/// The service's id.
pub(crate) const SERVICE: &str = "6f6b6b1e-3a53-4a0c-9b0b-5d1f2c9f7a10";

/// A plan's id.
pub(crate) fn plan_id(plan: Plan) -> &'static str {
    match plan {
        Plan::Free => "6f6b6b1e-3a53-4a0c-9b0b-5d1f2c9f7a11",
        Plan::Tcp => "6f6b6b1e-3a53-4a0c-9b0b-5d1f2c9f7a12",
        Plan::Udp => "6f6b6b1e-3a53-4a0c-9b0b-5d1f2c9f7a13",
        Plan::Both => "6f6b6b1e-3a53-4a0c-9b0b-5d1f2c9f7a14",
        Plan::Https => "6f6b6b1e-3a53-4a0c-9b0b-5d1f2c9f7a15",
    }
}

/// The plan that a request names, if it is of this catalog.
pub(super) fn plan(service: &str, plan: &str) -> Result<Plan, Refusal> {
    check_service(service)?;
    let found = Plan::ALL.into_iter().find(|known| plan_id(*known) == plan);
    found.ok_or_else(|| {
        let shown: String = plan.chars().take(80).collect();
        Refusal::invalid(
            "plan_id",
            format!("plan_id {shown:?} is not in the catalog"),
        )
        .fix("GET /v2/catalog")
    })
}

pub(super) fn check_service(service: &str) -> Result<(), Refusal> {
    if service == SERVICE {
        return Ok(());
    }
    let shown: String = service.chars().take(80).collect();
    let text = format!("service_id {shown:?} is not in the catalog");
    Err(Refusal::invalid("service_id", text).fix("GET /v2/catalog"))
}

/// `GET /v2/catalog`
pub(super) fn catalog() -> Catalog {
    let service = Offer {
        id: SERVICE,
        name: "harbor",
        description: "A public TCP or UDP port that finds its way to the app's instances",
        tags: ["tcp", "udp", "port"],
        bindable: true,
        instances_retrievable: true,
        bindings_retrievable: true,
        allow_context_updates: true,
        plan_updateable: false,
        metadata: OfferMetadata {
            display_name: "Harbor",
            long_description: "Hands out a port on the edge and forwards it in the kernel.",
        },
        plans: Plan::ALL.into_iter().map(described).collect(),
    };
    Catalog {
        services: vec![service],
    }
}

fn described(plan: Plan) -> PlanOffer {
    let description = match plan {
        Plan::Free => "A port whose protocol the instance's name decides: udp... UDP, both... both",
        Plan::Tcp => "A TCP port",
        Plan::Udp => "A UDP port",
        Plan::Both => "TCP and UDP on the same number",
        Plan::Https => "A TCP port on which Harbor ends TLS",
    };
    PlanOffer {
        id: plan_id(plan),
        name: plan.name(),
        description,
        free: true,
        bindable: true,
        schemas: json!({
            "service_instance": {
                "create": {"parameters": published(&creation_schema())},
                "update": {"parameters": published(&update_schema())},
            },
            "service_binding": {"create": {"parameters": published(&binding_schema())}},
        }),
    }
}

/// A schema as the specification wants it: with the name of its language.
fn published(schema: &RefOr<Schema>) -> Value {
    let mut json = serde_json::to_value(schema).unwrap_or_default();
    json["$schema"] = "http://json-schema.org/draft-04/schema#".into();
    json
}

/// The parameters of a new instance: the number can be chosen only then.
pub(super) fn creation_schema() -> RefOr<Schema> {
    let number = ObjectBuilder::new()
        .schema_type(SchemaType::Array(vec![Type::Integer, Type::Null]))
        .minimum(Some(1))
        .maximum(Some(65_535))
        .description(Some("the number wanted; without it a random free one"));
    let port = [("port", Schema::Object(number.build()).into())];
    parameters(port)
}

/// The parameters that an instance may have at any time.
pub(super) fn update_schema() -> RefOr<Schema> {
    parameters([])
}

/// A binding has none.
pub(super) fn binding_schema() -> RefOr<Schema> {
    Schema::Object(closed().build()).into()
}

/// Parameters as requests may have them: null says as much as none.
pub(super) fn creation_or_null() -> RefOr<Schema> {
    or_null(creation_schema())
}

/// The same of an update.
pub(super) fn update_or_null() -> RefOr<Schema> {
    or_null(update_schema())
}

/// The same of a binding.
pub(super) fn binding_or_null() -> RefOr<Schema> {
    or_null(binding_schema())
}

fn or_null(schema: RefOr<Schema>) -> RefOr<Schema> {
    match schema {
        RefOr::T(Schema::Object(mut object)) => {
            object.schema_type = SchemaType::Array(vec![Type::Object, Type::Null]);
            Schema::Object(object).into()
        }
        other => other,
    }
}

fn parameters<const N: usize>(own: [(&'static str, RefOr<Schema>); N]) -> RefOr<Schema> {
    let lifetime = [("for", lifetime_schema())];
    let mut object = closed();
    for (key, schema) in own.into_iter().chain(lifetime).chain(setting_schemas()) {
        let schema = if key == "tls" { tls() } else { schema };
        object = object.property(key, schema);
    }
    Schema::Object(object.build()).into()
}

/// Texts instead of an operator's paths.
fn tls() -> RefOr<Schema> {
    let pem = |what: &'static str| {
        let text = ObjectBuilder::new().schema_type(SchemaType::Type(Type::String));
        RefOr::from(Schema::Object(text.description(Some(what)).build()))
    };
    let said = "who ends TLS: off (the app), on (Harbor, with a certificate of the node), or Harbor with \
                this certificate";
    let types = SchemaType::Array(vec![Type::Object, Type::String, Type::Null]);
    let object = closed()
        .schema_type(types)
        .description(Some(said))
        .property("certificate", pem("the certificate and its chain, PEM"))
        .property("key", pem("its private key, PEM; never returned"));
    Schema::Object(object.build()).into()
}

/// What `service_id` may be.
pub(super) fn service_ids() -> RefOr<Schema> {
    one_of(&[SERVICE])
}

/// What `plan_id` may be.
pub(super) fn plan_ids() -> RefOr<Schema> {
    one_of(&Plan::ALL.map(plan_id))
}

fn one_of(values: &[&str]) -> RefOr<Schema> {
    let text = ObjectBuilder::new().schema_type(SchemaType::Type(Type::String));
    let values = values.iter().copied();
    Schema::Object(text.enum_values(Some(values)).build()).into()
}

fn closed() -> ObjectBuilder {
    ObjectBuilder::new().additional_properties(Some(AdditionalProperties::FreeForm(false)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SETTINGS;

    #[test]
    fn every_plan_is_found_by_its_id_and_nothing_else_is() {
        for known in Plan::ALL {
            assert_eq!(plan(SERVICE, plan_id(known)), Ok(known));
        }
        assert_eq!(
            plan("x", plan_id(Plan::Tcp)).unwrap_err().field.unwrap(),
            "service_id"
        );
        assert_eq!(
            plan(SERVICE, SERVICE).unwrap_err().field.unwrap(),
            "plan_id"
        );
    }

    #[test]
    fn the_schemas_say_what_the_settings_take() {
        let catalog = serde_json::to_value(catalog()).unwrap();
        let plan = &catalog["services"][0]["plans"][0];
        let instance = &plan["schemas"]["service_instance"];
        let create = &instance["create"]["parameters"]["properties"];
        for (key, _) in SETTINGS {
            assert!(create.get(key).is_some(), "{key}");
        }
        assert_eq!(create["max_connections"]["type"][0], "integer");
        assert_eq!(create["allowed_cidrs"]["type"][0], "array");
        assert_eq!(create["health"]["type"][0], "object");
        assert_eq!(create["policy"]["type"][0], "string");
        assert!(create.get("port").is_some());
        let update = &instance["update"]["parameters"];
        assert!(update["properties"].get("port").is_none());
        assert_eq!(update["additionalProperties"], false);
    }
}
