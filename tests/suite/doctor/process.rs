//! An agent, or whoever examines, that may not do what has to be done.

use kit::{Agent, Config, Lab, binary, finish};

use super::{Ground, items};

#[test]
fn rights_that_are_missing_are_found() {
    let ground = Ground::with("");
    ground.is_well("rights");
    ground.is_well("object");
    let mut command = ground.lab.node.command("setpriv");
    command.args([
        "--bounding-set=-bpf,-sys_admin,-net_admin",
        "--inh-caps=-all",
    ]);
    command.arg(binary("harbor-ctl"));
    command.arg("--config").arg(ground.agent.config_file());
    let found = finish(command.args(["doctor", "-o", "json", "--only", "rights"]));
    let found = (found.code, items(&found));
    assert_eq!(
        (found.0, &found.1[0]["state"]),
        (7, &"fault".into()),
        "{found:#?}"
    );
    assert!(!found.1[0]["fix"].is_null(), "{found:#?}");
}

#[test]
fn an_agent_that_may_have_too_few_descriptors_is_found() {
    let lab = Lab::routed();
    let config = Config {
        wrapper: vec!["prlimit".into(), "--nofile=512".into()],
        ..Config::default()
    };
    let agent = Agent::start_with(&lab, &config);
    let ground = Ground { agent, lab };
    ground.finds(
        "descriptors",
        "warning",
        "512 descriptors, and the range may need",
    );
}
