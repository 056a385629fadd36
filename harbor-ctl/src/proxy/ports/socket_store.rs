//! Sockets of numbers that outlive the agent: somebody outside keeps them, and the next agent takes
//! them back.
//!
//! Clients who come meanwhile wait in the sockets' own queues. What comes back is believed only as far
//! as the kernel confirms it; what does not fit its name, or has no service any more, is closed.

use std::{
    collections::BTreeMap,
    fmt,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use super::socket::{Key, PortSocket};
use crate::{model::Protocol, proxy::worker::descriptors::Ledger};

/// Somebody outside of the process who keeps sockets while no agent runs.
pub(crate) trait Keeper: fmt::Debug + Send + Sync {
    /// Is given a socket, under a name of its own; again is no matter.
    fn keep(&self, name: String, socket: Arc<dyn AsFd + Send + Sync>);

    /// Gives up what it has under these names; returns when that is closed.
    fn give_up(&self, names: Vec<String>);
}

/// What is kept, and by whom.
#[derive(Debug, Default)]
pub(super) struct SocketStore {
    keeper: Option<Arc<dyn Keeper>>,
    /// What an earlier agent has left and nobody has asked for yet.
    left: BTreeMap<Key, PortSocket>,
}

impl SocketStore {
    /// Takes what an earlier agent has left, by the names that it gave.
    pub(super) fn new(
        keeper: Option<Arc<dyn Keeper>>,
        sockets: Vec<(String, OwnedFd)>,
        ledger: &Arc<Ledger>,
    ) -> Self {
        let mut kept = Self {
            keeper,
            left: BTreeMap::new(),
        };
        let mut refused = Vec::new();
        for (name, socket) in sockets {
            if let Err(why) = kept.inherit(&name, socket, ledger) {
                tracing::warn!(name, "a kept socket is closed: {why}");
                refused.push(name);
            }
        }
        if !kept.left.is_empty() {
            let sockets = kept.left.len();
            tracing::info!(sockets, "sockets of an earlier agent are taken over");
        }
        kept.tell_gone(refused);
        kept
    }

    fn inherit(&mut self, name: &str, fd: OwnedFd, ledger: &Arc<Ledger>) -> Result<(), String> {
        let key = key_of(name).ok_or("its name is no number's")?;
        if self.left.contains_key(&key) {
            return Err("there is another one of that name".into());
        }
        self.left
            .insert(key, PortSocket::take_over(key, fd, ledger)?);
        Ok(())
    }

    /// The socket of a number, if an earlier agent has left it.
    pub(super) fn take(&mut self, key: &Key) -> Option<PortSocket> {
        self.left.remove(key)
    }

    /// This one is to outlive the agent.
    pub(super) fn keep(&self, seat: &Arc<PortSocket>) {
        if let Some(keeper) = &self.keeper {
            keeper.keep(name_of(seat.key), Arc::clone(seat) as _);
        }
    }

    /// These are nobody's any more; returns when nobody has them.
    pub(super) fn give_up(&self, keys: &[Key]) {
        self.tell_gone(keys.iter().copied().map(name_of).collect());
    }

    /// Who wanted one of those that were left has it by now.
    pub(super) fn end_left(&mut self) {
        let left: Vec<Key> = std::mem::take(&mut self.left).into_keys().collect();
        if !left.is_empty() {
            tracing::info!(
                sockets = left.len(),
                "kept sockets without a port are closed"
            );
        }
        self.give_up(&left);
    }

    fn tell_gone(&self, names: Vec<String>) {
        if let Some(keeper) = &self.keeper
            && !names.is_empty()
        {
            keeper.give_up(names);
        }
    }
}

fn name_of((protocol, port): Key) -> String {
    format!("{protocol}-{port}")
}

fn key_of(name: &str) -> Option<Key> {
    let (protocol, port) = name.split_once('-')?;
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    let key = (protocol, port.parse().ok()?);
    (name_of(key) == name).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_protocol_and_number_and_nothing_else() {
        for key in [(Protocol::Tcp, 35_000), (Protocol::Udp, 65_535)] {
            assert_eq!(key_of(&name_of(key)), Some(key));
        }
        for name in [
            "",
            "stored",
            "tcp-",
            "tcp-+1",
            "tcp-01",
            "udp-65536",
            "sctp-1",
        ] {
            assert_eq!(key_of(name), None, "{name}");
        }
    }
}
