//! The package in a Debian of its own, made by debootstrap, which has nothing that Harbor was built with.
//!
//! `HARBOR_DEBIAN` names its folder, and `HARBOR_DEBS` one with two versions of the package; without the
//! first it is fetched, without the second both are made of the program that is tested.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use kit::{Lab, Netns, Process, V4, eventually, finish, finish_within, patient, traffic};
use serde_json::Value;

use super::{end, packages, root::Root, start};

const SUITE: &str = "bookworm";
const MIRROR: &str = "http://deb.debian.org/debian";
const FETCHED_WITHIN: Duration = Duration::from_secs(1_200);
const IPERF: u16 = 5_201;
/// For how long iperf3 sends: longer than both upgrades take.
const SENDS: &str = "40";

fn debian(lab: &Lab) -> PathBuf {
    if let Some(folder) = env::var_os("HARBOR_DEBIAN") {
        return folder.into();
    }
    let folder = lab.folder().join("debian");
    let mut fetch = Command::new("debootstrap");
    fetch.args(["--variant=minbase", SUITE]);
    finish_within(FETCHED_WITHIN, fetch.arg(&folder).arg(MIRROR)).ok();
    folder
}

fn debs() -> [PathBuf; 2] {
    let Some(folder) = env::var_os("HARBOR_DEBS") else {
        return packages().clone();
    };
    let entries = fs::read_dir(folder).unwrap().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    found.retain(|path| path.extension().is_some_and(|ending| ending == "deb"));
    found.sort();
    found.try_into().expect("two versions of the package")
}

/// Programs, links and maps of this system's Harbor, as bpftool calls them: kind and number. Others on the
/// machine have theirs.
fn in_kernel(root: &Root) -> Vec<(&'static str, u64)> {
    let ask = |what: &str| {
        let words = ["harbor-ctl", "datapath", what, "-o", "json"];
        root.run(&words).ok().json()
    };
    let (programs, status, maps) = (ask("programs"), ask("status"), ask("maps"));
    let programs = programs["items"].as_array().unwrap().iter();
    let mut found: Vec<_> = programs
        .map(|p| ("prog", p["id"].as_u64().unwrap()))
        .collect();
    let links = status["links"].as_array().unwrap().iter();
    found.extend(links.map(|link| ("link", link["link_id"].as_u64().unwrap())));
    for map in maps["items"].as_array().unwrap() {
        let pin = map["pin"].as_str().unwrap().trim_start_matches('/');
        let mut show = Command::new("bpftool");
        show.args(["--json", "map", "show", "pinned"]);
        let shown = finish(show.arg(root.path().join(pin))).ok().json();
        found.push(("map", shown["id"].as_u64().unwrap()));
    }
    found
}

fn is_there(what: &str, id: u64) -> bool {
    let mut show = Command::new("bpftool");
    finish(show.args([what, "show", "id", &id.to_string()])).code == 0
}

/// Every file of a system, but for what is no file of a disk.
fn files(root: &Path) -> String {
    let mut find = Command::new("find");
    find.current_dir(root).args([".", "-xdev"]);
    let mut found: Vec<String> = finish(&mut find)
        .ok()
        .stdout
        .lines()
        .map(str::to_owned)
        .collect();
    // What dpkg and apt keep for themselves, and the copies that groupadd makes.
    let is_apts = |path: &str| {
        let parts = [
            "./var/lib/dpkg",
            "./var/lib/apt",
            "./var/cache",
            "./var/log",
            "./root",
            "./etc/group-",
            "./etc/gshadow-",
        ];
        parts.iter().any(|part| path.starts_with(part))
    };
    found.retain(|path| !is_apts(path));
    found.sort();
    found.join("\n")
}

fn apt(root: &Root, words: &[&str]) -> String {
    // What it recommends would have to be fetched.
    let quiet = [
        "apt-get",
        "-y",
        "-q",
        "--no-install-recommends",
        "-o",
        "Dpkg::Use-Pty=0",
    ];
    let mut command = root.command(&[&quiet, words].concat());
    let done = finish_within(patient(Duration::from_secs(300)), &mut command).ok();
    done.stdout + &done.stderr
}

/// iperf3 from the client through a port, as it reports at its end.
struct Iperf {
    _server: Process,
    client: Process,
}

