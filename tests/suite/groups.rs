//! Who may ask by the control socket, tried by processes of other users.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
};

use kit::{Agent, Config, Finished, Lab, binary, finish};

const ADMINS: &str = "4241";
const READERS: &str = "4242";

/// Runs `harbor-ctl` as an ordinary user who is in these groups.
fn ask(lab: &Lab, agent: &Agent, (main, more): (&str, &str), words: &[&str]) -> Finished {
    let mut command = lab.node.command("setpriv");
    command.args(["--reuid", "12345", "--regid", main]);
    match more {
        "" => command.arg("--clear-groups"),
        more => command.args(["--groups", more]),
    };
    command
        .arg(binary("harbor-ctl"))
        .arg("--socket")
        .arg(agent.socket())
        .args(words);
    finish(&mut command)
}

/// An agent whose socket others can reach as far as its own file lets them.
fn agent(lab: &Lab, lines: &str) -> Agent {
    let agent = Agent::start_with(lab, &Config::with(&format!("[control]\n{lines}")));
    let socket = agent.socket();
    for folder in socket
        .ancestors()
        .skip(1)
        .take_while(|f| f.parent().is_some())
    {
        let mode = fs::metadata(folder).unwrap().permissions().mode();
        if mode & 0o001 == 0 {
            fs::set_permissions(folder, fs::Permissions::from_mode(mode | 0o011)).unwrap();
        }
    }
    agent
}

#[test]
fn one_group_may_everything_and_another_may_look() {
    let lab = Lab::routed();
    let lines = format!("admin_group = \"{ADMINS}\"\nread_group = \"{READERS}\"\n");
    let agent = agent(&lab, &lines);
    assert_eq!(fs::metadata(agent.socket()).unwrap().mode() & 0o777, 0o660);
    let create = |name| ["ports", "create", name];
    // By the main group and by one of the others.
    ask(&lab, &agent, (ADMINS, ""), &create("one")).ok();
    ask(
        &lab,
        &agent,
        ("100", &format!("7,{ADMINS}")),
        &create("two"),
    )
    .ok();
    for groups in [(READERS, ""), ("100", READERS)] {
        let seen = ask(&lab, &agent, groups, &["ports", "list", "-o", "name"]).ok();
        assert!(seen.stdout.contains("two"), "{}", seen.stdout);
        for change in [
            &create("three")[..],
            &["ports", "delete", "one", "--yes"],
            &["config", "set", "log.keep", "3"],
            &["flows", "kill", "--all", "--yes"],
        ] {
            let refused = ask(&lab, &agent, groups, change);
            assert_eq!(refused.code, 6, "{change:?}: {}", refused.stderr);
            assert!(refused.stderr.contains("look"), "{}", refused.stderr);
        }
    }
    let stranger = ask(&lab, &agent, ("100", "7"), &["ports", "list"]);
    assert_eq!(stranger.code, 6, "{}", stranger.stderr);
    // Root always may, and so may whoever the agent runs as.
    assert_eq!(agent.items(&["ports", "list"]).len(), 2);
    let log = agent.log("node");
    let audited = |line: &&str| line.contains("change requested") && line.contains("uid=12345");
    assert!(
        log.lines()
            .filter(audited)
            .all(|line| line.contains("pid="))
    );
    assert_eq!(log.lines().filter(audited).count(), 2, "{log}");
    assert!(log.contains("refused: your group may look"), "{log}");
}

#[test]
fn without_a_reading_group_the_file_itself_keeps_others_out() {
    let lab = Lab::routed();
    let agent = agent(&lab, &format!("admin_group = \"{ADMINS}\"\n"));
    let socket = fs::metadata(agent.socket()).unwrap();
    assert_eq!(
        (socket.mode() & 0o777, socket.gid().to_string()),
        (0o660, ADMINS.into())
    );
    ask(&lab, &agent, ("100", ADMINS), &["ports", "create", "one"]).ok();
    let stranger = ask(&lab, &agent, (READERS, ""), &["ports", "list"]);
    assert_eq!(stranger.code, 6, "{}", stranger.stderr);
}
