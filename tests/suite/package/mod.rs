//! The package, on a copy of this Debian: installed, configured by one line, upgraded under traffic,
//! removed, purged.

mod debian;
mod image;
mod root;
mod without_libraries;

use std::{fs, net::SocketAddr, process::Command, sync::OnceLock, time::Duration};

use kit::{Lab, Process, V4, binary, eventually, finish, finish_within, patient, traffic};
use nix::sys::signal::Signal;

use root::Root;

/// Two versions of the package, made of the program that is tested; made once.
fn packages() -> &'static [std::path::PathBuf; 2] {
    static MADE: OnceLock<(tempfile::TempDir, [std::path::PathBuf; 2])> = OnceLock::new();
    let (_, packages) = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let make = |version: &str| {
            let mut command = Command::new(binary("xtask"));
            command.env("HARBOR_CTL", binary("harbor-ctl"));
            command.args([
                "dist",
                "--profile",
                "dev",
                "--package-version",
                version,
                "--out",
            ]);
            let dist = command.arg(folder.path());
            let made = finish_within(patient(Duration::from_secs(120)), dist).ok();
            assert_eq!(made.stderr, "", "a pipe sees nothing of how far it is");
            made.stdout.lines().next().unwrap().into()
        };
        let packages = [make("0.1.0"), make("0.1.1")];
        (folder, packages)
    });
    packages
}

fn dpkg(root: &Root, words: &[&str]) -> String {
    let done = root
        .run(&[&["dpkg", "--no-triggers", "--force-unsafe-io"], words].concat())
        .ok();
    done.stdout + &done.stderr
}

/// Starts what the unit starts, as systemd would.
fn start(root: &Root, lab: &Lab, name: &str) -> Process {
    let unit = fs::read_to_string(root.path().join("lib/systemd/system/harbor.service")).unwrap();
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))
        .unwrap();
    let mut command = root.command(&line.split(' ').collect::<Vec<_>>());
    let process = Process::start(&mut command, lab.folder(), name);
    eventually(patient(Duration::from_secs(20)), || {
        [0, 7].contains(&root.run(&["harbor-ctl", "status"]).code)
    });
    process
}

/// Ends an agent as systemd would.
fn end(mut agent: Process) {
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.wait(Duration::from_secs(10)), 0);
}

/// What the package has changed, and how it is configured by one line.
fn configure(root: &Root) {
    let made = root.changes();
    for part in ["left: usr/bin/harbor-ctl", "changed: etc/group"] {
        assert!(made.iter().any(|change| change == part), "{part}: {made:?}");
    }
    assert!(
        !root.path().join("run/harbor").exists(),
        "nothing was started"
    );
    let config = root.path().join("etc/harbor/harbor.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("#rest = \"60s\"", "rest = \"61s\"")).unwrap();
}

/// Takes away what a removal has left.
fn purge(root: &Root, lab: &Lab) {
    assert!(root.path().join("var/lib/harbor/harbor.redb").exists());
    dpkg(root, &["--purge", "harbor"]);
    assert_eq!(
        root.changes(),
        Vec::<String>::new(),
        "a purge leaves nothing"
    );
    assert_eq!(lab.node.get("net/ipv4/ip_local_reserved_ports"), "");
}

#[test]
fn installed_configured_by_one_line_upgraded_under_traffic_removed_and_purged() {
    let lab = Lab::routed();
    let root = Root::new(&lab);
    let [first, second] = packages().each_ref().map(|path| root.bring(path));
    let pins = || fs::read_dir(root.pins()).unwrap().count();
    let pins_before = pins();
    let said = dpkg(&root, &["--install", &first]);
    assert!(said.contains("installed and not started"), "{said}");
    configure(&root);

    let agent = start(&root, &lab, "agent");
    let app = SocketAddr::new(lab.app(V4, 0), 9_001);
    let _app = traffic::serve(&lab.apps[0], lab.folder(), "app1", &[app]);
    let app = app.to_string();
    let create = [
        "harbor-ctl",
        "ports",
        "create",
        "web",
        "--port",
        "35000",
        "--backend",
        &app,
    ];
    root.run(&create).ok();
    let status = root.run(&["harbor-ctl", "status"]).ok();
    assert!(
        status.stdout.contains("tc on eth0 eth1"),
        "{}",
        status.stdout
    );
    let to = SocketAddr::new(lab.public(V4), 35_000);
    let live = traffic::Live::open(&lab.client, to, 200);

    // No systemd runs here: what the script would have it do is done by hand.
    dpkg(&root, &["--install", &second]);
    let kept = fs::read_to_string(root.path().join("etc/harbor/harbor.toml")).unwrap();
    assert!(
        kept.contains("rest = \"61s\""),
        "the configuration is the operator's"
    );
    end(agent);
    let agent = start(&root, &lab, "upgraded");
    live.progress();
    dpkg(&root, &["--install", &first]);
    end(agent);
    let agent = start(&root, &lab, "rolled-back");
    live.progress();

    end(agent);
    let said = dpkg(&root, &["--remove", "harbor"]);
    assert!(
        said.contains("goes on forwarding") && said.contains("dpkg --purge harbor"),
        "{said}"
    );
    live.progress();
    assert_eq!(live.finish().errors.len(), 0, "200 connections, none lost");
    assert_eq!(
        traffic::connect(&lab.client, to, 3).errors.len(),
        0,
        "new ones too"
    );
    purge(&root, &lab);
    assert_eq!(pins(), pins_before);
    assert_eq!(traffic::connect(&lab.client, to, 3).errors.len(), 3);
}

#[test]
fn lintian_finds_no_fault() {
    let mut lintian = Command::new("lintian");
    lintian
        .args(["--allow-root", "--fail-on", "error,warning"])
        .arg(&packages()[0]);
    finish_within(patient(Duration::from_secs(300)), &mut lintian).ok();
}

/// The package's files in a folder.
fn extracted() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut extract = Command::new("dpkg-deb");
    finish(
        extract
            .arg("--extract")
            .arg(&packages()[0])
            .arg(folder.path()),
    )
    .ok();
    folder
}

