//! What `cargo xtask run` does on a machine, on a node of the lab in its stead.

use std::{fs, process::Command, time::Duration};

use kit::{Lab, Process, binary, eventually, finish};
use nix::sys::signal::Signal;

#[test]
fn run_keeps_an_agent_until_it_is_ended_and_leaves_nothing_behind() {
    let lab = Lab::routed();
    let folder = lab.folder().join("run");
    let mut command = lab.node.command(binary("xtask"));
    command
        .args(["run", "--dir"])
        .arg(&folder)
        .env("HARBOR_CTL", binary("harbor-ctl"));
    let mut xtask = Process::start(&mut command, lab.folder(), "xtask");
    let ctl = |words: &[&str]| {
        let mut command = Command::new(binary("harbor-ctl"));
        finish(
            command
                .arg("--socket")
                .arg(folder.join("run/harbor.sock"))
                .args(words),
        )
    };
    eventually(Duration::from_secs(20), || {
        assert!(xtask.is_running(), "{}", xtask.printed());
        ctl(&["status"]).code == 0
    });
    ctl(&["ports", "create", "web"]).ok();
    let mounts = || fs::read_to_string("/proc/mounts").unwrap();
    assert!(mounts().contains(folder.to_str().unwrap()));
    xtask.signal(Signal::SIGTERM);
    assert_eq!(
        xtask.wait(Duration::from_secs(20)),
        0,
        "{}",
        xtask.printed()
    );
    assert!(!mounts().contains(folder.to_str().unwrap()), "{}", mounts());
    assert_eq!(fs::read_dir(folder.join("bpf")).unwrap().count(), 0);
    // The folder was named, so what was created in it is kept.
    assert!(folder.join("state").exists());
}
