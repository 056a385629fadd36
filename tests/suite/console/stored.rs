//! Text that others choose, on the console's pages: whatever tenants, app hosts, processes and guests at
//! the door are called, pages show it as text.

use std::{collections::BTreeSet, os::unix::fs::symlink};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kit::{Process, http::Http};
use serde_json::json;

use super::{
    ADMIN,
    client::{Client, wait_for},
    scene,
};
use crate::gateway::{BASIC, LISTEN as GATEWAY, VERSION, gateway, order};

/// What browsers have been made to run, in elements, attributes, addresses, styles, comments and templates.
pub(super) const PAYLOADS: [&str; 40] = [
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//x.example/x.js></SCRIPT>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<img src=x onerror=alert(1)>",
    "<img src=\"x\" onerror=\"alert(1)\">",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg/onload=alert(1)>",
    "<body onload=alert(1)>",
    "<iframe src=javascript:alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<a href=javascript:alert(1)>x</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "<form action=//x.example><input name=csrf>",
    "<button formaction=//x.example>x</button>",
    "<input autofocus onfocus=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<video><source onerror=alert(1)></video>",
    "<object data=javascript:alert(1)>",
    "<embed src=//x.example/x.swf>",
    "<link rel=stylesheet href=//x.example/x.css>",
    "<meta http-equiv=refresh content='0;url=//x.example'>",
    "<base href=//x.example/>",
    "<style>@import '//x.example/x.css';</style>",
    "<div style=background:url(//x.example/x)>",
    "<math><mtext><script>alert(1)</script></mtext></math>",
    "<template><script>alert(1)</script></template>",
    "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">",
    "<!--<img src=\"--><img src=x onerror=alert(1)//\">",
    "</title><script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    "</td></table><script>alert(1)</script>",
    "\"><script>alert(1)</script>",
    "'><script>alert(1)</script>",
    "\" onmouseover=\"alert(1)",
    "' onmouseover='alert(1)",
    "` onmouseover=alert(1) `",
    "javascript:alert(1)//",
    "{{constructor.constructor('alert(1)')()}}",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
];

/// Elements that pages are made of.
const ELEMENTS: &[&str] = &[
    "a", "abbr", "article", "aside", "b", "body", "button", "caption", "code", "dd", "details",
    "div", "dl", "dt", "em", "fieldset", "footer", "form", "h1", "h2", "h3", "head", "header",
    "html", "input", "label", "legend", "li", "link", "main", "meta", "nav", "ol", "option", "p",
    "script", "section", "select", "small", "span", "strong", "summary", "table", "tbody", "td",
    "textarea", "th", "thead", "time", "title", "tr", "ul", "output",
];

/// One tag of a page: the element's name, and its attributes with their values.
struct Tag {
    name: String,
    attributes: Vec<(String, String)>,
}

/// The tags of a page, as a browser reads them that forgives nothing.
fn tags(page: &str) -> Vec<Tag> {
    let mut found = Vec::new();
    for piece in page.split('<').skip(1) {
        if piece.starts_with('/') || piece.starts_with("!DOCTYPE") {
            continue;
        }
        let end = piece.find(|c: char| !c.is_ascii_alphanumeric());
        let (name, rest) = piece.split_at(end.unwrap_or(piece.len()));
        found.push(Tag {
            name: name.to_owned(),
            attributes: attributes(rest),
        });
    }
    found
}

pub(super) fn attributes(mut rest: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() || rest.starts_with('>') {
            return found;
        }
        let end = rest.find(|c: char| c.is_whitespace() || "=>".contains(c));
        let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
        let value = match after.strip_prefix("=\"") {
            None => {
                rest = after.trim_start_matches('=');
                String::new()
            }
            Some(quoted) => {
                let (value, after) = quoted.split_once('"').unwrap_or((quoted, ""));
                rest = after;
                value.to_owned()
            }
        };
        found.push((name.to_owned(), value));
    }
}

/// Nothing on the page is more than text, or is anybody's but the console's.
#[track_caller]
pub(super) fn is_inert(page: &str, place: &str) {
    for Tag { name, attributes } in tags(page) {
        assert!(ELEMENTS.contains(&&*name), "{place}: <{name}>");
        let has_source = attributes.iter().any(|(key, _)| key == "src");
        assert!(name != "script" || has_source, "{place}: a script within");
        for (key, value) in attributes {
            assert!(
                !key.starts_with("on") && key != "http-equiv" && key != "style" && key != "srcdoc",
                "{place}: <{name} {key}={value}>"
            );
            let leads = ["href", "src", "action", "formaction", "data"].contains(&&*key);
            let is_own =
                value.starts_with('/') && !value.starts_with("//") || value.starts_with('#');
            assert!(!leads || is_own, "{place}: <{name} {key}={value}>");
        }
    }
}

