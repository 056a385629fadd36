//! Pages in every mode: with the proxy alone, while the registry is away, and over TLS.

use std::{fs, time::Duration};

use kit::{FrozenThread, certify, eventually, traffic};

use super::{
    ADMIN, READER,
    attacks::PAGES,
    client::{Client, wait_for},
    scene, scene_on,
    stored::is_inert,
};
use crate::{engines::Engine, registry::redis_of, scene::Scene};

const SOON: Duration = Duration::from_secs(20);

/// Every page, and one port's.
fn all_answer(scene: &Scene, ann: &Client, port: u16) {
    let own = format!("/ports/{port}");
    for page in PAGES.into_iter().chain([&*own]) {
        let answer = ann.get(page);
        assert_eq!(answer.status, 200, "{page}: {}", answer.body);
        is_inert(&answer.body, page);
    }
    assert!(
        ann.get(&own).body.contains("web"),
        "{}",
        scene.lab.node.name()
    );
}

#[test]
fn every_page_answers_where_the_proxy_forwards_alone() {
    let scene = scene("[datapath]\nmode = \"proxy\"\n");
    wait_for(&scene.lab.node);
    let port = scene.port("web").port();
    let ann = Client::signed_in(&scene.lab.node, ADMIN);
    all_answer(&scene, &ann, port);
    // What only the programs count is not said to be nothing.
    let overview = ann.get("/").body;
    assert!(overview.contains("none is loaded"), "{overview}");
    assert!(!overview.contains("No flow is open"), "{overview}");
}

#[test]
fn every_page_answers_where_the_programs_are_at_xdp() {
    let scene = scene_on(|lab| {
        lab.finish_frames();
        Engine::Xdp.lines().to_owned()
    });
    wait_for(&scene.lab.node);
    let port = scene.port("web").port();
    let ann = Client::signed_in(&scene.lab.node, ADMIN);
    let live = traffic::Live::open(&scene.lab.client, scene.at(port), 2);
    all_answer(&scene, &ann, port);
    let page = ann.get(&format!("/ports/{port}")).body;
    assert!(page.contains("<dt>Path</dt><dd>xdp</dd>"), "{page}");
    eventually(Duration::from_secs(20), || {
        let page = ann.get(&format!("/ports/{port}")).body;
        let now = page.split("<p id=\"carried\">Now: ").nth(1).unwrap();
        !now.starts_with('0')
    });
    assert_eq!(live.finish().errors, Vec::<String>::new());
}

#[test]
fn what_is_not_known_is_not_shown_as_nothing() {
    let mut scene = scene("");
    wait_for(&scene.lab.node);
    let port = scene.port("web").port();
    let ann = Client::signed_in(&scene.lab.node, ADMIN);
    let row = |page: &str| -> String {
        let row = page.split("<tr>").find(|row| row.contains("web"));
        row.unwrap_or(page).to_owned()
    };
    let own = format!("/ports/{port}");
    let unknown = "<td class=\"number\">?</td>";
    eventually(SOON, || !row(&ann.get("/ports").body).contains(unknown));
    let frozen = FrozenThread::of(scene.agent.process(), "forwarding");
    let silent = "Now: not known, the datapath does not answer.";
    for page in ["/", &own] {
        eventually(SOON, || ann.get(page).body.contains(silent));
    }
    let overview = ann.get("/").body;
    assert_eq!(overview.matches("<p>Not known, the programs").count(), 2);
    for lie in ["none is loaded", "No flow is open", "Nothing has been"] {
        assert!(!overview.contains(lie), "{overview}");
    }
    let listed = row(&ann.get("/ports").body);
    assert!(listed.matches(unknown).count() >= 2, "{listed}");
    let shown = ann.get(&own).body;
    let flows = shown.split("<dt>Flows</dt>").nth(1).unwrap();
    assert!(flows.trim_start().starts_with("<dd>? "), "{flows}");
    assert!(flows.contains("does not answer"), "{flows}");
    drop(frozen);
    eventually(SOON, || !ann.get("/").body.contains("ot known"));
    eventually(SOON, || !row(&ann.get("/ports").body).contains(unknown));
}

