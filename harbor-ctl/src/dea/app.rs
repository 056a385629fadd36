//! The app's process: its start, its end, and whether it listens.

use std::{
    collections::BTreeSet, ffi::OsString, io, os::unix::process::ExitStatusExt as _,
    process::ExitStatus,
};

use nix::{
    sys::{
        prctl,
        signal::{Signal, kill},
    },
    unistd::Pid,
};
use tokio::process::{Child, Command};

use super::{environment::Service, error::DeaError};
use crate::allocator::{Scope, read_sockets};

/// A running command. It ends with whoever started it.
#[derive(Debug)]
pub(super) struct App {
    child: Child,
    listening: BTreeSet<u16>,
}

impl App {
    pub(super) fn start(
        words: &[OsString],
        variables: &[(String, String)],
    ) -> Result<Self, DeaError> {
        let (program, arguments) = words.split_first().ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "there is no command to run")
        })?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .envs(variables.iter().cloned())
            .kill_on_drop(true);
        // SAFETY: prctl is async-signal-safe, and nothing else happens between fork and exec.
        unsafe {
            command.pre_exec(|| prctl::set_pdeathsig(Signal::SIGTERM).map_err(io::Error::from));
        }
        let child = command.spawn().map_err(|source| DeaError::Start {
            command: program.clone(),
            source,
        })?;
        Ok(Self {
            child,
            listening: BTreeSet::new(),
        })
    }

    /// Waits for its end; the code that a shell would show.
    pub(super) async fn ended(&mut self) -> io::Result<u8> {
        self.child.wait().await.map(code)
    }

    pub(super) fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    pub(super) fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    fn signal(&self, signal: Signal) {
        // Without an id it has ended and was waited for.
        if let Some(pid) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Looks which of the services' numbers somebody listens on.
    pub(super) fn look(&mut self, services: &[Service]) {
        let Ok(sockets) = read_sockets(Scope::Listeners) else {
            return;
        };
        let listens = |service: &&Service| {
            let mut each = service.protocols.each().iter();
            each.all(|protocol| sockets.contains_key(&(*protocol, service.port)))
        };
        let ports = services.iter().filter(listens).map(|service| service.port);
        self.listening = ports.collect();
    }

    pub(super) fn listens(&self, port: u16) -> bool {
        self.listening.contains(&port)
    }
}

fn code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
