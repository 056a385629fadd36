//! From nothing to traffic with curl alone: the README's own lines.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use kit::{Agent, Config, Lab, Process, app_host, eventually, finish, traffic};

use super::gateway;

const SOON: Duration = Duration::from_secs(20);

/// The fenced blocks of the README's chapter for platforms.
fn blocks() -> Vec<String> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let text = fs::read_to_string(readme).unwrap();
    let chapter = text
        .split("\n## ")
        .find(|part| part.starts_with("Ports for a platform"));
    let chapter = chapter.expect("the README has a chapter for platforms");
    let blocks = chapter.split("\n```").skip(1).step_by(2);
    blocks
        .map(|block| block.trim_start_matches('\n').to_owned())
        .collect()
}

#[test]
fn the_readme_leads_from_nothing_to_traffic() {
    let lab = Lab::routed();
    let lines = format!("{}{}", app_host::reachable(&lab, "17s"), gateway(&lab));
    let agent = Agent::start_with(&lab, &Config::with(&lines));
    let [ask, run, end] = &blocks()[..] else {
        panic!("three blocks: ask, run, end");
    };
    let place = |text: &str| {
        let password = lab.folder().join("gateway.password").display().to_string();
        let token = app_host::token(&lab).display().to_string();
        let tool = kit::binary("harbor-ctl").display().to_string();
        let server = format!(
            "{} serve --name app --tcp 10.77.2.11:$STACKATO_HARBOR",
            kit::binary("harbor-traffic").display()
        );
        text.replace("/etc/harbor/gateway.password", &password)
            .replace("/etc/harbor/dea.token", &token)
            .replace("harbor-ctl", &tool)
            .replace("./my-server --port $STACKATO_HARBOR", &server)
    };
    let shell = |text: &str| {
        let mut command = lab.node.command("sh");
        command.current_dir(lab.folder());
        finish(command.args(["-ec", &place(text)])).ok().stdout
    };
    let said = shell(ask);
    assert!(
        said.contains("\"credentials\"") && said.contains("\"int_port\":4100"),
        "{said}"
    );

    let mut command = lab.apps[0].command("sh");
    command.args(["-c", &place(run)]);
    let app = Process::start(&mut command, lab.folder(), "readme-app");
    let port = agent.ctl_json(&["ports", "list"])["items"][0]["port"]
        .as_u64()
        .unwrap();
    let to = SocketAddr::new(lab.public(kit::V4), u16::try_from(port).unwrap());
    eventually(SOON, || {
        let shown = agent.ctl_json(&["ports", "show", &port.to_string()]);
        shown["backends"]["up"] == 1
    });
    let tally = traffic::connect(&lab.client, to, 10);
    assert_eq!(tally.of("app"), 10, "{tally:?}\n{}", app.printed());

    let head: Vec<&str> = ask
        .lines()
        .take_while(|line| !line.contains("catalog"))
        .collect();
    shell(&format!("{}\n{end}", head.join("\n")));
    assert!(agent.items(&["ports", "list"]).is_empty());
    assert!(!traffic::connect(&lab.client, to, 1).errors.is_empty());
}
