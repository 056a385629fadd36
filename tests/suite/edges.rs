//! Rough edges that an operator meets: what was taken away, cannot be written, or was typed otherwise.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    time::Duration,
};

use kit::{Agent, Config, Finished, Lab, SmallDisk, V4, binary, eventually, finish, traffic};
use nix::{
    sys::{signal::Signal, stat::Mode},
    unistd::mkfifo,
};

use crate::scene::Scene;

const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_socket_that_was_taken_away_is_made_again_and_signals_of_others_end_nothing() {
    let mut scene = Scene::routed();
    let web = scene.port("web");
    let live = traffic::Live::open(&scene.lab.client, web, 4);
    let socket = scene.agent.socket();
    for _ in 0..2 {
        fs::remove_file(&socket).unwrap();
        eventually(SOON, || scene.agent.ctl(&["status"]).code == 0);
    }
    assert_eq!(mode_of(&socket), 0o660);
    // With its folder, and what keeps a second agent from starting.
    let run = socket.parent().unwrap();
    fs::remove_dir_all(run).unwrap();
    eventually(SOON, || scene.agent.ctl(&["status"]).code == 0);
    assert_eq!(mode_of(&socket), 0o660);
    let lock = fs::read_to_string(run.join("agent.lock")).unwrap();
    assert_eq!(lock.trim(), scene.agent.process().id().to_string());
    for signal in [Signal::SIGUSR1, Signal::SIGUSR2] {
        scene.agent.process().signal(signal);
    }
    scene.agent.create(&["after"]);
    assert!(scene.agent.is_running());
    live.progress();
    assert_eq!(live.finish().errors, Vec::<String>::new());
    assert_eq!(scene.agent.stop(), 0);
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn an_agent_without_its_logs_serves_and_says_so() {
    let lab = Lab::routed();
    let mut agent = Agent::configured(&lab, &Config::default());
    // Root may write into whatever is a folder.
    fs::write(agent.folder().join("log"), "not a folder").unwrap();
    agent.launch();
    agent.wait_until_ready();
    agent.create(&["web"]);
    let status = agent.ctl_json_whatever(&["status"]);
    assert_eq!(status["agent"]["state"], "degraded");
    let text = status["agent"]["text"].to_string();
    assert!(text.contains("4 of 4 logs are not written"), "{text}");
    // What was logged meanwhile is not lost.
    fs::remove_file(agent.folder().join("log")).unwrap();
    let part = || agent.ctl_json_whatever(&["status"])["agent"].clone();
    eventually(SOON, || part()["state"] == "ok");
    assert!(agent.log("node").contains("agent starts"));
    // A folder that is taken away under it is made again.
    fs::remove_dir_all(agent.folder().join("log")).unwrap();
    eventually(SOON, || {
        agent.ctl(&["ports", "drain", "web"]).ok();
        agent.ctl(&["ports", "resume", "web"]).ok();
        agent.log("node").contains("port resumed")
    });
}

#[test]
fn a_full_disk_of_logs_is_said_and_cuts_no_line() {
    let lab = Lab::routed();
    let mut agent = Agent::configured(&lab, &Config::with("[log]\nlevel = \"info\"\n"));
    let disk = SmallDisk::mount(&agent.folder().join("log"), 1 << 20);
    agent.launch();
    agent.wait_until_ready();
    disk.fill();
    let mut made = Vec::new();
    let agent_part = |agent: &Agent| agent.ctl_json_whatever(&["status"])["agent"].clone();
    // The last page of the file takes some more.
    eventually(Duration::from_secs(60), || {
        let name = format!("port-{}", made.len());
        agent.create(&[&name]);
        made.push(name);
        agent_part(&agent)["state"] == "degraded"
    });
    let told = agent_part(&agent);
    assert!(told["text"].to_string().contains("No space left"), "{told}");
    assert!(told["fix"].to_string().contains("make room"), "{told}");
    assert_eq!(agent.ctl(&["status"]).code, 7);
    disk.free();
    eventually(SOON, || agent_part(&agent)["state"] == "ok");
    let log = agent.log("node");
    for name in made {
        assert!(log.contains(&format!("name=\"{name}\"")), "{name}: {log}");
    }
    let is_whole = |line: &&str| line.starts_with("20") && line.contains("harbor_ctl::");
    let cut: Vec<&str> = log.lines().filter(|line| !is_whole(line)).collect();
    assert_eq!(cut, [""; 0]);
}

#[test]
fn what_is_no_file_in_the_folder_of_settings_is_named_and_stops_nobody() {
    let lab = Lab::routed();
    let mut agent = Agent::configured(&lab, &Config::default());
    let folder = agent.folder().join("conf.d");
    fs::create_dir(&folder).unwrap();
    symlink("somebody@host.1", folder.join(".#10-own.toml")).unwrap();
    symlink("nowhere", folder.join("20-gone.toml")).unwrap();
    mkfifo(&folder.join("30-pipe.toml"), Mode::S_IRWXU).unwrap();
    fs::write(folder.join("40-own.toml"), "[log]\nkeep = 3\n").unwrap();
    agent.launch();
    agent.wait_until_ready();
    let status = agent.ctl_json_whatever(&["status"]);
    assert_eq!(status["configuration"]["state"], "degraded");
    let text = status["configuration"]["text"].to_string();
    assert!(
        text.contains("20-gone.toml") && text.contains("30-pipe.toml"),
        "{text}"
    );
    assert!(!text.contains("10-own"), "{text}");
    assert_eq!(agent.ctl(&["config", "get", "log.keep"]).ok().stdout, "3\n");
    // The fix names what is wrong, and when that is gone nobody has to be told.
    assert_eq!(status["configuration"]["fix"], "harbor-ctl config check");
    let checked = by_file(&agent, &["config", "check"]);
    assert_eq!(checked.code, 2, "{}", checked.stdout);
    for name in ["20-gone.toml", "30-pipe.toml"] {
        assert!(checked.stderr.contains(name), "{}", checked.stderr);
    }
    assert!(!checked.stderr.contains("is valid"), "{}", checked.stderr);
    let listed = by_file(&agent, &["config", "check", "-o", "json"]).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2, "{listed}");
    for name in ["20-gone.toml", "30-pipe.toml"] {
        fs::remove_file(folder.join(name)).unwrap();
    }
    by_file(&agent, &["config", "check"]).ok();
    eventually(SOON, || agent.ctl(&["status"]).code == 0);
}

