//! One browser with more pages open than it has connections to a server: six, for all of them together.

use kit::{Browser, Tab};
use serde_json::json;

use super::{
    browser::{address, has_no_complaint, signed_in},
    client::wait_for,
    scene,
};

const PAGES: usize = 12;

/// Opens more pages, each as if somebody saw it, or each behind the next.
fn open_all(browser: &mut Browser, are_seen: bool) -> Vec<Tab> {
    let mut tabs = Vec::new();
    for _ in 0..PAGES {
        tabs.push(browser.new_tab());
        let seen = json!({"enabled": are_seen});
        browser.call("Emulation.setFocusEmulationEnabled", &seen);
        browser.open(&address("/ports"));
    }
    tabs.drain(..1);
    tabs
}

/// The page shows what was created after it was opened.
#[track_caller]
fn shows(browser: &mut Browser, name: &str) {
    browser.until(&format!(
        "document.getElementById('fresh').innerText.includes('{name}')"
    ));
}

#[test]
fn twelve_pages_that_somebody_sees_are_all_fresh() {
    let scene = scene("");
    wait_for(&scene.lab.node);
    scene.agent.create(&["first"]);
    let mut browser = signed_in(&scene);
    let tabs = open_all(&mut browser, true);
    for tab in &tabs {
        browser.turn_to(tab);
        assert_eq!(browser.value("document.hidden"), false);
    }
    scene.agent.create(&["second"]);
    for tab in &tabs {
        browser.turn_to(tab);
        shows(&mut browser, "second");
    }
    has_no_complaint(&mut browser);
}

#[test]
fn a_page_that_nobody_sees_asks_for_nothing_and_is_fresh_when_it_is_seen() {
    let scene = scene("");
    wait_for(&scene.lab.node);
    scene.agent.create(&["first"]);
    let mut browser = signed_in(&scene);
    let tabs = open_all(&mut browser, false);
    scene.agent.create(&["second"]);
    shows(&mut browser, "second");
    for tab in &tabs {
        browser.turn_to(tab);
        assert_eq!(browser.value("document.hidden"), true);
        let text = browser.value("document.getElementById('fresh').innerText");
        assert!(!text.as_str().unwrap().contains("second"), "{text}");
        browser.call("Page.bringToFront", &json!({}));
        shows(&mut browser, "second");
    }
    has_no_complaint(&mut browser);
}