#[test]
fn ports_that_only_the_kernel_knows_are_told_beside_the_list() {
    let mut scene = scene("");
    wait_for(&scene.lab.node);
    let port = scene.port("web").port().to_string();
    assert_eq!(scene.agent.stop(), 0);
    for name in ["harbor.redb", "journal.redb"] {
        fs::remove_file(scene.agent.folder().join("state").join(name)).unwrap();
    }
    scene.agent.restart();
    wait_for(&scene.lab.node);
    let ann = Client::signed_in(&scene.lab.node, ADMIN);
    let page = ann.get("/ports").body;
    assert!(page.contains("Not all of them: 1 port is"), "{page}");
    assert!(page.contains(&format!("{port}/tcp")), "{page}");
    scene.agent.ctl(&["state", "confirm", "--yes"]).ok();
    assert!(!ann.get("/ports").body.contains("Not all of them"));
}

#[test]
fn the_first_page_and_all_that_it_loads_is_small_and_from_here() {
    let scene = scene("");
    wait_for(&scene.lab.node);
    scene.port("web");
    let ann = Client::signed_in(&scene.lab.node, ADMIN);
    let page = ann.get("/").body;
    let mut octets = page.len();
    let links = page.split(['"', '\'']).filter(|text| text.contains("://"));
    assert_eq!(links.collect::<Vec<_>>(), Vec::<&str>::new());
    let assets = page.split('"').filter(|text| text.starts_with("/assets/"));
    let mut count = 0;
    for asset in assets {
        let answer = ann.get(asset);
        assert_eq!(answer.status, 200, "{asset}");
        octets += answer.body.len();
        count += 1;
        let known = format!("If-None-Match: {}\r\n", answer.header("etag").unwrap());
        let again = ann.ask(&format!("GET {asset}"), &known, "");
        assert_eq!((again.status, &*again.body), (304, ""), "{asset}");
    }
    assert_eq!(count, 5);
    assert!(octets < 150_000, "{octets} bytes");
}

#[test]
fn whoever_may_only_look_sees_a_port_s_settings_and_no_button() {
    let scene = scene("");
    wait_for(&scene.lab.node);
    let port = scene.agent.create(&["web", "max_connections=77"]);
    let bob = Client::signed_in(&scene.lab.node, READER);
    let page = bob.get(&format!("/ports/{port}")).body;
    assert!(
        page.contains("<dt>max_connections</dt><dd><code>77</code>"),
        "{page}"
    );
    assert!(page.contains("What would become of a packet?"), "{page}");
    for form in ["/set", "/drain", "/delete", "/backends"] {
        let mut forms = page
            .split("action=\"/ports/")
            .skip(1)
            .filter_map(|rest| rest.split('"').next());
        assert!(!forms.any(|own| own.ends_with(form)), "{form}");
    }
    let settings = bob.get("/settings").body;
    assert!(
        settings.contains("<code>hostname_external</code>"),
        "{settings}"
    );
    assert!(!settings.contains("<button type=\"submit\" aria-label=\"Change"));
}

#[test]
fn a_port_s_form_has_a_packet_explained_stage_by_stage() {
    let scene = scene("");
    wait_for(&scene.lab.node);
    let to = scene.port("web");
    let bob = Client::signed_in(&scene.lab.node, READER);
    let own = bob.get(&format!("/ports/{}", to.port())).body;
    assert!(own.contains("action=\"/explain\""), "{own}");
    let from = "src=10.77.1.2%3A40000";
    let page = bob.get(&format!("/explain?{from}&dst={to}&proto=tcp")).body;
    let stages = page.split("<ol class=\"stages\">").nth(1).unwrap();
    let stages = stages.split("</ol>").next().unwrap();
    for stage in ["parse", "frontend", "select"] {
        let mark = format!("<li><strong>{stage}</strong>");
        assert!(stages.contains(&mark), "{stage}: {stages}");
    }
    assert!(page.contains(&scene.app(0).to_string()), "{page}");
    let wrong = bob.get(&format!("/explain?{from}&dst=x"));
    assert_eq!(wrong.status, 422);
    assert!(
        wrong.body.contains("aria-invalid=\"true\""),
        "{}",
        wrong.body
    );
}

