//! The console over TLS: what a browser keeps for TLS alone, whom it believes, and certificates of clients.

use kit::{Finished, certify, finish};

use super::{
    ADMIN, LISTEN,
    client::{form, wait_for},
    scene_on,
};
use crate::scene::Scene;

/// A console over TLS, with more lines for its section.
fn over_tls(more: impl FnOnce(&std::path::Path) -> String) -> Scene {
    let scene = scene_on(|lab| {
        let folder = lab.folder();
        let certificate = certify(folder, "console", "IP:127.0.0.1,DNS:console.test");
        let key = folder.join("console.key");
        format!("tls_cert = {certificate:?}\ntls_key = {key:?}\n") + &more(folder)
    });
    wait_for(&scene.lab.node);
    scene
}

fn curl(scene: &Scene, more: &[&str]) -> Finished {
    let mut curl = scene.lab.node.command("curl");
    curl.args(["-sS", "-m", "20", "-i", "--cacert"])
        .arg(scene.lab.folder().join("console.crt"));
    finish(curl.args(more))
}

/// Signs in from a page of this origin, or of none.
fn sign_in(scene: &Scene, more: &[&str]) -> Finished {
    let fields = form(&[("name", ADMIN.0), ("password", ADMIN.1)]);
    let url = format!("https://{LISTEN}/sign-in");
    curl(scene, &[more, &["-d", &fields, &url]].concat())
}

#[test]
fn over_tls_a_session_is_for_tls_alone() {
    let scene = over_tls(|_| String::new());
    let signed = sign_in(&scene, &[]).ok().stdout;
    let cookie = signed
        .lines()
        .find(|line| line.to_lowercase().starts_with("set-cookie:"))
        .unwrap_or_else(|| panic!("{signed}"));
    assert!(cookie.contains("; Secure"), "{cookie}");
    let plain = curl(&scene, &[&format!("http://{LISTEN}/")]);
    assert!(!plain.stdout.contains(" 200 "), "{}", plain.stdout);
}

#[test]
fn over_tls_too_a_name_that_is_another_s_is_refused() {
    let scene = over_tls(|_| String::new());
    let asked = |host: &str| {
        let header = format!("Host: {host}");
        curl(
            &scene,
            &["-H", &header, &format!("https://{LISTEN}/sign-in")],
        )
    };
    for (host, status) in [
        ("console.test:9443", 200),
        (LISTEN, 200),
        ("evil.example", 403),
    ] {
        let answer = asked(host).ok().stdout;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{host}: {answer}"
        );
    }
}

#[test]
fn a_page_that_came_without_tls_sends_no_form_to_one_that_has_it() {
    let scene = over_tls(|_| String::new());
    let from = |scheme: &str| {
        let origin = format!("Origin: {scheme}://{LISTEN}");
        sign_in(&scene, &["-H", &origin]).ok().stdout
    };
    let (plain, own) = (from("http"), from("https"));
    assert!(plain.starts_with("HTTP/1.1 403"), "{plain}");
    assert!(plain.contains("Origin names another server"), "{plain}");
    assert!(own.starts_with("HTTP/1.1 303"), "{own}");
}

#[test]
fn a_console_with_an_authority_speaks_to_nobody_without_a_certificate() {
    let scene = over_tls(|folder| {
        let authority = certify(folder, "operator", "DNS:operator.test");
        certify(folder, "stranger", "DNS:stranger.test");
        format!("tls_client_ca = {authority:?}\n")
    });
    let with = |name: &str| {
        let file = |kind: &str| scene.lab.folder().join(format!("{name}.{kind}"));
        let (certificate, key) = (file("crt"), file("key"));
        let [certificate, key] = [&certificate, &key].map(|path| path.to_str().unwrap());
        sign_in(&scene, &["--cert", certificate, "--key", key])
    };
    let (nobody, stranger) = (sign_in(&scene, &[]), with("stranger"));
    for refused in [&nobody, &stranger] {
        assert!(
            refused.code != 0 && !refused.stdout.contains("HTTP/"),
            "{refused:?}"
        );
    }
    // A certificate alone signs nobody in.
    let operator = with("operator").ok().stdout;
    assert!(operator.starts_with("HTTP/1.1 303"), "{operator}");
}
