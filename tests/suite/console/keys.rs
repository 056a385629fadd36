//! What people do with keys alone: each is pressed in a real browser. Nothing is clicked, and no script
//! moves the focus.

use kit::Browser;

use super::{
    ADMIN,
    browser::{at_the_door, complains_of},
    scene,
};

/// Presses Tab until the focus is where the expression says.
#[track_caller]
fn tab_to(browser: &mut Browser, what: &str) {
    let is_there = format!("(e => {what})(document.activeElement)");
    for _ in 0..200 {
        browser.press("Tab");
        if browser.value(&is_there) == true {
            return;
        }
    }
    panic!("no Tab leads to {what}");
}

/// Presses Enter, and waits for the page that this leads to.
#[track_caller]
fn enter(browser: &mut Browser) {
    browser.value("window.isLeft = true");
    browser.press("Enter");
    browser.until("!window.isLeft && document.readyState === 'complete'");
}

/// What the field that is typed into holds.
#[track_caller]
fn holds(browser: &mut Browser, text: &str) {
    assert_eq!(browser.value("document.activeElement.value"), text);
}

#[test]
fn a_port_is_created_and_deleted_with_keys_alone() {
    let scene = scene("");
    let mut browser = at_the_door(&scene.lab);
    // The first field has the focus by itself.
    browser.until("document.activeElement.name === 'name'");
    browser.strike(ADMIN.0);
    holds(&mut browser, ADMIN.0);
    browser.press("Tab");
    browser.strike(ADMIN.1);
    holds(&mut browser, ADMIN.1);
    enter(&mut browser);

    tab_to(&mut browser, "e.getAttribute('href') === '/ports'");
    enter(&mut browser);
    tab_to(&mut browser, "e.getAttribute('href') === '/ports/create'");
    enter(&mut browser);
    tab_to(&mut browser, "e.name === 'name'");
    browser.strike("web.keys_1");
    holds(&mut browser, "web.keys_1");
    tab_to(&mut browser, "e.name === 'backends'");
    browser.strike("10.77.2.11:9001");
    tab_to(
        &mut browser,
        "e.type === 'submit' && e.form.action.endsWith('/ports/create')",
    );
    enter(&mut browser);
    let note = "document.querySelector('.note').innerText";
    assert_eq!(browser.value(note), "The port is created.");
    let ports = scene.agent.items(&["ports", "list"]);
    assert_eq!(ports[0]["name"], "web.keys_1", "{ports:?}");
    assert_eq!(scene.agent.items(&["backends", "list"]).len(), 1);

    // A name that is not quite the port's deletes nothing, and stands there still.
    let own = format!("/ports/{}/delete", ports[0]["id"].as_str().unwrap());
    tab_to(&mut browser, "e.name === 'confirm'");
    browser.strike("web.keys_");
    enter(&mut browser);
    assert_eq!(scene.agent.items(&["ports", "list"]).len(), 1);
    let confirm = "document.querySelector('[name=confirm]')";
    let invalid = format!("{confirm}.getAttribute('aria-invalid')");
    assert_eq!(browser.value(&invalid), "true");
    tab_to(&mut browser, "e.name === 'confirm'");
    // Who comes to a field by Tab has all of it marked, and types over it.
    holds(&mut browser, "web.keys_");
    browser.strike("web.keys_1");
    holds(&mut browser, "web.keys_1");
    tab_to(&mut browser, "e.classList.contains('danger')");
    enter(&mut browser);
    assert_eq!(browser.value("location.pathname"), "/ports");
    let told = format!("Port {}, web.keys_1, is deleted.", ports[0]["port"]);
    assert_eq!(browser.value(note), told);
    let shown = browser.value("document.querySelector('.note').getAttribute('role')");
    assert_eq!(shown, "status");
    assert!(scene.agent.items(&["ports", "list"]).is_empty());
    complains_of(&mut browser, &[(&own, 422)]);
}
