//! Pages that stay open, in a real browser: charts that go on.

use std::time::Duration;

use kit::{Browser, eventually, traffic};

use super::{
    browser::{address, has_no_complaint, signed_in},
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
        browser.click("details summary");
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
