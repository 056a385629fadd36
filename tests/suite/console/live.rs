//! Pages that stay open, in a real browser: charts that go on, and an agent that is restarted meanwhile.

use std::time::Duration;

use kit::{Browser, eventually, traffic};

use super::{
    ADMIN,
    browser::{address, has_no_complaint, signed_in},
    client::{Client, wait_for},
    scene,
};

const DRAWN: &str = "document.querySelector('.chart canvas').toDataURL()";

/// Waits until the chart is another one than it was.
#[track_caller]
fn moves(browser: &mut Browser) {
    let before = browser.value(DRAWN);
    eventually(Duration::from_secs(30), || browser.value(DRAWN) != before);
}

#[test]
fn charts_of_the_node_and_of_a_port_show_an_hour_and_its_last_minutes() {
    let scene = scene("");
    let (busy, silent) = (scene.port("web"), scene.agent.create(&["silent"]));
    let live = traffic::Live::open(&scene.lab.client, busy, 5);
    let mut browser = signed_in(&scene);
    let number = busy.port();
    for page in ["/".to_owned(), format!("/ports/{number}")] {
        browser.open(&address(&page));
        browser.until("document.querySelector('.chart canvas') !== null");
        browser.until("/^Now: [1-9]/.test(document.getElementById('carried').innerText)");
        moves(&mut browser);
        let pressed = "document.querySelector('.choices [aria-pressed=true]').innerText";
        assert_eq!(browser.value(pressed), "The last hour", "{page}");
        let hour = browser.value(DRAWN);
        browser.click(".choices button:last-child");
        assert_eq!(browser.value(pressed), "The last five minutes", "{page}");
        eventually(Duration::from_secs(10), || browser.value(DRAWN) != hour);
        moves(&mut browser);
        // The same in numbers, for whoever sees no chart.
        browser.open(&address(&page));
        browser.until("document.querySelector('.chart canvas') !== null");
        // A chart that is drawn meanwhile moves what is below it from under the pointer.
        eventually(Duration::from_secs(10), || {
            let is_open = "document.querySelector('details').open";
            if browser.value(is_open) != true {
                browser.click("details summary");
            }
            browser.value(is_open) == true
        });
        let numbers = browser.value("document.querySelector('details table').innerText");
        let numbers = numbers.as_str().unwrap();
        assert!(numbers.contains("5 to 0 minutes ago"), "{page}: {numbers}");
        assert!(numbers.contains("bit/s"), "{page}: {numbers}");
    }
    // Another port's chart is not the node's.
    browser.open(&address(&format!("/ports/{silent}")));
    browser.until("document.querySelector('.chart canvas') !== null");
    browser.until("/^Now: 0 bit.s from clients, 0 .*, 0 flows/.test(document.getElementById('carried').innerText)");
    assert_eq!(live.finish().errors, Vec::<String>::new());
    has_no_complaint(&mut browser);
}

#[test]
fn a_page_stays_fresh_when_somebody_has_clicked_into_its_table() {
    let scene = scene("");
    scene.agent.create(&["first"]);
    let mut browser = signed_in(&scene);
    browser.open(&address("/ports"));
    browser.until("document.getElementById('fresh').innerText.includes('first')");
    browser.click("#fresh .scroll td");
    scene.agent.create(&["second"]);
    browser.until("document.getElementById('fresh').innerText.includes('second')");
}

#[test]
fn a_page_about_what_is_gone_says_so() {
    let scene = scene("");
    let port = scene.port("doomed").port();
    let mut browser = signed_in(&scene);
    browser.open(&address(&format!("/ports/{port}")));
    browser.until("document.getElementById('fresh').innerText.includes('up')");
    scene
        .agent
        .ctl(&["ports", "delete", "doomed", "--yes"])
        .ok();
    browser.until("document.getElementById('fresh') === null");
    let text = browser.value("document.getElementById('main').innerText");
    let text = text.as_str().unwrap();
    assert!(text.contains("no port"), "{text}");
    assert!(!text.contains("Backends"), "{text}");
}

#[test]
fn a_page_stays_fresh_while_something_on_it_has_the_focus() {
    let scene = scene("");
    scene.agent.create(&["first"]);
    let mut browser = signed_in(&scene);
    browser.open(&address("/ports"));
    let link = "document.querySelector('#fresh .scroll a')";
    browser.until(&format!("{link} !== null"));
    browser.value(&format!("{link}.focus()"));
    let focused = "document.activeElement.getAttribute('href')";
    let before = browser.value(focused);
    scene.agent.create(&["second"]);
    browser.until("document.getElementById('fresh').innerText.includes('second')");
    assert_eq!(browser.value(focused), before);
}

