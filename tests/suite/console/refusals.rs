//! What cannot be shown or done: a page of the console says so, with the reason, and nobody is offered
//! what he may not do.

use super::{
    ADMIN, READER,
    attacks::PAGES,
    client::{Answer, Client, form, wait_for},
    html::{alert, forms},
    scene,
    stored::is_inert,
};

/// A page of the console with this status and reason.
#[track_caller]
fn is_page(answer: &Answer, status: u16, why: &str) {
    assert_eq!(answer.status, status, "{}", answer.body);
    let kind = answer.header("content-type").unwrap();
    assert!(kind.starts_with("text/html"), "{kind}: {}", answer.body);
    is_inert(&answer.body, why);
    let told = alert(&answer.body);
    assert!(told.contains(why), "{told:?} says nothing of {why:?}");
    // One can go on from there.
    assert!(
        answer.body.contains("aria-label=\"Pages\""),
        "{}",
        answer.body
    );
}

#[test]
fn whoever_may_only_look_finds_no_form_that_he_may_not_send() {
    let scene = scene("");
    wait_for(&scene.lab.node);
    let port = scene.port("web").port();
    let bob = Client::signed_in(&scene.lab.node, READER);
    let own = format!("/ports/{port}");
    for page in PAGES.into_iter().chain([&*own]) {
        let answer = bob.get(page);
        assert_eq!(answer.status, 200, "{page}");
        for form in forms(&answer.body) {
            let is_his = form.method == "get" || form.action == "/sign-out";
            assert!(is_his, "{page} offers {}", form.action);
        }
        assert!(!answer.body.contains("href=\"/ports/create\""), "{page}");
    }
    let why = "this user may look, and change nothing";
    let create = bob.get("/ports/create");
    is_page(&create, 403, why);
    assert!(!create.body.contains("action=\"/ports/create\""));
    for path in [
        "/ports/create",
        &format!("{own}/set"),
        &format!("{own}/drain"),
        &format!("{own}/delete"),
        &format!("{own}/backends"),
        "/nodes",
        "/settings",
    ] {
        is_page(&bob.post(path, &[("confirm", "web")]), 403, why);
    }
    assert_eq!(scene.agent.items(&["ports", "list"]).len(), 1);
}

#[test]
fn whatever_is_refused_is_a_page_with_its_reason() {
    let scene = scene("");
    wait_for(&scene.lab.node);
    scene.port("web");
    let ann = Client::signed_in(&scene.lab.node, ADMIN);
    for (path, why) in [
        ("/ports?page=", "page= is not a number from 1 on"),
        ("/ports?page=-1", "page=-1 is not a number from 1 on"),
        ("/ports?page=0", "page=0 is not a number"),
        ("/ports?page=x", "page=x is not a number"),
        ("/ports?page=99999999999999999999999", "is not a number"),
        ("/ports?state=best", "state=best is none of: up,"),
        ("/ports?sort=best", "sort=best is none of: port,"),
        (
            "/events?since=x",
            "this page cannot be asked for \"since\": it knows q, kind, audit",
        ),
        ("/events?kind=x", "kind=x is none of: port_allocated,"),
        ("/events?audit=x", "audit=x is none of: yes"),
        ("/backends?x=1", "cannot be asked for \"x\": it knows q"),
        ("/explain?x=1", "it knows src, dst, proto"),
        ("/?x=1", "it knows nothing"),
        ("/certificates?x=1", "it knows nothing"),
        ("/ports/create?x=1", "it knows nothing"),
        ("/settings?x=1", "it knows done"),
        ("/nodes?x=1", "it knows done"),
        ("/ports/web?x=1", "it knows done"),
        ("/ports?%3Cb%3E=1", "cannot be asked for \"<b>\""),
    ] {
        is_page(&ann.get(path), 400, why);
    }
    let no_page = "no such page";
    for path in ["/nothing", "/ports/web/nothing", "/assets/no/such"] {
        is_page(&ann.get(path), 404, no_page);
    }
    is_page(&ann.get("/ports/nobody"), 404, "no port nobody");
    is_page(&ann.post("/events", &[]), 405, "nothing can be sent");
    is_page(&ann.get("/sign-out"), 405, "nothing can be sent");
    is_page(&ann.get("/ports/%FF"), 400, "UTF-8");
    // Of another session, or of none: the form is loaded again.
    let token = form(&[("csrf", "x"), ("name", "evil")]);
    for path in ["/ports/create", "/settings", "/nodes", "/sign-out"] {
        let answer = ann.ask(&format!("POST {path}"), "", &token);
        is_page(&answer, 403, "load the page again");
    }
    let long = "x".repeat(100_000);
    is_page(&ann.post("/ports/create", &[("name", &long)]), 413, "");
    assert_eq!(scene.agent.items(&["ports", "list"]).len(), 1);
}

#[test]
fn whoever_is_not_signed_in_learns_of_no_page() {
    let scene = scene("");
    wait_for(&scene.lab.node);
    let stranger = Client::new(&scene.lab.node);
    for path in ["/nothing", "/ports/web", "/ports?page=-1", "/sign-out"] {
        let answer = stranger.get(path);
        let to = (answer.status, answer.header("location"));
        assert_eq!(to, (303, Some("/sign-in")), "{path}");
    }
    // A form that cannot be read is a page there too.
    let answer = stranger.ask("POST /sign-in", "", "%");
    let wrong = stranger.ask("PUT /sign-in", "", "");
    for answer in [answer, wrong] {
        let kind = answer.header("content-type").unwrap();
        assert!(kind.starts_with("text/html"), "{}: {kind}", answer.status);
        is_inert(&answer.body, "/sign-in");
    }
}
