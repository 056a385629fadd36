//! A served document, and answers checked against it. Schemas are closed before they are used: an
//! answer may not hold what the document does not name.

use std::collections::BTreeSet;

use kit::http::Http;
use serde_json::{Map, Value, json};

/// A client that asks by the document's paths, and checks each answer.
pub(super) struct Reader {
    http: Http,
    header: String,
    document: Value,
    /// Operations that were answered with success.
    seen: BTreeSet<(String, String)>,
}

/// What is asked: method and the document's path, the same with its blanks filled, and the body.
pub(super) struct Question<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) place: &'a str,
    pub(super) body: Value,
}

impl Reader {
    /// Reads the document that is served.
    pub(super) fn new(mut http: Http, header: &str) -> Self {
        let (status, body) = http.ask("GET /openapi.json", "", b"").unwrap();
        assert_eq!(status, 200);
        let mut document: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        close_all(&mut document);
        Self {
            http,
            header: header.into(),
            document,
            seen: BTreeSet::new(),
        }
    }

    /// Asks; the answer must be one that the document knows for the operation.
    #[track_caller]
    pub(super) fn ask(&mut self, question: Question<'_>) -> (u16, Value) {
        let Question {
            method,
            path,
            place,
            body,
        } = question;
        let bytes = match &body {
            Value::Null => Vec::new(),
            body => body.to_string().into_bytes(),
        };
        let line = format!("{} {place}", method.to_uppercase());
        let (status, bytes) = self.http.ask(&line, &self.header, &bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let answer = serde_json::from_str(&text).unwrap_or(Value::String(text));
        self.check((method, path), (status, &answer));
        if status < 300 {
            self.seen.insert((path.into(), method.into()));
        }
        (status, answer)
    }

    #[track_caller]
    fn check(&self, (method, path): (&str, &str), (status, answer): (u16, &Value)) {
        let escaped = path.replace('~', "~0").replace('/', "~1");
        let place = format!("/paths/{escaped}/{method}/responses/{status}/content");
        let content = self.document.pointer(&place);
        let content = content.unwrap_or_else(|| panic!("no {status} of {method} {path}: {answer}"));
        let kind = content.as_object().unwrap().keys().next().unwrap();
        let place = format!("#{place}/{}/schema", kind.replace('/', "~1"));
        let mut schema = self.document.clone();
        schema["$ref"] = json!(place.replace('{', "%7B").replace('}', "%7D"));
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        let wrong: Vec<String> = validator
            .iter_errors(answer)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(
            wrong.is_empty(),
            "{method} {path} {status}: {wrong:#?}\n{answer:#}"
        );
    }

    /// Every operation of the document.
    pub(super) fn operations(&self) -> BTreeSet<(String, String)> {
        operations(&self.document)
    }

    /// Operations that were never answered with success.
    pub(super) fn unseen(&self) -> BTreeSet<(String, String)> {
        self.operations().difference(&self.seen).cloned().collect()
    }

    /// Asks as it is, without a check.
    pub(super) fn status(&mut self, line: &str) -> u16 {
        self.http.ask(line, &self.header, b"").unwrap().0
    }
}

/// Path and method of each.
fn operations(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().unwrap();
    let each = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().keys();
        methods.map(move |method| (path.clone(), method.clone()))
    });
    each.collect()
}

/// Closes every schema where it is used.
fn close_all(document: &mut Value) {
    if let Some(paths) = document["paths"].as_object_mut() {
        let operations = paths.values_mut().filter_map(Value::as_object_mut);
        for operation in operations.flat_map(Map::values_mut) {
            let responses = operation["responses"].as_object_mut().unwrap();
            for content in responses.values_mut().map(|answer| &mut answer["content"]) {
                let kinds = content
                    .as_object_mut()
                    .into_iter()
                    .flat_map(Map::values_mut);
                kinds.for_each(|kind| close(&mut kind["schema"]));
            }
        }
    }
    let schemas = document["components"]["schemas"].as_object_mut().unwrap();
    schemas.values_mut().for_each(close_inside);
}

/// Closes a schema and all that are used in it.
fn close(schema: &mut Value) {
    close_inside(schema);
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    let is_shape = ["$ref", "allOf", "oneOf", "properties"]
        .iter()
        .any(|key| object.contains_key(*key));
    if is_shape && !object.contains_key("additionalProperties") {
        object.insert("unevaluatedProperties".into(), false.into());
    }
}

/// Closes schemas that are used inside, and leaves this one open: it may be a part of a larger one.
fn close_inside(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    for (key, value) in object {
        match key.as_str() {
            "properties" => value
                .as_object_mut()
                .into_iter()
                .flat_map(Map::values_mut)
                .for_each(close),
            "items" | "additionalProperties" => close(value),
            "allOf" | "oneOf" | "anyOf" => value
                .as_array_mut()
                .into_iter()
                .flatten()
                .for_each(close_inside),
            _ => {}
        }
    }
}
