//! The documents and the routers hold the same operations: a route that is added without its
//! description would be in no document.

use std::{fs, path::Path};

use kit::http::Http;

use super::document::Reader;
use crate::gateway::{BASIC, Ground, LISTEN, VERSION};

const METHODS: [&str; 6] = ["get", "put", "post", "patch", "delete", "options"];

/// Every path with every method: those of the document are known, and no other is.
fn compare(reader: &mut Reader) {
    let operations = reader.operations();
    assert!(operations.len() >= 10, "{operations:?}");
    for (path, _) in &operations {
        // What a blank holds is not there: whatever is asked changes nothing.
        let place = path.replace(['{', '}'], "no-such.");
        // A stream would not end; a wrong question does.
        let place = place.replace("/v1/events", "/v1/events?follow=x");
        for method in METHODS {
            let is_known = operations.contains(&(path.clone(), method.to_owned()));
            let is_asked = method == "get" || path.contains('{');
            if is_known && !is_asked {
                continue;
            }
            let status = reader.status(&format!("{} {place}", method.to_uppercase()));
            assert_eq!(status != 405, is_known, "{method} {place}: {status}");
        }
    }
}

#[test]
fn both_documents_name_every_operation_and_no_other() {
    let ground = Ground::start("");
    compare(&mut Reader::new(Http::new(&ground.agent.socket()), ""));
    let http = Http::tcp(&ground.lab.node, LISTEN.parse().unwrap());
    compare(&mut Reader::new(http, &format!("{BASIC}{VERSION}")));
}

#[test]
fn no_route_is_added_without_its_description() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../harbor-ctl/src");
    let mut described = 0;
    for module in ["control", "gateway"] {
        for entry in fs::read_dir(root.join(module)).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap_or_default();
            described += text.matches("described!(").count();
            // The document itself is the one path that it does not describe.
            let plain = text.matches(".route(").count();
            let own = text.matches(".route(openapi::PLACE").count();
            assert_eq!(
                plain,
                own,
                "{} has a route without a description",
                path.display()
            );
        }
    }
    assert!(described > 20, "{described} routes");
}
