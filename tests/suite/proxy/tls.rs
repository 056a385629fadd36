//! Ports on which Harbor ends TLS: certificates found, verified by clients, replaced under load.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use kit::{Config, Finished, Lab, V4, certify, certify_expired, eventually, finish_within};

use crate::{engines::Engine, scene::Scene};

const SOON: Duration = Duration::from_secs(20);
pub(crate) const WEB: u16 = 9_301;
const ENGINES: [Engine; 2] = [Engine::Tc, Engine::Proxy];

/// A scene with a plain web server on the first app host, and a folder for certificates.
fn scene(engine: Engine) -> Scene {
    let lab = Lab::routed();
    let folder = certificates(&lab);
    fs::create_dir(&folder).unwrap();
    serve(&lab);
    engine.on(lab, &Config::with(&format!("[tls]\nfolder = {folder:?}\n")))
}

fn certificates(lab: &Lab) -> PathBuf {
    lab.folder().join("certificates")
}

/// Answers every request with one line, and closes.
pub(crate) fn serve(lab: &Lab) {
    let at = SocketAddr::new(lab.app(V4, 0), WEB);
    let listener = lab.apps[0].enter(|| TcpListener::bind(at)).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut request = Vec::new();
                let mut chunk = [0; 1_024];
                while !request.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut chunk)? {
                        0 => return Ok(()),
                        length => request.extend(&chunk[..length]),
                    }
                }
                stream.write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n",
                )
            });
        }
    });
}

fn web(scene: &Scene) -> String {
    SocketAddr::new(scene.lab.app(V4, 0), WEB).to_string()
}

/// curl from the client, which trusts these certificates.
fn curl(scene: &Scene, name: &str, port: u16, trusts: &Path, more: &[&str]) -> Finished {
    let resolve = format!("{name}:{port}:{}", scene.lab.public(V4));
    let url = format!("https://{name}:{port}/");
    let mut command = scene.lab.client.command("curl");
    command.args([
        "--silent",
        "--show-error",
        "--max-time",
        "10",
        "--resolve",
        &resolve,
    ]);
    command.arg("--cacert").arg(trusts).args(more).arg(url);
    finish_within(Duration::from_secs(60), &mut command)
}

/// What openssl's client says of the certificate that it is shown for this name.
fn shown(scene: &Scene, name: &str, port: u16, trusts: &Path) -> Finished {
    let to = SocketAddr::new(scene.lab.public(V4), port).to_string();
    let mut command = scene.lab.client.command("openssl");
    command.args(["s_client", "-brief", "-connect", &to, "-servername", name]);
    command.args(["-verify_return_error", "-verify_hostname", name, "-CAfile"]);
    command.arg(trusts);
    finish_within(Duration::from_secs(60), &mut command)
}

fn state(scene: &Scene, name: &str) -> (String, String) {
    let port = scene.agent.ctl_json(&["ports", "show", name]);
    let text = |key: &str| port[key].as_str().unwrap_or_default().to_owned();
    (text("state"), text("reason"))
}

#[test]
fn a_port_that_ends_tls_takes_its_certificate_from_the_folder() {
    for engine in ENGINES {
        let scene = scene(engine);
        let folder = certificates(&scene.lab);
        let port = scene
            .agent
            .create(&["web-https", "--backend", &web(&scene)]);
        let (found, reason) = state(&scene, "web-https");
        assert_eq!(found, "down");
        assert!(
            reason.contains("no certificate") && reason.contains("web-https.crt"),
            "{reason}"
        );
        certify(&folder, "harbor", "DNS:harbor.test");
        let node = folder.join("harbor.crt");
        eventually(SOON, || state(&scene, "web-https").0 == "up");
        assert_eq!(
            curl(&scene, "harbor.test", port, &node, &[]).ok().stdout,
            "hello\n"
        );
        // Its own comes before that of the node.
        certify(&folder, "web-https", "DNS:own.test");
        let own = folder.join("web-https.crt");
        eventually(SOON, || {
            curl(&scene, "own.test", port, &own, &[]).stdout == "hello\n"
        });
        let said = shown(&scene, "own.test", port, &own);
        assert!(said.stderr.contains("Verification: OK"), "{}", said.stderr);
        // 60: the peer's certificate cannot be authenticated.
        assert_eq!(curl(&scene, "own.test", port, &node, &[]).code, 60);
        let item = scene.agent.ctl_json(&["ports", "show", "web-https"]);
        assert_eq!(item["path"], "proxy(tls)");
        assert_eq!(item["certificate"]["names"][0], "own.test");
        let status = scene.agent.ctl_json_whatever(&["status"])["certificates"]["text"].to_string();
        assert!(
            status.contains("the certificate of web-https expires in 2d"),
            "{status}"
        );
        let text = scene.agent.ctl(&["ports", "show", "web-https"]).ok().stdout;
        assert!(
            text.contains("certificate for own.test, expires in 2d"),
            "{text}"
        );
    }
}

