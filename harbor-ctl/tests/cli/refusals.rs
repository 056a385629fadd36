//! Bad input: the error, the exit code, and that nothing changed.

use crate::rig::Rig;

#[test]
fn bad_names_are_refused_and_shown_harmlessly() {
    let rig = Rig::with_range("33100-33109");
    let long = "a".repeat(300);
    for name in [
        "",
        "two words",
        "new\nline",
        "\u{1b}[31mred",
        "\u{fc}",
        "a/b",
        "a\u{7}",
        &long,
    ] {
        rig.ctl(&["ports", "create", name])
            .refused(2, &["name", "fix:"]);
    }
    rig.create(&[&"a".repeat(64)]);
    rig.ctl(&["ports", "create", &"a".repeat(65)])
        .refused(2, &["64"]);
    rig.ctl(&["ports", "create", &"a".repeat(64)])
        .refused(5, &["fix:"]);
    assert_eq!(rig.items(&["ports", "list"]).len(), 1);
}

#[test]
fn bad_backends_are_refused_by_every_way_in() {
    let rig = Rig::with_range("33110-33119");
    rig.create(&["web"]);
    for address in [
        "127.0.0.1:80",
        "169.254.169.254:80",
        "224.0.0.1:80",
        "255.255.255.255:80",
        "0.0.0.0:80",
        "10.0.0.1:0",
        "10.0.0.1:70000",
        "10.0.0.1",
        "nonsense",
        "2001:db8::1",
        "[fe80::1]:80",
        "[::1]:80",
        "[ff02::1]:80",
        "[fd00:ec2::254]:80",
        "[::ffff:10.0.0.1]:80",
    ] {
        rig.ctl(&["backends", "add", "web", address])
            .refused(2, &["fix:"]);
        rig.ctl(&["ports", "create", "other", "--backend", address])
            .refused(2, &["fix:"]);
    }
    assert_eq!(rig.items(&["ports", "list"]).len(), 1);
    assert_eq!(rig.items(&["backends", "list"]).len(), 0);
}

#[test]
fn an_allowed_network_may_hold_backends() {
    let rig = Rig::start("[policy]\nallow_networks = [\"127.0.0.0/8\"]\n");
    rig.create(&["web", "--backend", "127.0.0.1:80"]);
    rig.ctl(&["backends", "add", "web", "169.254.0.1:80"])
        .refused(2, &["allow_networks"]);
}

#[test]
fn backends_come_drain_return_and_go() {
    let rig = Rig::with_range("33120-33129");
    rig.create(&["web", "--backend", "10.0.0.1:80"]);
    rig.ctl(&[
        "backends",
        "add",
        "web",
        "10.0.0.2:80",
        "--instance",
        "second",
    ])
    .ok();
    rig.ctl(&[
        "backends",
        "add",
        "web",
        "10.0.0.2:80",
        "--instance",
        "second",
    ])
    .ok();
    rig.ctl(&[
        "backends",
        "add",
        "web",
        "10.0.0.3:80",
        "--instance",
        "second",
    ])
    .refused(5, &["second", "fix:"]);
    let states = || {
        let items = rig.items(&["backends", "list", "web"]);
        let pair =
            |i: &serde_json::Value| format!("{} {}", i["instance"], i["state"]).replace('"', "");
        items.iter().map(pair).collect::<Vec<_>>()
    };
    assert_eq!(states(), ["10.0.0.1-80 up", "second up"]);
    rig.ctl(&["backends", "drain", "web", "10.0.0.1:80"]).ok();
    assert_eq!(states(), ["10.0.0.1-80 draining", "second up"]);
    rig.ctl(&["backends", "add", "web", "10.0.0.1:80"]).ok();
    assert_eq!(
        states(),
        ["second up", "10.0.0.1-80 up"],
        "it went to the end"
    );
    rig.ctl(&["backends", "remove", "web", "second"]).ok();
    assert_eq!(states()[0], "second leaving");
    rig.ctl(&["backends", "remove", "web", "second", "--now"])
        .ok();
    rig.ctl(&["backends", "remove", "web", "second"])
        .refused(4, &["second", "fix:"]);
    assert_eq!(states(), ["10.0.0.1-80 up"]);
}

#[test]
fn a_removal_says_whether_the_backend_is_gone_already() {
    let rig = Rig::with_range("33280-33289");
    rig.create(&[
        "web",
        "--backend",
        "10.0.0.1:80",
        "--backend",
        "10.0.0.2:80",
    ]);
    let remove = |address: &str| rig.json(&["backends", "remove", "web", address])["state"].clone();
    assert_eq!(remove("10.0.0.1:80"), "leaving");
    rig.ctl(&["ports", "set", "web", "drain_s=0"]).ok();
    rig.ctl(&["backends", "drain", "web", "10.0.0.2:80"]).ok();
    assert_eq!(remove("10.0.0.2:80"), "gone");
}

#[test]
fn a_leaving_backend_is_gone_after_its_drain() {
    let rig = Rig::with_range("33130-33139");
    rig.create(&["web", "--backend", "10.0.0.1:80"]);
    rig.ctl(&["ports", "set", "web", "drain_s=1"]).ok();
    rig.ctl(&["backends", "remove", "web", "10.0.0.1:80"]).ok();
    crate::rig::until("it is gone", || {
        rig.items(&["backends", "list"]).is_empty().then_some(())
    });
}

