//! Completion in a real bash: what a shell reads once, and what it is offered then.

use std::process::Command;

use kit::{binary, finish};

use crate::scene::Scene;

/// What bash offers for a line that ends at the cursor, in one mode of the shell.
#[track_caller]
fn offered(scene: &Scene, line: &str, mode: &str) -> Vec<String> {
    let folder = binary("harbor-ctl").parent().unwrap().to_owned();
    let script = r#"
        PATH="$1:$PATH"
        source <(harbor-ctl completions bash)
        [[ $(complete -p harbor-ctl) == *"-F _harbor_ctl harbor-ctl" ]] || exit 9
        [[ -n $3 ]] && set -o "$3"
        COMP_LINE="$2" COMP_POINT=${#2}
        _harbor_ctl
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut command = Command::new("bash");
    command.args(["--norc", "-c", script, "bash"]);
    command.arg(folder).arg(line).arg(mode);
    command.env("HARBOR_SOCKET", scene.agent.socket());
    let printed = finish(&mut command).ok().stdout;
    printed.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_verbs_names_of_ports_and_keys_for_a_name_with_a_hyphen() {
    let scene = Scene::routed();
    let web = scene.port("web-shop").port().to_string();
    scene.port("udp-game");
    for mode in ["", "posix"] {
        let after = |line: &str| offered(&scene, &format!("harbor-ctl {line}"), mode);
        assert_eq!(after("por"), ["ports"]);
        assert_eq!(after("ports sh"), ["show"]);
        assert_eq!(after("ports show w"), ["web-shop"]);
        assert_eq!(after(&format!("ports show {web}")), [web.as_str()]);
        assert!(after("ports delete ").contains(&"udp-game".to_owned()));
        assert_eq!(after("-o json ports set web-shop drain"), ["drain_s="]);
        assert_eq!(after("config get log.lev"), ["log.level"]);
        assert_eq!(after("events --port udp"), ["udp-game"]);
        // Bash takes a word apart at '=' and ':', and puts the parts together again.
        let app = scene.app(0);
        let line = format!("backends drain web-shop {}:", app.ip());
        assert_eq!(after(&line), [app.port().to_string()]);
        assert_eq!(after("ports create x --protocol b"), ["both"]);
        assert_eq!(after("ports list --sort rea"), ["reason"]);
        assert_eq!(after("ports list --sort=rea"), ["reason"]);
        assert_eq!(after("ports list --state up,dow"), ["up,down"]);
        assert_eq!(after("ports list -oy"), ["-oyaml"]);
        assert_eq!(after("ports set web-shop policy=fi"), ["first"]);
        assert_eq!(after("config set log.level wa"), ["warn"]);
    }
}

#[test]
fn nobody_waits_in_a_shell_for_an_agent_that_is_not_there() {
    let mut scene = Scene::routed();
    scene.agent.stop();
    assert_eq!(offered(&scene, "harbor-ctl ports show w", ""), [""]);
    assert_eq!(offered(&scene, "harbor-ctl ports sh", ""), ["show"]);
}