#[test]
fn what_the_check_looks_for_it_finds() {
    let breaks = |page: &str| std::panic::catch_unwind(|| is_inert(page, "")).is_err();
    for payload in &PAYLOADS[..34] {
        assert!(breaks(&format!("<p>{payload}</p>")), "{payload}");
    }
    assert!(breaks("<p title=\"\" onmouseover=\"alert(1)\">"));
    assert!(breaks("<a href=\"javascript:alert(1)//\">"));
    assert!(!breaks(
        "<!DOCTYPE html><p class=\"x\"><a href=\"/ports\">&lt;script&gt;</a></p>"
    ));
}

/// Everything that a payload can be put into by somebody who may not change the console's pages.
struct Strangers {
    platform: Http,
    socket: Http,
}

impl Strangers {
    fn say(&mut self, number: usize, payload: &str) {
        let identity = STANDARD.encode(json!({"user_id": payload}).to_string());
        let mut body = order(&format!("db-{number}"), &json!({}));
        body["organization_guid"] = payload.into();
        body["space_guid"] = payload.into();
        body["context"]["organization_name"] = payload.into();
        let header = format!(
            "{BASIC}{VERSION}X-Broker-API-Originating-Identity: cloudfoundry {identity}\r\n"
        );
        for (id, body) in [
            (format!("i-{number}"), body.clone()),
            ("again".into(), {
                body["context"]["instance_name"] = payload.into();
                body
            }),
        ] {
            let line = format!("PUT /v2/service_instances/{id}");
            let asked = self
                .platform
                .ask(&line, &header, body.to_string().as_bytes());
            let (status, answer) = asked.unwrap();
            assert!(
                status < 500,
                "{payload}: {}",
                String::from_utf8_lossy(&answer)
            );
        }
        for field in ["dea", "service", "instance", "ip", "state"] {
            let mut said = json!({
                "v": 1, "dea": format!("dea-{number}"), "epoch": 1, "seq": 1, "service": "web",
                "instance": "i-1", "ip": "10.77.2.11", "port": 9_001, "state": "up"
            });
            said[field] = payload.into();
            let asked = self
                .socket
                .post("/v1/announce", said.to_string().as_bytes());
            assert!(asked.unwrap().0 < 500, "{payload}");
        }
        let create = json!({"name": payload, "settings": {}}).to_string();
        assert!(self.socket.post("/v1/ports", create.as_bytes()).unwrap().0 < 500);
    }
}

#[test]
fn what_strangers_are_called_is_text_on_every_page() {
    let scene = scene_with_platform();
    let node = &scene.lab.node;
    wait_for(node);
    let web = scene.agent.create(&["web", "--backend", "10.77.2.11:9001"]);
    let ann = Client::signed_in(node, ADMIN);
    let mut strangers = Strangers {
        platform: Http::tcp(node, GATEWAY.parse().unwrap()),
        socket: Http::new(&scene.agent.socket()),
    };
    let mut shown = BTreeSet::new();
    for (number, payload) in PAYLOADS.into_iter().enumerate() {
        strangers.say(number, payload);
        let escaped = payload
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;");
        let ports: Vec<String> = scene
            .agent
            .items(&["ports", "list"])
            .iter()
            .map(|port| format!("/ports/{}", port["port"]))
            .collect();
        let own = ports.last().cloned().unwrap_or_default();
        for page in [
            "/",
            "/ports",
            &own,
            &format!("/ports/{web}"),
            "/backends",
            "/nodes",
            "/events",
            "/settings",
            "/certificates",
            &format!("/explain?src={}", super::client::form(&[("", payload)])),
            &format!("/ports?q={}", super::client::form(&[("", payload)])),
        ] {
            let answer = ann.get(page);
            assert!(answer.status < 500, "{page}: {}", answer.body);
            is_inert(&answer.body, page);
            if answer.body.contains(&escaped) {
                shown.insert(payload);
            }
        }
    }
    // Pages that showed nothing of it would prove nothing.
    assert!(shown.len() > 35, "{} were shown: {shown:?}", shown.len());
}

fn scene_with_platform() -> crate::scene::Scene {
    super::scene_on(gateway)
}

#[test]
fn a_process_that_holds_a_number_may_be_called_what_it_likes() {
    let scene = scene("");
    let node = &scene.lab.node;
    wait_for(node);
    // The kernel keeps fifteen octets of a name.
    let name = "<img src=x>";
    let program = scene.lab.folder().join(name);
    symlink(kit::binary("harbor-traffic"), &program).unwrap();
    let (folder, port) = (scene.lab.folder(), 35_700_u16);
    let mut command = node.command(&program);
    command.args(["hold", &port.to_string()]);
    let _holder = Process::start(&mut command, folder, "holder");
    let ann = Client::signed_in(node, ADMIN);
    kit::eventually(std::time::Duration::from_secs(10), || {
        let text = port.to_string();
        let refused = ann.post("/ports/create", &[("name", "web"), ("port", &text)]);
        is_inert(&refused.body, "create");
        refused.status == 422 && refused.body.contains("&lt;img src=x&gt;")
    });
}
