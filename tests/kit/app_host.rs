//! Instances on app hosts, run and announced by `harbor-ctl dea run`.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt as _, path::PathBuf};

use nix::sys::signal::Signal;

use crate::{Lab, Process, binary, eventually, process::Finished, process::finish};

/// Where agents of these tests have the TCP side of their control API.
pub const CONTROL: &str = "10.77.2.1:8442";

/// Configuration lines for an agent that app hosts can reach, with leases of this length.
pub fn reachable(lab: &Lab, lease: &str) -> String {
    let token = token(lab);
    format!(
        "[control]\nlisten = \"{CONTROL}\"\ninsecure = true\n[discovery]\nlease = \"{lease}\"\ntoken_file = {token:?}\n"
    )
}

/// The file with the app hosts' token.
pub fn token(lab: &Lab) -> PathBuf {
    let path = lab.folder().join("dea.token");
    if !path.exists() {
        fs::write(&path, "a-token-of-app-hosts\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    path
}

/// One instance with its announcer.
#[derive(Debug)]
pub struct Instance {
    /// `harbor-ctl dea run`
    pub announcer: Process,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Instance {
    /// Starts an instance of a service on an app host, counted from 0; it greets with its name.
    #[track_caller]
    pub fn start(lab: &Lab, app: u8, names: (&str, &str), port: u16, more: &[&str]) -> Self {
        Self::start_with(lab, app, names, port, (more, Vec::new()))
    }

    /// The same on a host with environment variables of its own.
    #[track_caller]
    pub fn start_with(
        lab: &Lab,
        app: u8,
        (service, name): (&str, &str),
        port: u16,
        (more, variables): (&[&str], Vec<(String, String)>),
    ) -> Self {
        let address = SocketAddr::new(lab.app(crate::V4, app), port);
        let server = binary("harbor-traffic").display().to_string();
        let ip = address.ip();
        // The number comes from the environment, as for every app.
        let line = format!(
            "exec {server} serve --name {name} --tcp {ip}:$STACKATO_HARBOR --udp {ip}:$STACKATO_HARBOR"
        );
        let (url, token) = (format!("http://{CONTROL}"), token(lab));
        let to = ["--to", &url, "--token-file", token.to_str().unwrap()];
        let mut command = lab.apps[usize::from(app)].command(binary("harbor-ctl"));
        command
            .args(["dea", "run", "--service", service, "--instance", name])
            .args(if more.contains(&"--to") { &[][..] } else { &to })
            .args(["--int-port", &port.to_string()])
            .args(if more.contains(&"--drain") {
                &[][..]
            } else {
                &["--drain", "0s"]
            })
            .args(more)
            .args(["--", "sh", "-c", &line])
            .envs(variables);
        Self {
            announcer: Process::start(&mut command, lab.folder(), &format!("run-{name}")),
            address,
        }
    }

    /// Kills the instance; its announcer sees it end.
    #[track_caller]
    pub fn kill_command(&self) {
        let child = nix::unistd::Pid::from_raw(self.command());
        nix::sys::signal::kill(child, Signal::SIGKILL).unwrap();
    }

    /// The process that the announcer has started.
    #[track_caller]
    fn command(&self) -> i32 {
        let id = self.announcer.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let child = children.split_whitespace().next();
        child.expect("a running command").parse().unwrap()
    }

    /// Ends instance and announcer as a power cut would, without a word.
    #[track_caller]
    pub fn cut(&mut self) {
        let command = format!("/proc/{}", self.command());
        self.announcer.signal(Signal::SIGKILL);
        self.announcer.wait(std::time::Duration::from_secs(10));
        // The kernel ends the command with its announcer, and a little later.
        eventually(std::time::Duration::from_secs(10), || {
            !std::path::Path::new(&command).exists()
        });
    }
}

/// Asks an agent's TCP side with curl from an app host: the status and the body.
pub fn ask(lab: &Lab, arguments: &[&str]) -> (u16, String) {
    let mut command = lab.apps[0].command("curl");
    command.args(["-sS", "-m", "10", "-w", "\n%{http_code}"]);
    let Finished { stdout, .. } = finish(command.args(arguments)).ok();
    let (body, code) = stdout.rsplit_once('\n').unwrap();
    (code.parse().unwrap(), body.to_owned())
}