#[test]
fn every_verb_has_a_page_that_renders() {
    let folder = extracted();
    let pages = folder.path().join("usr/share/man/man1");
    let render = |page: &str| {
        let mut man = Command::new("man");
        man.args(["--warnings", "--encoding=UTF-8", "--local-file"])
            .env("MANWIDTH", "80");
        let page = finish(man.arg(pages.join(format!("{page}.1.gz")))).ok();
        assert_eq!(page.stderr, "", "groff has no objection");
        page.stdout
    };
    let ports = render("harbor-ctl-ports");
    for words in ["harbor-ctl-ports", "SYNOPSIS", "create", "list"] {
        assert!(ports.contains(words), "{words}: {ports}");
    }
    assert!(render("harbor-ctl-ports-create").contains("--backend"));
    let pages = fs::read_dir(&pages).unwrap().count();
    assert!(pages > 40, "{pages}");
}

#[test]
fn the_package_is_complete_and_stripped() {
    let folder = extracted();
    let share = folder.path().join("usr/share");
    for (file, words) in [
        (
            "bash-completion/completions/harbor-ctl",
            "-F _harbor_ctl harbor-ctl",
        ),
        ("zsh/vendor-completions/_harbor-ctl", "#compdef harbor-ctl"),
        (
            "fish/vendor_completions.d/harbor-ctl.fish",
            "complete -c harbor-ctl",
        ),
        ("doc/harbor/docs/how-to/install.md", "apt purge harbor"),
        ("doc/harbor/prometheus/harbor.rules.yml", "HarborAgentDown"),
        ("doc/harbor/grafana/harbor.json", "harbor_port_flows"),
        ("doc/harbor/copyright", "Apache-2.0"),
    ] {
        let text = fs::read_to_string(share.join(file)).unwrap_or_default();
        assert!(text.contains(words), "{file}");
    }
    let mut sections = Command::new("readelf");
    sections
        .args(["-S", "--wide"])
        .arg(folder.path().join("usr/bin/harbor-ctl"));
    let sections = finish(&mut sections).ok().stdout;
    assert!(!sections.contains(".debug_info"), "it is stripped");

    // Links between pages lead somewhere in the package too.
    let docs = share.join("doc/harbor/docs");
    let text = fs::read_to_string(docs.join("README.md")).unwrap();
    let links = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let links: Vec<&str> = links.collect();
    assert!(links.len() > 10, "{links:?}");
    for link in links {
        assert!(docs.join(link).exists(), "{link}");
    }
}