#[test]
fn a_page_is_connected_again_after_a_restart_of_the_agent_and_says_so() {
    let mut scene = scene("");
    let port = scene.port("web").port();
    let mut browser = signed_in(&scene);
    let own = format!("/ports/{port}");
    browser.open(&address(&own));
    let says =
        |text: &str| format!("document.getElementById('connection').innerText.includes('{text}')");
    browser.value("window.isTheSame = true");
    // The stream has begun.
    browser.until("document.getElementById('carried').innerText.endsWith('flows.')");
    scene.agent.stop();
    browser.until(&says("The agent does not answer"));
    scene.agent.restart();
    browser.until(&says(
        "The agent was restarted; this page is connected again",
    ));
    assert_eq!(
        browser.value("window.isTheSame"),
        true,
        "nobody loaded it again"
    );
    // It goes on, and whoever is signed in may still change something.
    let app = scene.app(0).to_string();
    scene
        .agent
        .ctl(&["backends", "add", "web", "10.77.2.11:4711"])
        .ok();
    browser.until("document.getElementById('fresh').innerText.includes('10.77.2.11:4711')");
    browser.until(&format!(
        "document.getElementById('fresh').innerText.includes('{app}')"
    ));
    browser.fill("[name=confirm]", "web");
    browser.follow("button.danger");
    eventually(Duration::from_secs(10), || {
        scene.agent.items(&["ports", "list"]).is_empty()
    });
}

#[test]
fn a_session_outlives_the_agent_unless_its_account_was_changed() {
    let mut scene = scene("");
    let node = scene.lab.node.clone();
    wait_for(&node);
    let ann = Client::signed_in(&node, ADMIN);
    scene.agent.stop();
    scene.agent.restart();
    wait_for(&node);
    assert_eq!(ann.get("/").status, 200);
    assert_eq!(ann.post("/ports/create", &[("name", "web")]).status, 303);
    let kept = scene.agent.folder().join("state/console.sessions");
    let text = std::fs::read_to_string(&kept).unwrap();
    let id = ann.cookie.split('=').nth(1).unwrap();
    assert!(!text.contains(id), "what signs in is not kept");

    scene.agent.stop();
    let users = scene.lab.folder().join("console.users");
    let text = std::fs::read_to_string(&users).unwrap();
    std::fs::write(&users, text.replace("ann:admin", "ann:read")).unwrap();
    scene.agent.restart();
    wait_for(&node);
    assert_eq!(ann.get("/").header("location"), Some("/sign-in"));
}

#[test]
fn whoever_s_session_ends_is_told_at_the_form_to_sign_in() {
    let scene = scene("");
    let mut browser = signed_in(&scene);
    browser.open(&address("/ports"));
    browser.value(
        "void fetch('/sign-out', {method: 'POST', redirect: 'manual', body: \
         new URLSearchParams({csrf: document.querySelector('[name=csrf]').value})})",
    );
    browser.until("location.pathname === '/sign-in' && document.readyState === 'complete'");
    let told = browser.value("document.querySelector('[role=status]').innerText");
    assert_eq!(told, "Your session has ended: sign in again.");
}

#[test]
fn a_page_for_which_there_is_no_stream_says_so_and_follows_when_there_is() {
    let scene = scene("");
    let node = scene.lab.node.clone();
    wait_for(&node);
    let ann = Client::signed_in(&node, ADMIN);
    let others: Vec<_> = (0..64).map(|n| ann.stream_from(2 + n % 4)).collect();
    let mut browser = signed_in(&scene);
    browser.open(&address("/ports"));
    let says = "document.getElementById('connection').innerText";
    browser.until(&format!("{says}.startsWith('Too many pages')"));
    // It is a page all the same.
    assert_eq!(
        browser.value("document.querySelector('h1').innerText"),
        "Ports"
    );
    drop(others);
    browser.until(&format!("{says} === 'Connected again.'"));
    let port = scene.agent.create(&["web"]);
    browser.until(&format!(
        "document.getElementById('fresh').innerText.includes('{port}')"
    ));
}
