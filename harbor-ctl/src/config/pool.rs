//! `[pool]`: what this node is in pools, and how it tells other nodes of flows.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::check::Check;
use crate::model::check_name;

/// `[pool]`
#[derive(Clone, Debug, Default)]
pub(crate) struct PoolConfig {
    /// The pool of ports that are created here and name none; empty: none.
    pub(crate) name: String,
    /// How long what continues an unknown flow waits for its copy, once a share has come.
    pub(crate) hold: Duration,
    /// `None`: flows are neither told nor heard of.
    pub(crate) sync: Option<SyncConfig>,
}

/// How nodes tell each other of flows.
#[derive(Clone, Debug)]
pub(crate) struct SyncConfig {
    pub(crate) listen: SocketAddr,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) authority: PathBuf,
    pub(crate) interval: Duration,
}

impl Check {
    pub(super) fn pool(&mut self) -> PoolConfig {
        let name = |text: &str| match text {
            "" => Ok(String::new()),
            text => match check_name("pool.name", text) {
                Ok(()) => Ok(text.to_owned()),
                Err(refusal) => Err(refusal.description),
            },
        };
        PoolConfig {
            name: self.read("pool.name", name, String::new()),
            hold: self.period("pool.hold", Duration::ZERO),
            sync: self.sync(),
        }
    }

    fn sync(&mut self) -> Option<SyncConfig> {
        let (least, most) = (Duration::from_millis(10), Duration::from_secs(10));
        let interval = self.period_within("pool.sync_interval", least, most);
        let address = |text: &str| match text {
            "" => Ok(None),
            text => match text.parse::<SocketAddr>() {
                Ok(address) if !address.ip().is_unspecified() => Ok(Some(address)),
                _ => Err(format!(
                    "{text:?} is no address of this node with a port, for example 10.0.0.11:7946: the \
                     other nodes connect to it"
                )),
            },
        };
        let listen = self.read("pool.sync_listen", address, None);
        let files = ["pool.sync_cert", "pool.sync_key", "pool.sync_ca"].map(|key| self.file(key));
        match (listen, files) {
            (Some(listen), [Some(certificate), Some(key), Some(authority)]) => Some(SyncConfig {
                listen,
                certificate,
                key,
                authority,
                interval,
            }),
            (None, [None, None, None]) => None,
            _ => {
                let text =
                    "pool.sync_listen: nodes tell each other of flows by TLS alone".to_owned();
                let fix = "give pool.sync_listen, pool.sync_cert, pool.sync_key and pool.sync_ca, or none";
                self.problem("pool.sync_listen", text, Some(fix.into()));
                None
            }
        }
    }
}