/// As an operator does whose agent has another configuration file.
fn by_file(agent: &Agent, words: &[&str]) -> Finished {
    let mut command = agent.host().command(binary("harbor-ctl"));
    command.arg("--config").arg(agent.config_file()).args(words);
    finish(command.env("NO_COLOR", "1"))
}

#[test]
fn an_agent_is_reached_in_spite_of_a_drop_in_that_is_wrong() {
    let mut scene = Scene::routed();
    scene.port("web");
    let agent = &scene.agent;
    let folder = agent.folder().join("conf.d");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("50-own.toml");
    for wrong in ["[log\n", "[log]\nkeep = \"many\"\n", "nonsense = 1\n"] {
        fs::write(&file, wrong).unwrap();
        // Nobody has it read: it is said all the same.
        eventually(SOON, || by_file(agent, &["status"]).code == 7);
        let shown = by_file(agent, &["status"]);
        assert!(shown.stdout.contains("not in force"), "{}", shown.stdout);
        assert!(shown.stderr.starts_with("warning: "), "{}", shown.stderr);
        assert!(shown.stderr.contains("50-own.toml"), "{}", shown.stderr);
        let quiet = by_file(agent, &["--quiet", "ports", "list", "-o", "name"]);
        assert_eq!((quiet.code, quiet.stderr.as_str()), (0, ""));
        by_file(agent, &["logs", "node", "-n", "1"]).ok();
        assert_eq!(by_file(agent, &["config", "check"]).code, 2);
    }
    // What was refused is over when the file is right; what it says now waits to be read.
    scene.agent.process().signal(Signal::SIGHUP);
    let agent = &scene.agent;
    let configuration = || agent.ctl_json_whatever(&["status"])["configuration"].clone();
    eventually(SOON, || {
        configuration()["text"].to_string().contains("50-own.toml")
    });
    fs::write(&file, "[log]\nlevel = \"debug\"\n").unwrap();
    eventually(SOON, || {
        let told = configuration();
        told["fix"] == "systemctl reload harbor" && told["text"].to_string().contains("log.level")
    });
    fs::remove_file(&file).unwrap();
    eventually(SOON, || configuration()["state"] == "ok");
    // What was wrong, what was refused, and that it is over.
    let failed = agent.items(&["events", "--kind", "config_failed"]);
    let is_refused =
        |event: &serde_json::Value| event["text"].to_string().contains("read again and refused");
    let refused = failed.iter().filter(|event| is_refused(event)).count();
    assert!(refused > 0 && refused < failed.len(), "{failed:?}");
    assert!(
        !agent
            .items(&["events", "--kind", "config_healed"])
            .is_empty()
    );
}

