//! Why an agent does not start, or ends by itself, and what to do about it.

use std::io;

use crate::{
    config::ConfigError,
    control::LockError,
    datapath::DatapathError,
    forwarding::StartError,
    model::{Refusal, RefusalKind},
    registry::RegistryError,
    views::registry::emptied_fix,
};

/// Why the agent did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// Another agent has the pins, or they are not this version's.
    #[error(transparent)]
    Pins(DatapathError),
    /// Another agent uses the lock or the registry.
    #[error("{text}")]
    SecondAgent { text: String },
    /// A file of `[discovery].hosts` is wrong.
    #[error("discovery.hosts: {text}")]
    AppHosts { text: String },
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("{0}")]
    Registry(RegistryError),
    /// What this node's own registry holds is not what was written.
    #[error("{text}")]
    Spoilt { text: String, fix: String },
    #[error("the agent cannot go on: {0}")]
    Fatal(String),
}

impl From<RegistryError> for AgentError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::InUse(_) => Self::SecondAgent {
                text: error.to_string(),
            },
            other => Self::Registry(other),
        }
    }
}

impl From<LockError> for AgentError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Held(_) => Self::SecondAgent {
                text: error.to_string(),
            },
            LockError::Io { path, source } => Self::Io {
                what: format!("cannot lock {}", path.display()),
                source,
            },
        }
    }
}

impl From<AgentError> for Refusal {
    fn from(error: AgentError) -> Self {
        let text = error.to_string();
        match error {
            AgentError::Config(error) => error.into(),
            AgentError::Pins(error) => {
                let refusal = Self::new(RefusalKind::Conflict, text);
                match error.fix {
                    Some(fix) => refusal.fix(fix),
                    None => refusal,
                }
            }
            AgentError::SecondAgent { .. } => Self::new(RefusalKind::Conflict, text)
                .fix("stop it first (systemctl stop harbor), or give this one other [paths]"),
            AgentError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Self::new(RefusalKind::Denied, text)
                    .fix("run the agent as root, or give it other [paths]")
            }
            AgentError::AppHosts { .. } => Self::invalid("discovery.hosts", text),
            AgentError::Spoilt { fix, .. } => Self::new(RefusalKind::Conflict, text).fix(fix),
            AgentError::Registry(RegistryError::Spoilt { .. }) => {
                Self::new(RefusalKind::Conflict, text)
                    .fix("move it away, or put a backup in its place; then start the agent")
            }
            AgentError::Registry(RegistryError::Schema { .. }) => {
                Self::new(RefusalKind::Conflict, text)
                    .fix("start the version of Harbor that wrote it, or go back to a backup")
            }
            AgentError::Registry(RegistryError::Unopened { .. }) => {
                Self::failed(text).fix("see to its rights, its folder and its disk")
            }
            AgentError::Registry(RegistryError::Away(_)) => Self::new(RefusalKind::NotReady, text)
                .fix("what the kernel forwards stays; start the registry, then this agent"),
            AgentError::Io { .. } | AgentError::Registry(_) | AgentError::Fatal(_) => {
                Self::failed(text)
            }
        }
    }
}

/// Gives an I/O error the words for what was tried.
pub(crate) trait Tried<T> {
    fn tried(self, what: impl FnOnce() -> String) -> Result<T, AgentError>;
}

impl<T> Tried<T> for io::Result<T> {
    fn tried(self, what: impl FnOnce() -> String) -> Result<T, AgentError> {
        self.map_err(|source| AgentError::Io {
            what: what(),
            source,
        })
    }
}

impl From<StartError> for AgentError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Pins(error) => Self::Pins(error),
            StartError::Proxy(source) => Self::Io {
                what: "cannot start the proxy".into(),
                source,
            },
        }
    }
}

/// A registry's failure as an answer.
pub(super) fn refused(error: &RegistryError) -> Refusal {
    match error {
        RegistryError::NumberTaken { .. } => {
            Refusal::new(RefusalKind::PortAssigned, error.to_string()).field("port")
        }
        RegistryError::QuotaReached(key) => {
            Refusal::new(RefusalKind::QuotaExceeded, error.to_string())
                .field(&format!("limits.{key}"))
                .fix(format!(
                    "delete some, or: harbor-ctl config set limits.{key} NUMBER"
                ))
        }
        RegistryError::NoService(_) => Refusal::new(RefusalKind::NotFound, error.to_string()),
        RegistryError::Away(_) => Refusal::new(RefusalKind::NotReady, error.to_string())
            .fix("what is forwarded stays; see harbor-ctl status, and try again when it is back"),
        RegistryError::Failed(_) => Refusal::new(RefusalKind::NotReady, error.to_string())
            .fix("what is forwarded stays; make room on, or repair, its disk: it is tried again"),
        RegistryError::Emptied(emptied) => {
            Refusal::new(RefusalKind::NotReady, error.to_string()).fix(emptied_fix(emptied))
        }
        RegistryError::Fenced(_) => Refusal::new(RefusalKind::Conflict, error.to_string()).fix(
            "stop the other agent, or give one of them another node.id; then restart this one",
        ),
        RegistryError::Drained(node) => Refusal::new(RefusalKind::Conflict, error.to_string()).fix(
            format!("create it on another node, or: harbor-ctl node resume {node}"),
        ),
        RegistryError::NotPlaced(_) => Refusal::new(RefusalKind::Conflict, error.to_string()),
        _ => {
            tracing::error!("{error}");
            Refusal::failed(error.to_string()).fix("harbor-ctl status")
        }
    }
}