impl Iperf {
    fn start(lab: &Lab, (app, to): (&Netns, SocketAddr)) -> Self {
        let mut serve = app.command("iperf3");
        serve.args(["--server", "--forceflush", "--port", &IPERF.to_string()]);
        let server = Process::start(&mut serve, lab.folder(), "iperf-server");
        eventually(patient(Duration::from_secs(20)), || {
            server.printed().contains("listening")
        });
        let mut send = lab.client.command("iperf3");
        send.args([
            "--client",
            &to.ip().to_string(),
            "--port",
            &to.port().to_string(),
        ]);
        send.args(["--time", SENDS, "--interval", "0.1", "--json"]);
        let client = Process::start(&mut send, lab.folder(), "iperf-client");
        Self {
            _server: server,
            client,
        }
    }

    /// Megabits a second of all tenths of a second, and segments sent again.
    fn finish(mut self) -> (Vec<f64>, u64) {
        let code = self.client.wait(patient(Duration::from_secs(120)));
        let told: Value = serde_json::from_str(&self.client.printed()).unwrap();
        assert_eq!((code, told.get("error")), (0, None), "{told}");
        let rate = |interval: &Value| interval["sum"]["bits_per_second"].as_f64().unwrap() / 1e6;
        let rates = told["intervals"].as_array().unwrap().iter().map(rate);
        let again = told["end"]["sum_sent"]["retransmits"].as_u64().unwrap();
        (rates.collect(), again)
    }
}

/// A port with an app behind it, and one for what iperf3 sends.
fn ports(root: &Root, lab: &Lab) -> Process {
    let app = SocketAddr::new(lab.app(V4, 0), 9_001);
    let served = traffic::serve(&lab.apps[0], lab.folder(), "app1", &[app]);
    let bulk = SocketAddr::new(lab.app(V4, 0), IPERF);
    for (name, number, backend) in [("web", "35000", app), ("bulk", "35001", bulk)] {
        let backend = backend.to_string();
        let words = [
            "ports",
            "create",
            name,
            "--port",
            number,
            "--backend",
            &backend,
        ];
        root.run(&[&["harbor-ctl"][..], &words].concat()).ok();
    }
    served
}

#[test]
#[ignore = "fetches a Debian, and sends for a minute"]
fn the_package_in_a_debian_of_its_own_loses_nothing_and_leaves_nothing() {
    let lab = Lab::routed();
    let root = Root::of(&lab, &debian(&lab));
    let [first, second] = debs().each_ref().map(|path| root.bring(path));
    let before = files(root.path());

    let said = apt(&root, &["install", &first]);
    assert!(said.contains("installed and not started"), "{said}");
    let config = root.path().join("etc/harbor/harbor.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("#rest = \"60s\"", "rest = \"61s\"")).unwrap();
    let agent = start(&root, &lab, "agent");
    let _app = ports(&root, &lab);
    let at = |number| SocketAddr::new(lab.public(V4), number);
    assert_eq!(
        traffic::connect(&lab.client, at(35_000), 20).errors.len(),
        0
    );
    let live = traffic::Live::open(&lab.client, at(35_000), 200);
    let iperf = Iperf::start(&lab, (&lab.apps[0], at(35_001)));

    apt(&root, &["install", &second]);
    end(agent);
    let agent = start(&root, &lab, "upgraded");
    live.progress();
    apt(&root, &["install", "--allow-downgrades", &first]);
    end(agent);
    let agent = start(&root, &lab, "rolled-back");
    live.progress();
    let (rates, again) = iperf.finish();
    let least = rates.iter().copied().fold(f64::INFINITY, f64::min);
    let mean = rates.iter().sum::<f64>() / rates.len() as f64;
    println!(
        "iperf3: {mean:.0} Mbit/s, {least:.0} in the slowest tenth of a second, {again} segments again"
    );
    let exchanged = live.exchanged();
    assert_eq!(live.finish().errors, [""; 0], "200 connections, none lost");
    println!("200 connections, {exchanged} messages, none lost");

    let own = in_kernel(&root);
    assert!(own.len() > 20 && own.iter().all(|(what, id)| is_there(what, *id)));
    end(agent);
    let said = apt(&root, &["remove", "harbor"]);
    assert!(said.contains("goes on forwarding"), "{said}");
    assert_eq!(traffic::connect(&lab.client, at(35_000), 3).errors.len(), 0);
    apt(&root, &["purge", "harbor"]);
    assert_eq!(files(root.path()), before, "files");
    // The kernel lets go of them a moment later.
    eventually(patient(Duration::from_secs(20)), || {
        !own.iter().any(|(what, id)| is_there(what, *id))
    });
    assert_eq!(lab.node.get("net/ipv4/ip_local_reserved_ports"), "");
}