#[test]
fn flows_are_counted_and_listed_by_client_and_to_a_limit() {
    let scene = Scene::routed();
    let web = scene.port("web");
    let open = || -> Vec<TcpStream> {
        (0..1_500)
            .map(|_| TcpStream::connect(web).unwrap())
            .collect()
    };
    kit::allow_many_descriptors();
    let streams = scene.lab.client.enter(open);
    let count = |arguments: &[&str]| -> usize {
        let words = [&["flows", "count"], arguments].concat();
        scene.agent.ctl(&words).ok().stdout.trim().parse().unwrap()
    };
    eventually(SOON, || count(&[]) == 1_500);
    let client = scene.lab.client_address(V4).to_string();
    assert_eq!(count(&["--client", &client, "-p", "web"]), 1_500);
    assert_eq!(count(&["--client", "192.0.2.77"]), 0);
    let one = streams[7].local_addr().unwrap().to_string();
    let listed = scene.agent.items(&["flows", "list", "--client", &one]);
    assert_eq!(
        (listed.len(), &listed[0]["client"]),
        (1, &one.clone().into())
    );
    assert_eq!(listed[0]["service"], "web");
    assert_eq!(
        scene.agent.items(&["flows", "list", "--limit", "7"]).len(),
        7
    );
    // More than are printed at once, in every form.
    let all = scene.agent.ctl_json(&["flows", "list"]);
    assert_eq!(
        (&all["kind"], all["items"].as_array().unwrap().len()),
        (&"FlowList".into(), 1_500)
    );
    let lines = |format: &str| {
        let listed = scene
            .agent
            .ctl(&["flows", "list", "-o", format])
            .ok()
            .stdout;
        listed.lines().count()
    };
    assert_eq!((lines("table"), lines("name")), (1_501, 1_500));
    let none = scene
        .agent
        .ctl_json(&["flows", "list", "--client", "192.0.2.77"]);
    assert_eq!(none["items"], serde_json::json!([]));
    assert_eq!(
        scene
            .agent
            .ctl(&["flows", "count", "--client", "nobody"])
            .code,
        2
    );
    assert_eq!(scene.agent.ctl(&["flows", "count", "-p", "nobody"]).code, 4);
}

#[test]
fn tls_without_a_certificate_is_refused_before_anything_changes() {
    let scene = Scene::routed();
    let web = scene.port("web");
    let refused = scene.agent.ctl(&["ports", "set", "web", "tls=on"]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("web.crt"), "{}", refused.stderr);
    assert_eq!(
        traffic::connect(&scene.lab.client, web, 4).errors,
        Vec::<String>::new()
    );
}

#[test]
fn verbs_of_other_tools_are_answered_with_ours() {
    let lab = Lab::routed();
    let agent = Agent::start(&lab);
    let wrong = agent.ctl(&["ports", "rm", "web"]);
    assert_eq!(wrong.code, 2);
    assert!(
        wrong.stderr.contains("fix:   harbor-ctl ports delete"),
        "{}",
        wrong.stderr
    );
    for words in [
        &["help"][..],
        &["help", "ports"],
        &["ports", "help", "create"],
    ] {
        let helped = agent.ctl(words).ok();
        assert!(
            helped.stdout.contains("Usage:"),
            "{words:?}: {}",
            helped.stdout
        );
    }
}

