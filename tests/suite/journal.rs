//! Lines in systemd's journal, by the real one in a mount namespace of its own.

use std::{fs, time::Duration};

use kit::{Agent, Config, Lab, Process, binary, eventually, finish};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);
/// A journal below the folder, and then what the arguments say, with standard error as systemd hands it over.
const SCRIPT: &str = r#"
mount --make-rprivate / && mount -t tmpfs journal /run || exit 1
mkdir -p /run/systemd/journal /run/log/journal "$1/journal"
mount --bind "$1/journal" /run/log/journal || exit 1
/lib/systemd/systemd-journald & JOURNAL=$!
trap 'kill $AGENT; wait $AGENT; sleep 1; kill $JOURNAL; wait $JOURNAL' TERM
while [ ! -S /run/systemd/journal/socket ]; do sleep 0.1; done
exec 2> "$1/stderr"
JOURNAL_STREAM=$(stat -Lc %d:%i "$1/stderr"); export JOURNAL_STREAM
folder=$1; shift
"$@" & AGENT=$!
wait $AGENT
"#;

/// What the journal holds of the agent.
fn entries(lab: &Lab) -> Vec<Value> {
    let mut journalctl = std::process::Command::new("journalctl");
    journalctl
        .args([
            "-o",
            "json",
            "--no-pager",
            "SYSLOG_IDENTIFIER=harbor-ctl",
            "-D",
        ])
        .arg(lab.folder().join("journal"));
    let said = finish(&mut journalctl);
    let lines = said.stdout.lines();
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn find(lab: &Lab, message: &str) -> Option<Value> {
    let entries = entries(lab);
    let is_it = |entry: &Value| {
        entry["MESSAGE"]
            .as_str()
            .is_some_and(|m| m.contains(message))
    };
    entries.into_iter().find(is_it)
}

#[test]
fn lines_in_the_journal_have_a_priority_and_fields_and_stand_there_once() {
    let lab = Lab::routed();
    let agent = Agent::configured(&lab, &Config::default());
    let mut command = lab.node.command("unshare");
    command
        .args(["-m", "sh", "-c", SCRIPT, "sh"])
        .arg(lab.folder())
        .arg(binary("harbor-ctl"))
        .args(["agent", "--config"])
        .arg(agent.config_file());
    let mut unit = Process::start(&mut command, lab.folder(), "unit");
    eventually(SOON, || agent.ctl(&["status"]).code == 0);
    let port = agent.create(&["web"]);
    // A warning, which is nobody's information.
    let config = agent.config_file();
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text + "\n[metrics]\nlisten = \"127.0.0.1:9464\"\n").unwrap();
    let set = agent.ctl(&["config", "set", "log.keep", "9"]);
    assert_eq!(set.code, 0, "{}", set.stderr);
    let allocated = format!("port {port}/tcp allocated");
    eventually(SOON, || find(&lab, &allocated).is_some());
    let entry = find(&lab, &allocated).unwrap();
    // Notice, in the words of syslog(3): tracing's INFO.
    assert_eq!(
        (&entry["PRIORITY"], &entry["HARBOR_NAME"]),
        (&"5".into(), &"web".into())
    );
    assert_eq!(entry["TARGET"], "harbor_ctl::controller::allocate");
    let warning = "changes with the next restart";
    eventually(SOON, || find(&lab, warning).is_some());
    assert_eq!(find(&lab, warning).unwrap()["PRIORITY"], "4");
    let all = entries(&lab);
    let twice = all.iter().filter(|entry| {
        let message = entry["MESSAGE"].as_str().unwrap_or_default();
        message.contains(&allocated)
    });
    assert_eq!(twice.count(), 1);
    let stderr = fs::read_to_string(lab.folder().join("stderr")).unwrap();
    assert!(!stderr.contains(&allocated), "{stderr}");
    unit.signal(nix::sys::signal::Signal::SIGTERM);
    unit.wait(SOON);
}