#[test]
fn draining_a_port_is_undone_by_resume() {
    let rig = Rig::with_range("33150-33159");
    rig.create(&["web"]);
    rig.ctl(&["ports", "drain", "web"]).ok();
    let service = || {
        let socket = rig.path("run").join("harbor.sock");
        request(&socket, "GET /v1/services HTTP/1.0\r\n\r\n")
    };
    assert!(service().contains("\"draining\":true"), "{}", service());
    rig.ctl(&["ports", "resume", "web"]).ok();
    assert!(service().contains("\"draining\":false"), "{}", service());
}

#[test]
fn unknown_things_are_not_found_and_usage_errors_are_2() {
    let rig = Rig::with_range("33160-33169");
    for words in [
        &["ports", "show", "nobody"][..],
        &["flows", "list", "-p", "39999"],
    ] {
        rig.ctl(words).refused(4, &["fix:"]);
    }
    rig.ctl(&["ports", "show", "a/b/c"]).refused(2, &["fix:"]);
    for words in [
        &["nonsense"][..],
        &["ports"],
        &["ports", "create"],
        &["ports", "list", "-o", "xml"],
    ] {
        assert_eq!(rig.ctl(words).code, 2, "{words:?}");
    }
    rig.ctl(&["ports", "create", "x", "--protocol", "s\u{1b}ctp"])
        .refused(2, &["tcp"]);
}

#[test]
fn deletion_needs_yes_without_a_terminal() {
    let rig = Rig::with_range("33170-33179");
    rig.create(&["web"]);
    rig.ctl(&["ports", "delete", "web"]).refused(2, &["--yes"]);
    assert_eq!(rig.items(&["ports", "list"]).len(), 1);
    rig.ctl(&["ports", "delete", "web", "--yes"]).ok();
    rig.ctl(&["ports", "delete", "web", "--yes"])
        .refused(4, &[]);
}

#[test]
fn without_an_agent_the_exit_code_is_3_and_the_fix_is_named() {
    let rig = Rig::configured("");
    for words in [
        &["status"][..],
        &["ports", "list"],
        &["ports", "create", "web"],
    ] {
        rig.ctl(words)
            .refused(3, &["harbor.sock", "fix:   systemctl start harbor"]);
    }
    let json = rig.ctl(&["ports", "list", "-o", "json"]);
    let body: serde_json::Value = serde_json::from_str(&json.stderr).unwrap();
    assert_eq!((json.code, &body["error"]), (3, &"unreachable".into()));
    rig.ctl(&["status", "--wait", "--timeout", "300ms"])
        .refused(8, &["not running"]);
}

#[test]
fn the_api_refuses_what_it_does_not_know() {
    let rig = Rig::with_range("33180-33189");
    let socket = rig.path("run").join("harbor.sock");
    let post = |body: &str| {
        let length = body.len();
        let head = format!("POST /v1/ports HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}");
        request(&socket, &head)
    };
    let answer = post(r#"{"name":"web","colour":"red"}"#);
    assert!(answer.starts_with("HTTP/1.0 400"), "{answer}");
    assert!(answer.contains(r#""error":"unknown_field""#), "{answer}");
    assert!(answer.contains(r#""field":"colour""#), "{answer}");
    assert!(post("nonsense").contains(r#""error":"invalid""#));
    assert!(post(&" ".repeat(70_000)).starts_with("HTTP/1.0 413"));
    let get = |path: &str| request(&socket, &format!("GET {path} HTTP/1.0\r\n\r\n"));
    assert!(get("/v1/nothing").starts_with("HTTP/1.0 404"));
    assert!(get("/v1/ports?colour=red").contains(r#""error":"unknown_field""#));
    assert!(get("/v1/ports?limit=0").contains(r#""field":"limit""#));
    assert!(get("/healthz").starts_with("HTTP/1.0 200"));
    assert!(
        get("/readyz").starts_with("HTTP/1.0 200"),
        "the proxy forwards"
    );
    assert!(request(&socket, "PUT /v1/ports HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 405"));
    assert_eq!(rig.items(&["ports", "list"]).len(), 0);
}

#[test]
fn lists_come_in_pages() {
    let rig = Rig::with_range("33190-33199");
    for name in ["a", "b", "c"] {
        rig.create(&[name]);
    }
    let socket = rig.path("run").join("harbor.sock");
    let get = |path: &str| {
        let answer = request(&socket, &format!("GET {path} HTTP/1.0\r\n\r\n"));
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str::<serde_json::Value>(body).unwrap()
    };
    let first = get("/v1/ports?limit=2");
    assert_eq!(first["items"].as_array().unwrap().len(), 2);
    let token = first["continue"].as_str().unwrap().replace(' ', "%20");
    let second = get(&format!("/v1/ports?limit=2&continue={token}"));
    assert_eq!(second["items"].as_array().unwrap().len(), 1);
    assert!(second["continue"].is_null());
}

/// One raw request over the socket.
pub(crate) fn request(socket: &std::path::Path, text: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    // A server that answers early may close before everything is written.
    let _ = stream.write_all(text.as_bytes());
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}