/// Runs the command line as somebody who may nothing, with a configuration that everybody may read.
fn as_nobody(lab: &Lab, arguments: &[&str]) -> Finished {
    let file = std::env::temp_dir().join(format!("harbor-{}.toml", lab.node.name()));
    let (bpf, run) = (lab.bpf(), lab.folder().join("run"));
    fs::write(&file, format!("[paths]\nbpf = {bpf:?}\nrun = {run:?}\n")).unwrap();
    let mut command = lab.node.command("setpriv");
    command.args([
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "--inh-caps",
        "-all",
    ]);
    command
        .arg(binary("harbor-ctl"))
        .arg("--config")
        .arg(&file)
        .args(arguments);
    let done = finish(&mut command);
    fs::remove_file(&file).unwrap();
    done
}

#[test]
fn who_may_not_look_at_the_datapath_is_told_so() {
    let lab = Lab::routed();
    let _agent = Agent::start(&lab);
    fs::set_permissions(lab.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(lab.bpf(), fs::Permissions::from_mode(0o700)).unwrap();
    let refused = as_nobody(&lab, &["datapath", "status"]);
    assert_eq!(refused.code, 6, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("Permission denied"),
        "{}",
        refused.stderr
    );
}

#[test]
fn numbers_below_1024_are_held_with_the_rights_of_the_unit() {
    let unit = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../harbor-ctl/dist/harbor.service"
    );
    let unit = fs::read_to_string(unit).unwrap();
    let rights = unit
        .lines()
        .find_map(|line| line.strip_prefix("CapabilityBoundingSet="))
        .unwrap();
    let rights = rights.to_lowercase().replace("cap_", "+").replace(' ', ",");
    let words = [
        "setpriv",
        "--bounding-set",
        &format!("-all,{rights}"),
        "--inh-caps",
        "-all",
    ];
    let config = Config {
        wrapper: words.map(str::to_owned).to_vec(),
        ..Config::with("[ports]\nrange = \"300-310\"\n")
    };
    let lab = Lab::routed();
    let scene = Scene::on(lab, &config);
    let web: SocketAddr = scene.port("web");
    assert!(web.port() < 1_024);
    let status = scene.agent.ctl_json(&["status"]);
    assert_eq!(status["proxy"]["state"], "ok", "{status}");
    assert_eq!(
        traffic::connect(&scene.lab.client, web, 4).errors,
        Vec::<String>::new()
    );
}

#[test]
fn ports_answer_at_the_addresses_of_the_node_and_at_no_other() {
    for mode in ["tc", "proxy"] {
        let lab = Lab::routed();
        let public = lab.public(V4).to_string();
        let text = format!("[node]\naddresses = [{public:?}]\n[datapath]\nmode = {mode:?}\n");
        let other = "10.77.1.99";
        lab.node.ip(&format!("addr add {other}/24 dev eth0"));
        let scene = Scene::on(lab, &Config::with(&text));
        let web = scene.port("web");
        let tally = traffic::connect(&scene.lab.client, web, 4);
        assert_eq!(tally.errors, Vec::<String>::new(), "{mode}");
        let elsewhere = SocketAddr::new(other.parse().unwrap(), web.port());
        let answered = scene.lab.client.enter(|| {
            let connected = TcpStream::connect_timeout(&elsewhere, Duration::from_secs(2));
            connected.is_ok()
        });
        assert!(!answered, "{mode}");
        let client = format!("{}:4000", scene.lab.client_address(V4));
        let words = ["explain", "--src", &client, "--dst", &elsewhere.to_string()];
        let explained = scene.agent.ctl_json(&words);
        assert_eq!(explained["name"], "not-ours", "{mode}: {explained}");
    }
}
