//! One run of a client command: where the agent is, how to print, whether to ask.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    path::{Path, PathBuf},
};

use super::{failure::Failure, globals::Globals, output::Output};
use crate::{
    config::{self, ConfigError, Despite, Loaded, Paths, Source},
    control::Client,
};

/// What every verb needs.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) globals: Globals,
    pub(super) output: Output,
}

impl Session {
    pub(super) fn new(globals: &Globals) -> Result<Self, Failure> {
        Ok(Self {
            globals: globals.clone(),
            output: Output::new(globals),
        })
    }

    /// The configuration as it is on disk.
    pub(super) fn configuration(&self) -> Result<Loaded, ConfigError> {
        config::load(&self.source())
    }

    pub(super) fn source(&self) -> Source {
        Source::new(self.globals.config.as_deref(), Vec::new())
    }

    fn socket(&self) -> Result<PathBuf, Failure> {
        if let Some(socket) = &self.globals.socket {
            return Ok(socket.clone());
        }
        match self.paths() {
            Ok(paths) => Ok(paths.socket()),
            // The default file may be unreadable for this user; the default socket may not.
            Err(_) if self.globals.config.is_none() => {
                Ok(Path::new("/run/harbor/harbor.sock").into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The agent's folders, also by a configuration that is wrong otherwise: that is said, and keeps
    /// nobody from asking an agent that runs.
    pub(super) fn paths(&self) -> Result<Paths, ConfigError> {
        let error = match self.configuration() {
            Ok(loaded) => return Ok(loaded.config.paths),
            Err(error) => error,
        };
        let Some(Despite { paths, is_denied }) = config::paths_despite(&self.source()) else {
            return Err(error);
        };
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        let is_own = self.globals.config.is_none();
        match is_denied && is_own {
            true => self.detail(first),
            false => self.say(&format!(
                "warning: {first}; all of it: harbor-ctl config check"
            )),
        }
        Ok(paths)
    }

    /// A connection to the agent.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let socket = self.socket()?;
        self.detail(&format!("asking the agent at {}", socket.display()));
        Ok(Client::connect(&socket, self.globals.timeout)?)
    }

    /// Words for people, unless they want quiet.
    pub(super) fn say(&self, text: &str) {
        if !self.globals.quiet {
            super::output::say(&format!("{}\n", crate::model::escaped(text)));
        }
    }

    fn detail(&self, text: &str) {
        if self.globals.verbose > 0 {
            self.say(text);
        }
    }

    /// Asks before something is destroyed; without a terminal only `--yes` answers.
    pub(super) fn confirm(&self, question: &str, yes: bool) -> Result<(), Failure> {
        if yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            return Err(Failure::usage(format!("{question}: not confirmed"))
                .fix("there is no terminal to ask on: add --yes"));
        }
        super::output::say(&format!("{question}? [y/N] "));
        let _ = io::stderr().flush();
        let mut answer = String::new();
        let read = io::stdin().lock().read_line(&mut answer);
        match (read, answer.trim()) {
            (Ok(_), "y" | "Y" | "yes") => Ok(()),
            _ => Err(Failure::failed("not confirmed, nothing changed")),
        }
    }
}
