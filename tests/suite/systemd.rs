//! The unit: what systemd makes of it, what the agent tells systemd, and that the agent can do its
//! work with nothing but what the unit leaves it.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use kit::{Agent, Config, Lab, finish, traffic};
use nix::sys::signal::Signal;

use crate::scene::Scene;

const WAIT: Duration = Duration::from_secs(20);

fn dist(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../harbor-ctl/dist")
        .join(name)
}

/// A root directory with the unit and what it needs, as a package would install it.
fn staged() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let install = |from: &Path, to: &str| {
        let to = root.path().join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    };
    install(&dist("harbor.service"), "etc/systemd/system/harbor.service");
    install(&kit::binary("harbor-ctl"), "usr/bin/harbor-ctl");
    install(&dist("harbor.toml"), "etc/harbor/harbor.toml");
    // What reloads it.
    install(Path::new("/bin/kill"), "bin/kill");
    // The units that ours refers to.
    for folder in ["/usr/lib/systemd/system", "/lib/systemd/system"] {
        for unit in [
            "sysinit.target",
            "basic.target",
            "network-online.target",
            "multi-user.target",
            "shutdown.target",
        ] {
            let from = Path::new(folder).join(unit);
            if from.exists() {
                install(&from, &format!("usr/lib/systemd/system/{unit}"));
            }
        }
    }
    root
}

#[test]
fn systemd_accepts_the_unit_and_finds_little_exposed() {
    let root = staged();
    let analyze = |arguments: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        command
            .args(arguments)
            .arg(format!("--root={}", root.path().display()));
        finish(command.arg("harbor.service"))
    };
    let verified = analyze(&["verify", "--recursive-errors=no"]);
    assert_eq!(
        (verified.code, verified.stderr.as_str()),
        (0, ""),
        "{}",
        verified.stdout
    );
    let security = analyze(&["security", "--offline=true", "--no-pager", "--threshold=25"]);
    let score = security
        .stdout
        .lines()
        .last()
        .unwrap_or_default()
        .to_owned();
    println!("{score}");
    assert_eq!(security.code, 0, "{}", security.stdout);
}

/// A socket that stands for systemd, and the agent's configuration that leads to it.
fn notified(lab: &Lab, watchdog: Duration) -> (UnixDatagram, Config) {
    let path = lab.folder().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(WAIT)).unwrap();
    let variables = vec![
        ("NOTIFY_SOCKET".into(), path.display().to_string()),
        ("WATCHDOG_USEC".into(), watchdog.as_micros().to_string()),
    ];
    (
        socket,
        Config {
            variables,
            ..Config::default()
        },
    )
}

/// Reads messages until one has this line.
#[track_caller]
fn expect(socket: &UnixDatagram, line: &str) {
    let mut buffer = [0; 4096];
    loop {
        let length = socket
            .recv(&mut buffer)
            .unwrap_or_else(|error| panic!("no {line}: {error}"));
        if String::from_utf8_lossy(&buffer[..length])
            .lines()
            .any(|found| found == line)
        {
            return;
        }
    }
}

#[test]
fn systemd_is_told_when_the_agent_is_ready_alive_and_stopping() {
    let lab = Lab::routed();
    let (socket, config) = notified(&lab, Duration::from_millis(500));
    let mut agent = Agent::configured(&lab, &config);
    agent.launch();
    expect(&socket, "READY=1");
    // Ready means ready: no waiting from here on.
    assert_eq!(agent.ctl(&["status"]).code, 0);
    for _ in 0..3 {
        expect(&socket, "WATCHDOG=1");
    }
    agent.process().signal(Signal::SIGTERM);
    expect(&socket, "STOPPING=1");
    assert_eq!(agent.process().wait(WAIT), 0);
}

#[test]
fn a_hanging_agent_stops_feeding_the_watchdog() {
    let lab = Lab::routed();
    let (socket, config) = notified(&lab, Duration::from_millis(300));
    let mut agent = Agent::configured(&lab, &config);
    agent.launch();
    expect(&socket, "WATCHDOG=1");
    agent.process().signal(Signal::SIGSTOP);
    socket
        .set_read_timeout(Some(Duration::from_millis(900)))
        .unwrap();
    let mut buffer = [0; 4096];
    // What was sent before the stop is read first; then nothing comes.
    while socket.recv(&mut buffer).is_ok() {}
    agent.process().signal(Signal::SIGCONT);
    socket.set_read_timeout(Some(WAIT)).unwrap();
    expect(&socket, "WATCHDOG=1");
}

/// The capabilities that the unit leaves, as setpriv wants them.
fn bounding_set() -> String {
    let unit = fs::read_to_string(dist("harbor.service")).unwrap();
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix("CapabilityBoundingSet="))
        .unwrap();
    let names = line
        .split_whitespace()
        .map(|name| name.trim_start_matches("CAP_").to_lowercase());
    names.fold("-all".into(), |set, name| format!("{set},+{name}"))
}

#[test]
fn the_agent_does_all_its_work_with_the_capabilities_that_the_unit_leaves() {
    let set = bounding_set();
    let wrapper = [
        "setpriv",
        "--no-new-privs",
        "--bounding-set",
        &set,
        "--inh-caps",
        "-all",
    ];
    let config = Config {
        wrapper: wrapper.map(Into::into).to_vec(),
        ..Config::default()
    };
    let mut scene = Scene::on(Lab::routed(), &config);
    let holder = traffic::hold(&scene.lab.node, scene.lab.folder(), &[35_500]);
    let refused = scene
        .agent
        .ctl(&["ports", "create", "held", "--port", "35500"]);
    assert!(
        refused.stderr.contains(&holder.id().to_string()),
        "names it: {}",
        refused.stderr
    );
    let to = scene.port("web");
    assert_eq!(traffic::connect(&scene.lab.client, to, 10).errors.len(), 0);
    let report = scene.agent.ctl_json(&["datapath", "status"]);
    assert_eq!(report["problems"], serde_json::json!([]));
    assert!(report["carried"].is_object(), "{report}");
    scene.agent.kill();
    scene.agent.restart();
    assert_eq!(traffic::connect(&scene.lab.client, to, 10).errors.len(), 0);
    assert_eq!(scene.agent.stop(), 0);
    let pid = scene.lab.bpf();
    assert!(pid.exists(), "the datapath stays");
}

#[test]
fn the_packaged_configuration_is_the_default_written_out() {
    let lab = Lab::routed();
    let paths = |name: &str| lab.folder().join("agent").join(name).display().to_string();
    let variables = [
        ("RUN", paths("run")),
        ("STATE", paths("state")),
        ("LOG", paths("log")),
        ("BPF", lab.bpf().display().to_string()),
    ]
    .map(|(key, path)| (format!("HARBOR_PATHS__{key}"), path));
    let mut agent = Agent::configured(
        &lab,
        &Config {
            variables: variables.to_vec(),
            ..Config::default()
        },
    );
    fs::copy(dist("harbor.toml"), agent.config_file()).unwrap();
    agent.launch();
    agent.wait_until_ready();
    let shown = agent.ctl_json(&["config", "show"]).to_string();
    assert!(shown.contains("35000-40000"), "{shown}");
}
