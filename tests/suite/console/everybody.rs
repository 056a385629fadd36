//! Pages for everybody: nothing shuts out whoever cannot see, and nothing is wider than a telephone, by
//! day and by night, whatever things are called.

use kit::{Browser, Lab, http::Http, traffic};
use serde_json::{Value, json};

use super::{
    ADMIN, LONG, READER,
    attacks::PAGES,
    browser::{address, at_the_door, complains_of, has_no_complaint, sign_in, signed_in},
    client::Client,
    scene_on,
};
use crate::{
    gateway::{Platform, gateway, order},
    scene::Scene,
};

/// The tool that finds what shuts people out (axe-core).
const AXE: &str = include_str!("axe/axe.min.js");
/// Of a telephone, a laptop and a wall.
pub(super) const SIZES: [(u32, u32); 3] = [(360, 740), (1_280, 800), (2_560, 1_440)];
pub(super) const THEMES: [&str; 2] = ["light", "dark"];

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

/// In every theme, on the smallest screen and a larger one.
#[track_caller]
fn is_for_everybody(browser: &mut Browser, place: &str) {
    for (size, theme) in [SIZES[0], SIZES[1]].into_iter().zip(["dark", "light"]) {
        browser.show(size, theme);
        let place = format!("{place} {size:?} {theme}");
        shuts_nobody_out(browser, &place);
        fits(browser, &place);
    }
}

/// The page is no wider than the screen, and none of its parts but what scrolls by itself.
#[track_caller]
fn fits(browser: &mut Browser, place: &str) {
    let wide = browser.value(
        "[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, .skip, .chart') && \
         e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))",
    );
    assert_eq!(wide, Value::Array(Vec::new()), "{place}");
    let spills = "document.documentElement.scrollWidth > innerWidth";
    assert_eq!(
        browser.value(spills),
        false,
        "{place} is wider than the screen"
    );
}

/// A name as long as names can be, without a place to break.
fn long(kind: &str) -> String {
    format!("{kind}{}", "x".repeat(64 - kind.len()))
}

/// A port with all that one can have: backends, flows, limits, bindings, and the longest names.
struct Furnished {
    scene: Scene,
    /// Its page, and the one that explains a packet to it.
    page: String,
    explain: String,
    live: traffic::Live,
}

fn furnished() -> Furnished {
    let scene = scene_on(|lab: &Lab| {
        let (node, folder) = (long("node"), lab.folder().join("certificates"));
        std::fs::create_dir_all(&folder).unwrap();
        // The app host announces once, and is heard no more.
        let own = format!(
            "[node]\nid = {node:?}\n[tls]\nfolder = {folder:?}\n[discovery]\nlease = \"1h\"\n"
        );
        own + &gateway(lab)
    });
    let mut platform = Platform::of(&scene.lab);
    let limits = json!({"limits": {"max_connections": 50}, "allowed_cidrs": ["10.0.0.0/8"]});
    let ordered = platform.provision("i-1", &order(&long("tcp"), &limits));
    assert_eq!(ordered.0, 201, "{}", ordered.1);
    assert_eq!(platform.bind("i-1", "b-1", &long("app")).0, 201);
    let shown = scene.agent.ctl_json(&["ports", "show", "i-1"]);
    let port = shown["port"].as_u64().unwrap() as u16;
    let app = scene.app(0).to_string();
    let add = [
        "backends",
        "add",
        "i-1",
        &app,
        "--instance",
        &long("byhand"),
    ];
    scene.agent.ctl(&add).ok();
    let said = json!({
        "v": 1, "dea": long("dea"), "epoch": 1, "seq": 1, "service": "i-1",
        "instance": long("i"), "ip": "10.77.2.12", "port": 9_001, "state": "up"
    });
    let mut socket = Http::new(&scene.agent.socket());
    let heard = socket.post("/v1/announce", said.to_string().as_bytes());
    assert_eq!(heard.unwrap().0, 200);
    let secure = format!("{}https", "x".repeat(59));
    scene.agent.create(&[&secure]);
    let to = scene.at(port);
    let live = traffic::Live::open(&scene.lab.client, to, 3);
    Furnished {
        page: "/ports/i-1".to_owned(),
        explain: format!("/explain?src=10.77.1.2:40000&dst={to}&proto=tcp"),
        scene,
        live,
    }
}

