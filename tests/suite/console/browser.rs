//! What people do, in a real browser: with a mouse, with keys alone, on every page, by day and by night.

use std::{fs, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kit::{Browser, Lab, eventually, traffic};
use serde_json::Value;

use super::{ADMIN, LISTEN, attacks::PAGES, client::wait_for, scene};
use crate::scene::Scene;

/// The tool that finds what shuts people out (axe-core).
const AXE: &str = include_str!("axe/axe.min.js");
/// Of a telephone, a laptop and a wall.
const SIZES: [(u32, u32); 3] = [(360, 740), (1_280, 800), (2_560, 1_440)];
const THEMES: [&str; 2] = ["light", "dark"];

pub(super) fn address(path: &str) -> String {
    format!("http://{LISTEN}{path}")
}

/// A browser at the console, signed in by its form.
pub(super) fn signed_in(scene: &Scene) -> Browser {
    at_console(&scene.lab)
}

/// The same, where the scene is another one.
pub(super) fn at_console(lab: &Lab) -> Browser {
    wait_for(&lab.node);
    let mut browser = Browser::start(&lab.node, lab.folder());
    browser.open(&address("/"));
    browser.until("location.pathname === '/sign-in'");
    browser.fill("[name=name]", ADMIN.0);
    browser.fill("[name=password]", ADMIN.1);
    browser.follow("main button");
    browser.until("location.pathname === '/'");
    browser
}

/// Nothing went wrong on any page, and nobody else was asked.
#[track_caller]
pub(super) fn has_no_complaint(browser: &mut Browser) {
    let complaints = browser.complaints(&address("/"));
    // A form that is refused is answered with a status that the browser calls an error.
    let is_refusal = |text: &&String| !text.contains("status of 422");
    let complaints: Vec<&String> = complaints.iter().filter(is_refusal).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

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

#[test]
fn a_port_is_created_with_keys_alone_and_its_traffic_moves_the_chart() {
    let scene = scene("");
    let mut browser = signed_in(&scene);
    browser.open(&address("/ports"));
    browser.value("window.isLeft = true");
    tab_to(&mut browser, "e.getAttribute('href') === '/ports/create'");
    browser.press("Enter");
    browser.until("!window.isLeft && location.pathname === '/ports/create'");
    tab_to(&mut browser, "e.name === 'name'");
    browser.write("web");
    tab_to(
        &mut browser,
        "e.type === 'submit' && e.form.contains(document.querySelector('[name=name]'))",
    );
    browser.press("Enter");
    browser
        .until("location.pathname.startsWith('/ports/') && location.pathname !== '/ports/create'");
    let ports = scene.agent.items(&["ports", "list"]);
    assert_eq!(ports[0]["name"], "web", "{ports:?}");

    let apps = [scene.app(0), scene.app(1)].map(|app| app.to_string());
    for app in &apps {
        scene.agent.ctl(&["backends", "add", "web", app]).ok();
    }
    browser.until(&format!("document.body.innerText.includes('{}')", apps[0]));
    browser.until("document.querySelector('.chart canvas') !== null");
    let drawn = "document.querySelector('.chart canvas').toDataURL()";
    let before = browser.value(drawn);
    let port = ports[0]["port"].as_u64().unwrap() as u16;
    let live = traffic::Live::open(&scene.lab.client, scene.at(port), 5);
    browser.until("/^Now: [1-9]/.test(document.getElementById('carried').innerText)");
    eventually(Duration::from_secs(30), || browser.value(drawn) != before);
    browser.until("document.body.innerText.includes('10.77.1.2:')");
    assert_eq!(live.finish().errors, Vec::<String>::new());

    browser.click(&format!(
        "[aria-label^='Drain {}']",
        instance(&scene, &apps[1])
    ));
    eventually(Duration::from_secs(10), || {
        let backends = scene.agent.items(&["backends", "list"]);
        let mut states = backends.iter().map(|backend| &backend["state"]);
        states.any(|state| state == "leaving" || state == "draining") || backends.len() == 1
    });
    browser.until("document.readyState === 'complete'");
    browser.fill("[name=confirm]", "webb");
    browser.follow("button.danger");
    assert_eq!(
        browser.value("document.querySelector('[name=confirm]').getAttribute('aria-invalid')"),
        "true"
    );
    assert_eq!(scene.agent.items(&["ports", "list"]).len(), 1);
    browser.fill("[name=confirm]", "web");
    browser.follow("button.danger");
    assert_eq!(scene.agent.items(&["ports", "list"]).len(), 0);
    has_no_complaint(&mut browser);
}

/// What the instance at an address is called.
fn instance(scene: &Scene, address: &str) -> String {
    let backends = scene.agent.items(&["backends", "list"]);
    let found = backends
        .iter()
        .find(|backend| backend["address"] == address);
    found.unwrap()["instance"].as_str().unwrap().to_owned()
}

#[test]
fn a_range_is_changed_under_traffic_an_event_is_followed_and_the_session_ends() {
    let scene = scene("");
    let to = scene.port("web");
    let live = traffic::Live::open(&scene.lab.client, to, 5);
    let mut browser = signed_in(&scene);
    browser.open(&address("/settings"));
    let (field, change) = ("[id='ports.range']", "[aria-label='Change ports.range']");
    browser.fill(field, "soon");
    browser.follow(change);
    let invalid = "document.getElementById('ports.range').getAttribute('aria-invalid')";
    assert_eq!(browser.value(invalid), "true");
    let hint = browser.value("document.getElementById('ports.range-hint').innerText");
    assert!(hint.as_str().unwrap().contains("range"), "{hint}");
    browser.fill(field, "36000-36100");
    browser.follow(change);
    assert_eq!(browser.value("location.search"), "?done=set");
    let created = scene.agent.create(&["late"]);
    assert!((36_000..=36_100).contains(&created), "{created}");
    live.progress();
    assert_eq!(live.finish().errors, Vec::<String>::new());

    browser.open(&address("/events"));
    let port = scene.agent.create(&["seen-live"]);
    browser.until(&format!(
        "document.body.innerText.includes('port {port}/tcp')"
    ));

    browser.follow(".who button");
    assert_eq!(browser.value("location.pathname"), "/sign-in");
    browser.open(&address("/ports"));
    assert_eq!(browser.value("location.pathname"), "/sign-in");
    has_no_complaint(&mut browser);
}

/// Runs axe on the page as it is shown.
#[track_caller]
fn shuts_nobody_out(browser: &mut Browser, place: &str) {
    if browser.value("typeof axe") == "undefined" {
        browser.value(&format!("{AXE}; 0"));
    }
    let found = browser.value(
        "axe.run().then(r => r.violations.map(v => v.id + ': ' + v.help + ' at ' + \
         v.nodes.map(n => n.target.join(' ')).slice(0, 3).join(', ')))",
    );
    assert_eq!(found, Value::Array(Vec::new()), "{place}");
}

#[test]
fn every_page_is_for_everybody_in_every_size_and_theme() {
    let scene = scene("");
    let port = scene.port("web").port();
    scene.agent.create(&["named", "max_connections=5"]);
    let mut browser = signed_in(&scene);
    let own = format!("/ports/{port}");
    let pages = PAGES.into_iter().chain([&*own, "/ports/create"]);
    for page in pages {
        browser.open(&address(page));
        let sizes = SIZES.into_iter().chain([(3_840, 2_160)]);
        for (size, theme) in sizes.zip(["light", "dark", "light", "dark"]) {
            browser.show(size, theme);
            shuts_nobody_out(&mut browser, &format!("{page} {size:?} {theme}"));
            let spills = "document.documentElement.scrollWidth > innerWidth";
            assert_eq!(
                browser.value(spills),
                false,
                "{page} {size:?} is wider than the screen"
            );
        }
    }
    browser.follow(".who button");
    for theme in THEMES {
        browser.show(SIZES[0], theme);
        shuts_nobody_out(&mut browser, &format!("/sign-in {theme}"));
    }
    has_no_complaint(&mut browser);
}

/// What the documentation shows: every page in every size and theme.
#[test]
#[ignore = "writes docs/images/console: cargo xtask console shots"]
fn shots_of_every_page() {
    let scene = scene("");
    let port = scene.port("web").port();
    let live = traffic::Live::open(&scene.lab.client, scene.at(port), 20);
    for name in ["both-voice", "udp-game"] {
        scene
            .agent
            .create(&[name, "--backend", &scene.app(0).to_string()]);
    }
    let mut browser = signed_in(&scene);
    // Another port may have the number for the other protocol.
    let ports = scene.agent.items(&["ports", "list"]);
    let web = ports.iter().find(|item| item["name"] == "web").unwrap();
    let own = format!("/ports/{}", web["id"].as_str().unwrap());
    let explain = format!("/explain?src=10.77.1.2:40000&dst={}", scene.at(port));
    // The chart is to show something.
    browser.open(&address("/"));
    std::thread::sleep(Duration::from_secs(20));
    let mut pages: Vec<(String, &str)> = PAGES
        .iter()
        .map(|page| (page.trim_start_matches('/').to_owned(), *page))
        .collect();
    pages[0].0 = "overview".to_owned();
    pages.retain(|(name, _)| name != "explain");
    pages.extend([
        ("port".to_owned(), &*own),
        ("create".to_owned(), "/ports/create"),
        ("explain".to_owned(), &*explain),
    ]);
    let folder = crate::documents::root().join("docs/images/console");
    fs::create_dir_all(&folder).unwrap();
    let take = |browser: &mut Browser, name: &str| {
        for (size, theme) in SIZES
            .into_iter()
            .flat_map(|size| THEMES.map(|theme| (size, theme)))
        {
            browser.show(size, theme);
            browser.value("new Promise(done => setTimeout(done, 300))");
            let picture = STANDARD.decode(browser.picture()).unwrap();
            let file = folder.join(format!("{name}-{}-{theme}.png", size.0));
            fs::write(file, picture).unwrap();
        }
    };
    for (name, page) in &pages {
        browser.open(&address(page));
        if *name == "overview" || *name == "port" {
            browser.until("document.querySelector('.chart canvas') !== null");
        }
        take(&mut browser, name);
    }
    browser.follow(".who button");
    take(&mut browser, "sign-in");
    assert_eq!(live.finish().errors, Vec::<String>::new());
}