#[test]
fn certificates_are_listed_with_their_end_and_what_is_wrong_with_them() {
    let mut folder = None;
    let scene = scene_on(|lab| {
        let folder = folder.insert(lab.folder().join("certificates"));
        fs::create_dir_all(&folder).unwrap();
        format!("[tls]\nfolder = {folder:?}\n")
    });
    wait_for(&scene.lab.node);
    let ann = Client::signed_in(&scene.lab.node, ADMIN);
    let page = || ann.get("/certificates").body;
    assert!(page().contains("Harbor ends TLS on no port"), "{}", page());
    scene.agent.create(&["web-https"]);
    eventually(SOON, || page().contains("none is in force"));
    certify(folder.as_ref().unwrap(), "harbor", "DNS:harbor.test");
    eventually(SOON, || {
        let page = page();
        page.contains(">harbor.test</td>") && page.contains(" days</td>")
    });
}

#[test]
fn every_page_answers_while_redis_is_away_and_says_so() {
    let mut redis = None;
    let scene = scene_on(|lab| {
        let redis = redis.insert(redis_of(lab));
        format!("[registry]\nurl = {:?}\n", redis.url())
    });
    wait_for(&scene.lab.node);
    let port = scene.port("web").port();
    let ann = Client::signed_in(&scene.lab.node, ADMIN);
    all_answer(&scene, &ann, port);
    redis.as_mut().unwrap().kill();
    eventually(Duration::from_secs(20), || {
        let page = ann.get("/").body;
        let registry = page.split("Registry").nth(1).unwrap_or_default();
        registry.split("</tr>").next().unwrap().contains("degraded")
    });
    all_answer(&scene, &ann, port);
    // What this node serves is known without it.
    let backends = ann.get("/backends").body;
    assert!(backends.contains(&scene.app(0).to_string()), "{backends}");
    // What cannot be recorded is refused, and the reason stands on the page.
    let refused = ann.post("/ports/create", &[("name", "late")]);
    assert!(refused.status >= 400, "{}", refused.status);
    assert!(refused.body.contains("role=\"alert\""), "{}", refused.body);
    assert_eq!(scene.agent.items(&["ports", "list"]).len(), 1);
}

#[test]
fn a_backend_is_drained_where_two_ports_share_a_number() {
    let scene = scene("");
    wait_for(&scene.lab.node);
    let backends = [scene.app(0), scene.app(1)].map(|app| app.to_string());
    let create = |name: &str, protocol: &str| {
        let words = ["--protocol", protocol, "--port", "35777"];
        let more = ["--backend", &backends[0], "--backend", &backends[1]];
        scene
            .agent
            .create(&[&[name], &words[..], &more[..]].concat());
        let shown = scene.agent.ctl_json(&["ports", "show", name]);
        shown["id"].as_str().unwrap().to_owned()
    };
    let (stream, _) = (create("stream", "tcp"), create("datagrams", "udp"));
    let ann = Client::signed_in(&scene.lab.node, ADMIN);
    let form = format!("/ports/{stream}/backends");
    let page = ann.get(&format!("/ports/{stream}")).body;
    assert!(page.contains(&format!("action=\"{form}\"")), "{page}");
    let drained = ann.post(&form, &[("backend", &backends[0])]);
    assert_eq!(drained.status, 303, "{}", drained.body);
    let left = |name: &str| {
        let items = scene.agent.items(&["backends", "list", name]);
        items.iter().filter(|item| item["state"] == "up").count()
    };
    assert_eq!((left("stream"), left("datagrams")), (1, 2));
}