#[test]
fn the_name_that_a_client_asks_for_chooses_among_several() {
    let scene = scene(Engine::Tc);
    let folder = certificates(&scene.lab);
    for name in ["one", "two"] {
        certify(&folder, name, &format!("DNS:{name}.test"));
    }
    let port = scene.agent.create(&["web", "--backend", &web(&scene)]);
    let at = |file: &str| folder.join(file).display().to_string();
    let all = ["one.crt", "one.key", "two.crt", "two.key"]
        .map(at)
        .join(",");
    scene
        .agent
        .ctl(&["ports", "set", "web", &format!("tls={all}")])
        .ok();
    for name in ["one", "two"] {
        let trusts = folder.join(format!("{name}.crt"));
        let answer = curl(&scene, &format!("{name}.test"), port, &trusts, &[]);
        assert_eq!(answer.ok().stdout, "hello\n");
    }
    // Passed on again: what answers is the app, which speaks no TLS.
    scene.agent.ctl(&["ports", "set", "web", "tls=off"]).ok();
    assert_ne!(
        curl(&scene, "one.test", port, &folder.join("one.crt"), &[]).code,
        0
    );
    assert_eq!(
        scene.agent.ctl_json(&["ports", "show", "web"])["path"],
        "tc"
    );
}

#[test]
fn certificates_that_cannot_be_used_are_refused_and_the_one_before_stays() {
    let scene = scene(Engine::Tc);
    let folder = certificates(&scene.lab);
    certify(&folder, "good", "DNS:good.test");
    certify(&folder, "other", "DNS:other.test");
    certify_expired(&folder, "old", "DNS:old.test");
    let at = |file: &str| folder.join(file).display().to_string();
    let set = |certificate: &str, key: &str| {
        let value = format!("tls={},{}", at(certificate), at(key));
        scene.agent.ctl(&["ports", "set", "web", &value])
    };
    let port = scene.agent.create(&["web", "--backend", &web(&scene)]);
    set("good.crt", "good.key").ok();
    let trusts = folder.join("good.crt");
    let is_served = || curl(&scene, "good.test", port, &trusts, &[]).stdout == "hello\n";
    assert!(is_served());
    for (certificate, key, words) in [
        ("good.crt", "other.key", "not the key of the certificate"),
        ("none.crt", "good.key", "No such file"),
        ("old.crt", "old.key", "expired"),
    ] {
        let refused = set(certificate, key);
        assert_eq!(refused.code, 2, "{}", refused.stderr);
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
        assert!(is_served(), "after {words}");
    }
    // The same on disk: told, and not taken.
    let kept = fs::read(folder.join("good.key")).unwrap();
    fs::copy(folder.join("other.key"), folder.join("good.key")).unwrap();
    eventually(SOON, || state(&scene, "web").0 == "degraded");
    let (_, reason) = state(&scene, "web");
    assert!(
        reason.contains("not the key") && reason.contains("stays in force"),
        "{reason}"
    );
    assert!(is_served());
    fs::write(folder.join("good.key"), kept).unwrap();
    eventually(SOON, || state(&scene, "web").0 == "up");
    let log = scene.agent.log("proxy_connector");
    assert!(log.contains("not the key of the certificate"), "{log}");
}

/// How many requests, and how many a second, are sent while the certificate is replaced.
const REQUESTS: usize = 250;

#[test]
fn a_certificate_is_replaced_under_load_without_a_failure() {
    let scene = scene(Engine::Tc);
    let folder = certificates(&scene.lab);
    for name in ["one", "two"] {
        certify(&folder, name, "DNS:web.test");
    }
    let place = |name: &str| {
        // Aside first: the pair is replaced in one step each, the certificate last.
        for end in ["key", "crt"] {
            fs::copy(folder.join(format!("{name}.{end}")), folder.join("new")).unwrap();
            fs::rename(folder.join("new"), folder.join(format!("web-https.{end}"))).unwrap();
        }
    };
    place("one");
    let all = ["one.crt", "two.crt"].map(|name| fs::read_to_string(folder.join(name)).unwrap());
    let trusts = folder.join("both.crt");
    fs::write(&trusts, all.concat()).unwrap();
    let port = scene
        .agent
        .create(&["web-https", "--backend", &web(&scene)]);
    assert_eq!(
        curl(&scene, "web.test", port, &trusts, &[]).ok().stdout,
        "hello\n"
    );
    let url = format!("https://web.test:{port}/[1-{}]", REQUESTS - 1);
    let more = [
        "--rate",
        "50/s",
        "--write-out",
        "%{http_code} %{ssl_verify_result}\n",
        &url,
    ];
    let answers = thread::scope(|scope| {
        let asking = scope.spawn(|| curl(&scene, "web.test", port, &trusts, &more).stdout);
        let mut name = ["two", "one"].iter().cycle();
        while !asking.is_finished() {
            place(name.next().unwrap());
            let served = || {
                scene
                    .agent
                    .log("proxy_connector")
                    .matches("in force")
                    .count()
            };
            let before = served();
            eventually(SOON, || served() > before || asking.is_finished());
        }
        asking.join().unwrap()
    });
    let right = answers.lines().filter(|line| *line == "200 0").count();
    assert_eq!(right, REQUESTS, "{answers}");
    let replaced = scene
        .agent
        .log("proxy_connector")
        .matches("certificate in force")
        .count();
    println!("{right} requests, {replaced} certificates");
    assert!(replaced >= 3, "{replaced}");
}
