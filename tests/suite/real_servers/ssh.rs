//! SSH: a session that rests and goes on.

use std::{fs, net::SocketAddr, path::Path, process::Command, thread};

use kit::{Lab, eventually, finish};

use super::{MINUTES, Server, addresses};
use crate::scene::FAMILIES;

/// What the session does on the app host. The pause is the point: nothing passes meanwhile.
const SESSION: &str = "echo before; sleep 20; seq 100000; echo after";

#[test]
fn an_ssh_session_survives_a_pause_and_carries_on() {
    let lab = Lab::routed();
    let config = configure(&lab);
    // OpenSSH wants a folder under /run; this one is the server's own.
    let script = format!(
        "mount -t tmpfs none /run && mkdir /run/sshd && exec /usr/sbin/sshd -D -e -f {}",
        config.display()
    );
    let mut command = lab.apps[0].command("unshare");
    command.args(["--mount", "sh", "-c", &script]);
    let sshd = Server::start(lab, "ssh", &mut command);
    let ports = FAMILIES.map(|family| sshd.port(family, 22));
    for to in ports {
        eventually(MINUTES, || session(&sshd, to, "echo up").0 == "up\n");
    }
    let numbers: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
    thread::scope(|scope| {
        let sshd = &sshd;
        let sessions = ports.map(|to| scope.spawn(move || (to, session(sshd, to, SESSION))));
        for (to, (stdout, stderr)) in sessions.map(|session| session.join().unwrap()) {
            let is_right = stdout == format!("before\n{numbers}after\n");
            assert!(is_right, "{to}: {} bytes\n{stderr}", stdout.len());
        }
    });
}

/// Runs a command by ssh; what it says on stdout and stderr.
fn session(sshd: &Server, to: SocketAddr, command: &str) -> (String, String) {
    let key = sshd.lab.folder().join("user").display().to_string();
    let words = [
        "ssh",
        "-F",
        "/dev/null",
        "-i",
        &key,
        "-o",
        "BatchMode=yes",
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-p",
        "PORT",
        "-l",
        "root",
        "HOST",
        command,
    ];
    let finished = sshd.client(to, &words);
    (finished.stdout, finished.stderr)
}

/// Keys and configuration in the lab's folder; nothing of the machine's is read.
fn configure(lab: &Lab) -> std::path::PathBuf {
    let file = |name: &str| lab.folder().join(name);
    for name in ["host", "user"] {
        generate(&file(name));
    }
    let listen = addresses(lab).map(|own| format!("ListenAddress {own}\n"));
    let text = format!(
        "Port 22\n{}HostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\n\
         StrictModes no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n",
        listen.concat(),
        file("host").display(),
        file("user.pub").display(),
    );
    let config = file("sshd_config");
    fs::write(&config, text).unwrap();
    config
}

fn generate(path: &Path) {
    let mut command = Command::new("ssh-keygen");
    finish(
        command
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(path),
    )
    .ok();
}
