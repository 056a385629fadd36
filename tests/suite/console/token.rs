//! Signing in by the token, as people do: the name is left empty.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use kit::Browser;

use super::{
    browser::{address, at_the_door, sign_in},
    client::{Client, wait_for},
    scene_on,
};

const TOKEN: &str = "a-token-of-the-console-1";
const LATER: &str = "a-token-of-the-console-2";

fn write(path: &Path, token: &str) {
    fs::write(path, format!("{token}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Types into the form what does not sign in; the form says so, and forgets it.
#[track_caller]
fn is_refused(browser: &mut Browser, (name, password): (&str, &str)) {
    browser.fill("[name=name]", name);
    browser.fill("[name=password]", password);
    browser.follow("main button");
    let told = browser.value("document.querySelector('[role=alert]').innerText");
    assert_eq!(told, "wrong name or password");
    assert_eq!(browser.value("location.pathname"), "/sign-in");
    for (field, kept) in [("name", name), ("password", "")] {
        let field = format!("document.querySelector('[name={field}]')");
        assert_eq!(browser.value(&format!("{field}.value")), kept);
        let invalid = format!("{field}.getAttribute('aria-invalid')");
        assert_eq!(browser.value(&invalid), "true");
        let by = format!("document.getElementById({field}.getAttribute('aria-describedby'))");
        assert_eq!(browser.value(&format!("{by}.innerText")), told);
    }
}

#[test]
fn the_token_signs_in_without_a_name_until_it_is_another() {
    let mut file = None;
    let mut scene = scene_on(|lab| {
        let file = file.insert(lab.folder().join("console.token"));
        write(file, TOKEN);
        format!("token_file = {file:?}\n")
    });
    let file = file.unwrap();
    let mut browser = at_the_door(&scene.lab);
    let hint = browser.value("document.querySelector('main form').innerText");
    let hint = hint.as_str().unwrap();
    assert!(
        hint.contains("Leave it empty to sign in with the token"),
        "{hint}"
    );
    is_refused(&mut browser, ("", "a-token-of-nobody-at-all"));
    // The token is nobody's password, and no name stands for it.
    is_refused(&mut browser, ("ann", TOKEN));
    is_refused(&mut browser, ("token", TOKEN));
    sign_in(&mut browser, ("", TOKEN));
    browser.open(&address("/ports/create"));
    browser.fill("[name=name]", "web");
    browser.follow("main button[type=submit]");
    assert_eq!(scene.agent.items(&["ports", "list"]).len(), 1);
    let events = scene
        .agent
        .ctl_json(&["events", "--since", "1h"])
        .to_string();
    assert!(events.contains("console token"), "{events}");

    // The file is read at the start: until then the token in force is the one that was.
    let session = Client::signed_in(&scene.lab.node, ("", TOKEN));
    write(&file, LATER);
    assert_eq!(session.get("/").status, 200);
    let client = Client::new(&scene.lab.node);
    assert_eq!(client.sign_in("", LATER).status, 401);
    scene.agent.stop();
    scene.agent.restart();
    wait_for(&scene.lab.node);
    let location = session.get("/");
    assert_eq!(location.header("location"), Some("/sign-in"));
    assert_eq!(client.sign_in("", TOKEN).status, 401);
    browser.open(&address("/"));
    browser.until("location.pathname === '/sign-in'");
    sign_in(&mut browser, ("", LATER));
    let who = browser.value("document.querySelector('.who span').innerText");
    assert_eq!(who, "token");
}
