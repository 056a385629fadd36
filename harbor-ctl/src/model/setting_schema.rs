//! The settings of a port as a schema, for the documents of both APIs: found by asking the reader of
//! settings what it takes, so that the two cannot differ.

use utoipa::openapi::{
    ObjectBuilder, RefOr, Schema,
    schema::{AdditionalProperties, ArrayBuilder, ArrayItems, SchemaType, Type},
};

use super::{
    limits_object::LIMITS,
    setting_value::{SettingValue, SettingValues},
    settings::{PortSettings, SETTINGS},
};

/// An object of settings and nothing else.
pub(crate) fn settings_schema() -> RefOr<Schema> {
    let mut object = closed();
    for (key, schema) in setting_schemas() {
        object = object.property(key, schema);
    }
    Schema::Object(object.build()).into()
}

/// The same, and how long the port lives.
pub(crate) fn change_schema() -> RefOr<Schema> {
    let mut object = closed().property("for", lifetime_schema());
    for (key, schema) in setting_schemas() {
        object = object.property(key, schema);
    }
    Schema::Object(object.build()).into()
}

/// Every setting with its schema, and `limits` for the limits together.
pub(crate) fn setting_schemas() -> Vec<(&'static str, RefOr<Schema>)> {
    let mut limits = closed();
    for key in LIMITS {
        limits = limits.property(key, one(key));
    }
    let together = ("limits", Schema::Object(limits.build()).into());
    let each = SETTINGS.iter().map(|(key, _)| (*key, one(key)));
    [together].into_iter().chain(each).collect()
}

/// `for`: how long a port lives.
pub(crate) fn lifetime_schema() -> RefOr<Schema> {
    let text = "how long the port lives, as 2h; none: until somebody deletes it";
    let types = SchemaType::Array(vec![Type::String, Type::Null]);
    let object = ObjectBuilder::new().schema_type(types);
    Schema::Object(object.description(Some(text)).build()).into()
}

fn closed() -> ObjectBuilder {
    ObjectBuilder::new().additional_properties(Some(AdditionalProperties::FreeForm(false)))
}

fn one(key: &str) -> RefOr<Schema> {
    let meaning = SETTINGS.iter().find(|(name, _)| *name == key);
    let meaning = meaning.map(|(_, meaning)| *meaning);
    let (types, texts) = (
        SchemaType::Array(types(key)),
        ArrayItems::RefOrSchema(text()),
    );
    if takes(key, networks()) {
        let array = ArrayBuilder::new().items(texts).description(meaning);
        let mut array = array.build();
        array.schema_type = types;
        return Schema::Array(array).into();
    }
    let object = ObjectBuilder::new().schema_type(types).description(meaning);
    Schema::Object(object.build()).into()
}

fn text() -> Box<RefOr<Schema>> {
    let text = ObjectBuilder::new().schema_type(SchemaType::Type(Type::String));
    Box::new(Schema::Object(text.build()).into())
}

/// What the reader of settings takes for a key.
fn types(key: &str) -> Vec<Type> {
    let mut types = Vec::new();
    let off = [("type".to_owned(), SettingValue::Text("off".into()))];
    for (kind, value) in [
        (Type::Object, SettingValue::Object(off.into())),
        (Type::Array, networks()),
        (Type::Integer, SettingValue::Number(1)),
    ] {
        if takes(key, value) {
            types.push(kind);
        }
    }
    types.extend([Type::String, Type::Null]);
    types
}

fn networks() -> SettingValue {
    SettingValue::List(vec!["10.0.0.0/8".into()])
}

fn takes(key: &str, value: SettingValue) -> bool {
    let values = SettingValues::from([(key.to_owned(), value)]);
    let defaults = PortSettings::default();
    defaults.with(&values, &defaults).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_the_types_that_it_takes() {
        let json = serde_json::to_value(change_schema()).unwrap();
        let properties = &json["properties"];
        assert_eq!(properties.as_object().unwrap().len(), SETTINGS.len() + 2);
        for (key, first) in [
            ("max_connections", "integer"),
            ("allowed_cidrs", "array"),
            ("health", "object"),
            ("policy", "string"),
        ] {
            assert_eq!(properties[key]["type"][0], first, "{json}");
        }
        assert_eq!(properties["limits"]["additionalProperties"], false);
        assert_eq!(json["additionalProperties"], false);
    }
}
