//! A lab that stands when this program has ended, under fixed names.

use std::{fs, process::ExitCode};

use kit::{Agent, Lab, Lifetime, Netns, Topology, V4, binary, tear_down};

use crate::servers::Servers;

const PREFIX: &str = "harbor-lab";

pub(crate) fn up() -> ExitCode {
    tear_down(PREFIX);
    let lab = Lab::named(PREFIX, Topology::Routed, Lifetime::Lasting);
    let agent = Agent::start(&lab);
    let servers = Servers::start(&lab, &agent);
    let shell = format!(
        "harbor-ctl() {{ command {} --socket {} \"$@\"; }}\nPS1='lab:$HOST# '\n",
        binary("harbor-ctl").display(),
        agent.socket().display()
    );
    fs::write(lab.folder().join("shell"), shell).ok();
    println!("{}", agent.ctl(&["ports", "list"]).stdout);
    println!(
        "client {}  ->  node {}  ->  app1 {}, app2 {}",
        lab.client_address(V4),
        lab.public(V4),
        lab.app(V4, 0),
        lab.app(V4, 1)
    );
    println!(
        "cargo xtask lab shell client    then: redis-cli -h {} -p {} ping",
        lab.public(V4),
        servers.redis.port()
    );
    println!("cargo xtask lab shell node      then: harbor-ctl status");
    println!("cargo xtask lab down");
    servers.keep();
    agent.keep();
    lab.keep();
    ExitCode::SUCCESS
}

pub(crate) fn down() -> ExitCode {
    let found = tear_down(PREFIX);
    println!(
        "{}",
        if found {
            "the lab is gone"
        } else {
            "there was no lab"
        }
    );
    ExitCode::SUCCESS
}

pub(crate) fn shell(host: &str) -> ExitCode {
    if !["client", "node", "app1", "app2"].contains(&host) {
        println!("no host {host}: client, node, app1 or app2");
        return ExitCode::from(2);
    }
    let netns = Netns::open(format!("{PREFIX}-{host}"), Lifetime::Lasting);
    let rc = std::env::temp_dir().join(PREFIX).join("shell");
    let mut shell = netns.command("bash");
    shell
        .arg("--rcfile")
        .arg(&rc)
        .env("BASH_ENV", &rc)
        .env("HOST", host);
    match shell.status() {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            println!("bash: {error}");
            ExitCode::FAILURE
        }
    }
}
