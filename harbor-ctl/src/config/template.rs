//! What is made from the table of keys alone: the annotated file, the schema for editors, and the
//! answer to what a key is.

use serde_json::{Map, Value as Json, json};

use super::keys::{Applies, KEYS, Key, Kind};

const HEAD: &str =
    "# Harbor's configuration. Every key stands here with its default; remove the # to change it.
# `harbor-ctl config set KEY VALUE` edits this file and keeps its comments.
";

/// Keys by section, in the order of the table.
fn sections() -> Vec<(&'static str, Vec<&'static Key>)> {
    let mut sections: Vec<(&str, Vec<&Key>)> = Vec::new();
    for key in KEYS {
        match sections.last_mut() {
            Some((name, keys)) if *name == key.section => keys.push(key),
            _ => sections.push((key.section, vec![key])),
        }
    }
    sections
}

/// A file in which every key stands with its default and its meaning, commented out.
pub(crate) fn template() -> String {
    let mut text = HEAD.to_owned();
    for (section, keys) in sections() {
        text.push_str(&format!("\n[{section}]\n"));
        for key in keys {
            let restart = match key.applies {
                Applies::AtOnce => "",
                Applies::OnRestart => " (read at start)",
            };
            let Key {
                name,
                default,
                meaning,
                ..
            } = key;
            text.push_str(&format!("# {meaning}{restart}\n#{name} = {default}\n"));
        }
    }
    text
}

/// The JSON schema of a file.
pub(crate) fn schema() -> Json {
    let closed = |properties: Map<String, Json>| json!({"type": "object", "properties": properties, "additionalProperties": false});
    let section = |(name, keys): (&str, Vec<&Key>)| {
        let properties = keys
            .into_iter()
            .map(|key| (key.name.to_owned(), of_key(key)));
        (name.to_owned(), closed(properties.collect()))
    };
    let mut schema = closed(sections().into_iter().map(section).collect());
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema["title"] = "Harbor's configuration".into();
    schema
}

fn of_key(key: &Key) -> Json {
    let mut schema = match key.kind {
        Kind::Text => json!({"type": "string"}),
        Kind::Number => json!({"type": "integer"}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::List => json!({"type": "array", "items": {"type": "string"}}),
    };
    schema["description"] = key.meaning.into();
    if let Ok(Json::Object(default)) = toml::from_str(&format!("default = {}", key.default)) {
        schema["default"] = default["default"].clone();
    }
    if !key.choices.is_empty() {
        schema["enum"] = key.choices.into();
    }
    if let Some((least, most)) = key.bounds {
        schema["minimum"] = least.into();
        schema["maximum"] = most.into();
    }
    if let Some(pattern) = key.form.pattern() {
        schema["pattern"] = pattern.into();
    }
    schema
}

/// The values that a key may have, in words.
pub(crate) fn valid_values(key: &Key) -> String {
    if !key.choices.is_empty() {
        let choices: Vec<String> = key.choices.iter().map(|c| format!("{c:?}")).collect();
        return choices.join(", ");
    }
    let kind = match key.kind {
        Kind::Text => "a text",
        Kind::Number => "a whole number",
        Kind::Bool => "true or false",
        Kind::List => "a list of texts, on the command line separated by commas",
    };
    match (key.bounds, key.form.words()) {
        (Some((least, most)), _) => format!("a whole number from {least} to {most}"),
        (None, "") => kind.to_owned(),
        (None, words) => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_in_the_template_and_in_the_schema() {
        let (text, schema) = (template(), schema());
        for key in KEYS {
            let line = format!("#{} = {}\n", key.name, key.default);
            assert!(text.contains(&line), "{line}");
            let property = &schema["properties"][key.section]["properties"][key.name];
            assert!(property["default"] != Json::Null, "{}", key.path());
            assert!(!valid_values(key).is_empty());
        }
    }
}
