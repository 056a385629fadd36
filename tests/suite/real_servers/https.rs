//! HTTPS with the application's own certificate: Harbor passes TLS through.

use std::{fs, net::SocketAddr};

use kit::{Finished, Lab, certify, eventually};

use super::{MINUTES, Server, addresses};
use crate::scene::FAMILIES;

#[test]
fn an_https_server_shows_its_own_certificate() {
    let lab = Lab::routed();
    let page: String = (0..20_000)
        .map(|number| format!("line {number}\n"))
        .collect();
    fs::write(lab.folder().join("page"), &page).unwrap();
    certify(lab.folder(), "harbor", "DNS:harbor.test");
    let [first, second] = addresses(&lab).map(|own| {
        let mut command = lab.apps[0].command("openssl");
        command.args(["s_server", "-quiet", "-WWW", "-cert", "harbor.crt", "-key"]);
        let endpoint = SocketAddr::new(own, 8443).to_string();
        command.args(["harbor.key", "-accept", &endpoint]);
        command.current_dir(lab.folder());
        command
    });
    let ([mut first, mut second], name) = ([first, second], "https");
    let https = Server::start(lab, name, &mut first).and(&mut second);
    for family in FAMILIES {
        let to = https.port(family, 8443);
        eventually(MINUTES, || fetch(&https, to, Trust::Its).code == 0);
        for _ in 0..10 {
            let found = fetch(&https, to, Trust::Its).ok().stdout;
            assert!(found == page, "{} bytes", found.len());
        }
        // 60: the peer's certificate cannot be authenticated.
        assert_eq!(fetch(&https, to, Trust::Nobody).code, 60);
    }
}

/// Whose certificate curl trusts.
enum Trust {
    Its,
    Nobody,
}

fn fetch(https: &Server, to: SocketAddr, trust: Trust) -> Finished {
    let certificate = https.lab.folder().join("harbor.crt").display().to_string();
    let port = to.port();
    let host = match to {
        SocketAddr::V4(to) => to.ip().to_string(),
        SocketAddr::V6(to) => format!("[{}]", to.ip()),
    };
    let resolve = format!("harbor.test:{port}:{host}");
    let url = format!("https://harbor.test:{port}/page");
    let mut words = vec!["curl", "--silent", "--show-error", "--http1.0", "--resolve"];
    words.extend([&resolve, &url].map(String::as_str));
    if matches!(trust, Trust::Its) {
        words.extend(["--cacert", &certificate]);
    }
    https.client(to, &words)
}