#[test]
fn every_page_is_for_everybody_in_every_size_and_theme_with_the_longest_names() {
    let Furnished {
        scene,
        page,
        explain,
        live,
    } = furnished();
    let mut browser = at_the_door(&scene.lab);
    sign_in(&mut browser, (LONG, ADMIN.1));
    let who = Client::signed_in(&scene.lab.node, (LONG, ADMIN.1));
    let made = who.post("/ports/create", &[("name", &long("made"))]);
    assert_eq!(made.status, 303, "{}", made.body);
    let pages = PAGES
        .into_iter()
        .chain([&*page, "/ports/create", &*explain]);
    for page in pages {
        browser.open(&address(page));
        let sizes = SIZES.into_iter().chain([(3_840, 2_160)]);
        for (size, theme) in sizes.zip(["light", "dark", "light", "dark"]) {
            browser.show(size, theme);
            let place = format!("{page} {size:?} {theme}");
            shuts_nobody_out(&mut browser, &place);
            fits(&mut browser, &place);
        }
        let is_there = format!("document.body.innerText.includes({:?})", LONG);
        assert_eq!(browser.value(&is_there), true, "{page}");
        // Each page names something, and it is there whole.
        let names = match page {
            "/" | "/ports" | "/certificates" => "xxxxxxxxxxxxxxxxxxxxx",
            "/backends" => &long("dea"),
            "/nodes" => &long("node"),
            "/events" => &format!("console {LONG} from"),
            "/settings" => "",
            page if page.starts_with("/ports/i") => &long("byhand"),
            page if page.starts_with("/explain?") => &long("tcp"),
            _ => "",
        };
        let is_there = format!("document.body.innerText.includes('{names}')");
        assert_eq!(browser.value(&is_there), true, "{page}: {names}");
    }
    // A port's page has all that one can have.
    browser.open(&address(&page));
    for text in ["Bound apps", "10.77.1.2:", "by hand", &*long("dea")] {
        let is_there = format!("document.body.innerText.includes({text:?})");
        assert_eq!(browser.value(&is_there), true, "{text}");
    }
    let limit = "document.querySelector('[name=max_connections]').value";
    assert_eq!(browser.value(limit), "50");
    assert_eq!(live.finish().errors, Vec::<String>::new());
    browser.follow(".who button");
    is_for_everybody(&mut browser, "/sign-in");
    has_no_complaint(&mut browser);
}

/// Fields of forms, the button that sends each, and where it is sent.
const FORMS: [[&str; 4]; 4] = [
    [
        "/ports/create",
        "[name=backends]",
        "main .card button",
        "/ports/create",
    ],
    [
        "/ports/i-1",
        "[name=max_connections]",
        "form[action$='/set'] button",
        "/ports/i-1/set",
    ],
    [
        "/ports/i-1",
        "[name=confirm]",
        "button.danger",
        "/ports/i-1/delete",
    ],
    [
        "/settings",
        "[id='ports.range']",
        "[aria-label='Change ports.range']",
        "/settings",
    ],
];

#[test]
fn a_form_that_was_refused_is_for_everybody() {
    let Furnished {
        scene, live: _live, ..
    } = furnished();
    let mut browser = signed_in(&scene);
    for [page, field, button, _] in FORMS {
        browser.open(&address(page));
        if page == "/ports/create" {
            browser.fill("[name=name]", "web");
        }
        browser.fill(field, &long("wrong!"));
        browser.follow(button);
        let invalid = format!("document.querySelector(\"{field}\").getAttribute('aria-invalid')");
        assert_eq!(browser.value(&invalid), "true", "{page} {field}");
        is_for_everybody(&mut browser, &format!("{page} {field} refused"));
    }
    // A node that shares its registry with nobody is not drained: the button says so.
    browser.open(&address("/nodes"));
    browser.follow("[aria-label^='Drain ']");
    let told = browser.value("document.getElementById('refused').innerText");
    let told = told.as_str().unwrap();
    assert!(told.contains("shares its registry"), "{told}");
    is_for_everybody(&mut browser, "/nodes refused");
    let mut refused: Vec<(&str, u16)> = FORMS.iter().map(|[_, _, _, to]| (*to, 422)).collect();
    refused.push(("/nodes", 422));
    complains_of(&mut browser, &refused);
}

#[test]
fn what_stands_in_place_of_a_page_and_what_was_done_is_for_everybody() {
    let Furnished {
        scene, live: _live, ..
    } = furnished();
    let mut browser = signed_in(&scene);
    let refused = [
        ("/explain?src=x&dst=y&proto=sctp", 422),
        ("/ports?page=-1", 400),
        ("/nothing", 404),
        ("/ports/nobody", 404),
    ];
    for (page, _) in refused {
        browser.open(&address(page));
        is_for_everybody(&mut browser, page);
    }
    for done in [
        "/ports/i-1?done=created",
        "/settings?done=waits",
        "/nodes?done=node-drained",
    ] {
        browser.open(&address(done));
        assert_eq!(
            browser.value("document.querySelector('.note') !== null"),
            true
        );
        is_for_everybody(&mut browser, done);
    }
    complains_of(&mut browser, &refused);
}

#[test]
fn what_a_reader_sees_is_for_everybody() {
    let Furnished {
        scene,
        page,
        explain,
        live,
    } = furnished();
    let mut browser = at_the_door(&scene.lab);
    browser.fill("[name=name]", READER.0);
    browser.fill("[name=password]", "wrong");
    browser.follow("main button");
    is_for_everybody(&mut browser, "/sign-in with an error");
    sign_in(&mut browser, READER);
    for page in PAGES
        .into_iter()
        .chain([&*page, &*explain, "/ports/create"])
    {
        browser.open(&address(page));
        is_for_everybody(&mut browser, &format!("{page} of a reader"));
    }
    assert_eq!(live.finish().errors, Vec::<String>::new());
    complains_of(&mut browser, &[("/sign-in", 401), ("/ports/create", 403)]);
}
