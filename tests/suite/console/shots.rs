//! What the documentation shows of the console: every page in every size and theme, with something on it.

use std::{fs, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kit::{
    Browser, V4, certify,
    http::Http,
    traffic::{self, Asker},
};
use serde_json::json;

use super::{
    attacks::PAGES,
    browser::{address, signed_in},
    everybody::{SIZES, THEMES},
    scene_on,
};
use crate::{
    gateway::{Platform, gateway, order},
    scene::Scene,
};

/// Ports of several kinds, with backends, of which app hosts announce some and one listens nowhere.
fn furnish(scene: &Scene) {
    let apps = [scene.app(0), scene.app(1)].map(|app| app.to_string());
    let [first, second] = [&*apps[0], &*apps[1]];
    for words in [
        &["both-voice", "--backend", first, "--backend", second][..],
        &["udp-game", "--backend", first, "max_per_client=64"],
        &["shop-https", "--backend", first, "tls=on"],
        &["mail", "--backend", second, "new_per_second=500"],
        &["metrics", "--backend", "10.77.2.12:9"],
    ] {
        scene.agent.create(words);
    }
    let mut platform = Platform::of(&scene.lab);
    let ordered = platform.provision("i-orders", &order("orders", &json!({})));
    assert_eq!(ordered.0, 201, "{}", ordered.1);
    assert_eq!(platform.bind("i-orders", "b-1", "app-7f3c").0, 201);
    let mut socket = Http::new(&scene.agent.socket());
    for (number, dea) in [(1, "dea-1"), (2, "dea-2")] {
        let said = json!({
            "v": 1, "dea": dea, "epoch": 1, "seq": 1, "service": "orders",
            "instance": format!("orders-{number}"), "ip": format!("10.77.2.{}", 10 + number),
            "port": 9_001, "state": "up"
        });
        let heard = socket.post("/v1/announce", said.to_string().as_bytes());
        assert_eq!(heard.unwrap().0, 200, "{said}");
    }
}

#[test]
#[ignore = "writes docs/images/console: cargo xtask console shots"]
fn shots_of_every_page() {
    let scene = scene_on(|lab| {
        let folder = lab.folder().join("certificates");
        fs::create_dir_all(&folder).unwrap();
        certify(
            &folder,
            "harbor",
            "DNS:shop.example.org,DNS:www.shop.example.org",
        );
        // App hosts announce once, and are heard no more.
        let lease = "[discovery]\nlease = \"1h\"\n";
        format!("[tls]\nfolder = {folder:?}\n{lease}{}", gateway(lab))
    });
    furnish(&scene);
    let to = scene.port("web");
    let live = traffic::Live::open(&scene.lab.client, to, 20);
    // Another port may have the number for the other protocol.
    let ports = scene.agent.items(&["ports", "list"]);
    let named = |name: &str| ports.iter().find(|item| item["name"] == name).unwrap();
    let own = format!("/ports/{}", named("web")["id"].as_str().unwrap());
    let explain = format!("/explain?src=10.77.1.2:40000&dst={to}");
    let mut browser = signed_in(&scene);
    // The chart is to show something.
    browser.open(&address("/"));
    let game = scene.at(named("udp-game")["port"].as_u64().unwrap() as u16);
    let client = Asker::new(&scene.lab.client, V4);
    for _ in 0..75 {
        client.send(game, b"a move in the game");
        std::thread::sleep(Duration::from_secs(1));
    }
    let mut pages: Vec<(&str, &str)> = PAGES
        .into_iter()
        .map(|page| (page.trim_start_matches('/'), page))
        .collect();
    pages[0].0 = "overview";
    pages.retain(|(name, _)| *name != "explain");
    pages.extend([
        ("port", &*own),
        ("create", "/ports/create"),
        ("explain", &*explain),
    ]);
    for (name, page) in pages {
        browser.open(&address(page));
        if name == "overview" || name == "port" {
            browser.until("document.querySelector('.chart canvas') !== null");
        }
        take(&mut browser, name);
    }
    browser.follow(".who button");
    take(&mut browser, "sign-in");
    assert_eq!(live.finish().errors, Vec::<String>::new());
}

/// Writes what is shown.
fn take(browser: &mut Browser, name: &str) {
    let folder = crate::documents::root().join("docs/images/console");
    fs::create_dir_all(&folder).unwrap();
    for size in SIZES {
        for theme in THEMES {
            browser.show(size, theme);
            browser.value("new Promise(done => setTimeout(done, 300))");
            let picture = STANDARD.decode(browser.picture()).unwrap();
            let file = folder.join(format!("{name}-{}-{theme}.png", size.0));
            fs::write(file, picture).unwrap();
        }
    }
}
