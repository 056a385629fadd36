//! What attackers try: forms and scripts of other sites, other names, other people's sessions, and
//! passwords.

use super::{
    ADMIN, READER,
    client::{Client, form, wait_for},
    scene,
};

pub(super) const PAGES: [&str; 8] = [
    "/",
    "/ports",
    "/backends",
    "/nodes",
    "/events",
    "/explain",
    "/settings",
    "/certificates",
];

#[test]
fn forms_of_other_sites_other_names_and_other_sessions_change_nothing() {
    let scene = scene("");
    let node = &scene.lab.node;
    wait_for(node);
    let ann = Client::signed_in(node, ADMIN);
    let fields = |csrf: &str| form(&[("csrf", csrf), ("name", "evil")]);
    let own = fields(&ann.csrf);
    let create = "POST /ports/create";

    // A form of another site, a frame without an origin, and what newer browsers say themselves.
    for header in [
        "Origin: http://evil.example\r\n",
        "Origin: null\r\n",
        "Origin: http://127.0.0.1:1\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
    ] {
        assert_eq!(ann.ask(create, header, &own).status, 403, "{header}");
    }
    // A name that was made to lead here, with and without an origin that agrees with it.
    for header in [
        "Host: evil.example:9443\r\n",
        "Host: evil.example:9443\r\nOrigin: http://evil.example:9443\r\n",
    ] {
        assert_eq!(ann.ask(create, header, &own).status, 403, "{header}");
        assert_eq!(ann.ask("GET /", header, "").status, 403, "{header}");
    }
    // No token, a wrong one, another session's.
    let other = Client::signed_in(node, ADMIN);
    for token in ["", "x", &other.csrf] {
        assert_eq!(ann.ask(create, "", &fields(token)).status, 403, "{token}");
    }
    // Nobody, and a session that an attacker has chosen.
    let mut stranger = Client::new(node);
    for cookie in ["", "harbor-console=0123456789abcdef"] {
        stranger.cookie = cookie.to_owned();
        let answer = stranger.ask(create, "", &own);
        assert_eq!(
            (answer.status, answer.header("location")),
            (303, Some("/sign-in"))
        );
        for page in PAGES {
            assert_eq!(
                stranger.get(page).header("location"),
                Some("/sign-in"),
                "{page}"
            );
        }
        assert_eq!(stranger.get("/live").status, 401);
    }
    assert!(scene.agent.items(&["ports", "list"]).is_empty());
    // The same form changes something where it is the user's own: the refusals above were no accident.
    let done = ann.post("/ports/create", &[("name", "web")]);
    assert_eq!(done.status, 303, "{}", done.body);
    assert_eq!(scene.agent.items(&["ports", "list"]).len(), 1);
}

#[test]
fn sessions_are_made_at_sign_in_end_at_sign_out_and_readers_only_look() {
    let scene = scene("");
    let node = &scene.lab.node;
    wait_for(node);
    let mut chosen = Client::new(node);
    chosen.cookie = "harbor-console=chosen".to_owned();
    let answer = chosen.sign_in(ADMIN.0, ADMIN.1);
    let cookie = answer.header("set-cookie").unwrap();
    assert!(!cookie.contains("chosen"), "{cookie}");
    for word in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(word), "{cookie}");
    }
    assert_eq!(chosen.get("/").status, 303, "the chosen one is nobody's");

    let bob = Client::signed_in(node, READER);
    for page in PAGES {
        let answer = bob.get(page);
        assert_eq!(answer.status, 200, "{page}: {}", answer.body);
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert!(answer.body.len() < 150_000, "{page}: {}", answer.body.len());
    }
    for (path, fields) in [
        ("/ports/create", &[("name", "web")][..]),
        (
            "/settings",
            &[("key", "ports.rest"), ("was", "60s"), ("ports.rest", "1s")],
        ),
        ("/nodes", &[("id", "harbor_node_1"), ("draining", "on")]),
    ] {
        assert_eq!(bob.post(path, fields).status, 403, "{path}");
    }
    assert!(scene.agent.items(&["ports", "list"]).is_empty());
    let out = bob.post("/sign-out", &[]);
    assert_eq!(out.header("location"), Some("/sign-in"));
    assert_eq!(bob.get("/").status, 303, "the session has ended");
}

#[test]
fn a_guess_that_is_right_is_none_once_there_were_too_many() {
    let scene = scene("");
    let node = &scene.lab.node;
    wait_for(node);
    let client = Client::new(node);
    for n in 0..30 {
        let status = client.sign_in(ADMIN.0, &n.to_string()).status;
        assert!([401, 429].contains(&status), "{status}");
    }
    assert_eq!(client.sign_in(ADMIN.0, ADMIN.1).status, 429);
}

#[test]
fn whoever_changed_it_meanwhile_is_not_overwritten_and_a_wrong_value_stands_at_its_field() {
    let scene = scene("");
    let node = &scene.lab.node;
    wait_for(node);
    let ann = Client::signed_in(node, ADMIN);
    let set = |was: &str, value: &str| {
        ann.post(
            "/settings",
            &[("key", "ports.rest"), ("was", was), ("ports.rest", value)],
        )
    };
    let value = || {
        let items = scene.agent.items(&["config", "show"]);
        let item = items
            .iter()
            .find(|item| item["key"] == "ports.rest")
            .unwrap();
        item["value"].as_str().unwrap().to_owned()
    };
    assert_eq!(set("60s", "50s").status, 303);
    assert_eq!(value(), "50s");
    let late = set("60s", "40s");
    assert_eq!(late.status, 422);
    assert!(
        late.body
            .contains("somebody has changed ports.rest meanwhile"),
        "{}",
        late.body
    );
    let wrong = set("50s", "soon<b>");
    assert_eq!(wrong.status, 422);
    let field = "id=\"ports.rest\" name=\"ports.rest\" value=\"soon&lt;b&gt;\"";
    assert!(wrong.body.contains(field), "{}", wrong.body);
    assert!(wrong.body.contains("aria-invalid=\"true\""));
    assert_eq!(value(), "50s");

    let port = scene.agent.create(&["web"]).to_string();
    let path = |verb: &str| format!("/ports/{port}/{verb}");
    assert_eq!(
        ann.post(&path("set"), &[("was.drain_s", "30"), ("drain_s", "5")])
            .status,
        303
    );
    let late = ann.post(&path("set"), &[("was.drain_s", "30"), ("drain_s", "6")]);
    assert_eq!(late.status, 422, "{}", late.body);
    assert_eq!(
        scene.agent.ctl_json(&["ports", "show", &port])["settings"]["drain_s"],
        5
    );
    assert_eq!(
        ann.post(&path("delete"), &[("confirm", "webb")]).status,
        422
    );
    assert_eq!(scene.agent.items(&["ports", "list"]).len(), 1);
    assert_eq!(ann.post(&path("delete"), &[("confirm", "web")]).status, 303);
    assert!(scene.agent.items(&["ports", "list"]).is_empty());
    let events = ann.get("/events").body;
    assert!(events.contains("console ann from 127.0.0.1"), "{events}");
}
