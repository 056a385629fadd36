//! The catalog: one service, five plans, and the parameters of each as a JSON schema. Ids never
//! change: platforms remember them.

use serde_json::{Map, Value, json};

use crate::model::{LIMITS, Plan, PortSettings, Refusal, SETTINGS, SettingValue, SettingValues};

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
pub(super) fn catalog() -> Value {
    let plans: Vec<Value> = Plan::ALL.into_iter().map(described).collect();
    json!({"services": [{
        "id": SERVICE,
        "name": "harbor",
        "description": "A public TCP or UDP port that finds its way to the app's instances",
        "tags": ["tcp", "udp", "port"],
        "bindable": true,
        "instances_retrievable": true,
        "bindings_retrievable": true,
        "allow_context_updates": true,
        "plan_updateable": false,
        "metadata": {
            "displayName": "Harbor",
            "longDescription": "Hands out a port on the edge and forwards it in the kernel."
        },
        "plans": plans,
    }]})
}

fn described(plan: Plan) -> Value {
    let description = match plan {
        Plan::Free => "A port whose protocol the instance's name decides: udp... UDP, both... both",
        Plan::Tcp => "A TCP port",
        Plan::Udp => "A UDP port",
        Plan::Both => "TCP and UDP on the same number",
        Plan::Https => "A TCP port on which Harbor ends TLS",
    };
    let update = parameters();
    let mut create = update.clone();
    create.insert("port".into(), port());
    json!({
        "id": plan_id(plan),
        "name": plan.name(),
        "description": description,
        "free": true,
        "bindable": true,
        "schemas": {
            "service_instance": {
                "create": {"parameters": object(create)},
                "update": {"parameters": object(update)},
            },
            "service_binding": {"create": {"parameters": object(Map::new())}},
        },
    })
}

/// The number can be chosen only when an instance is made.
fn port() -> Value {
    json!({
        "description": "the number wanted; without it a random free one",
        "type": "integer", "minimum": 1, "maximum": 65_535,
    })
}

/// The parameters that an instance may have at any time.
fn parameters() -> Map<String, Value> {
    let mut keys = Map::new();
    let lifetime = "how long the port lives, as 2h; none: until it is deprovisioned";
    keys.insert(
        "for".into(),
        json!({"description": lifetime, "type": ["string", "null"]}),
    );
    let limits = LIMITS.iter().map(|key| ((*key).to_owned(), setting(key)));
    keys.insert("limits".into(), object(limits.collect()));
    for (key, _) in SETTINGS {
        keys.insert(key.to_owned(), setting(key));
    }
    keys
}

fn object(properties: Map<String, Value>) -> Value {
    json!({
        "$schema": "http://json-schema.org/draft-04/schema#",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

fn setting(key: &str) -> Value {
    if key == "tls" {
        return tls();
    }
    let meaning = SETTINGS.iter().find(|(name, _)| *name == key);
    let description = meaning.map_or("", |(_, meaning)| *meaning);
    json!({"description": description, "type": types(key)})
}

/// Texts instead of an operator's paths.
fn tls() -> Value {
    let pem = |what: &str| json!({"description": what, "type": "string"});
    let mut schema = object(Map::from_iter([
        (
            "certificate".to_owned(),
            pem("the certificate and its chain, PEM"),
        ),
        (
            "key".to_owned(),
            pem("its private key, PEM; never returned"),
        ),
    ]));
    schema["type"] = json!(["object", "string", "null"]);
    schema["description"] = json!(
        "who ends TLS: off (the app), on (Harbor, with a certificate of the node), or Harbor with \
         this certificate"
    );
    schema
}

/// What the reader of settings takes for a key, found by asking it.
fn types(key: &str) -> Vec<&'static str> {
    let takes = |value: SettingValue| {
        let values = SettingValues::from([(key.to_owned(), value)]);
        let defaults = PortSettings::default();
        defaults.with(&values, &defaults).is_ok()
    };
    let mut types = vec!["string", "null"];
    if takes(SettingValue::Number(1)) {
        types.insert(0, "integer");
    }
    if takes(SettingValue::List(vec!["10.0.0.0/8".into()])) {
        types.insert(0, "array");
    }
    let off = [("type".to_owned(), SettingValue::Text("off".into()))];
    if takes(SettingValue::Object(off.into())) {
        types.insert(0, "object");
    }
    types
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let catalog = catalog();
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
