//! Numbers that somebody else holds: who, since when it was told, and when it ended.
//!
//! A holder is logged once, when it is found and when it is gone; a conflict heals by itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    allocator::{self, Holder, Host as _, LiveHost, Scope, Socket, SocketTable},
    model::{EventKind, Happening, PortRange, Protocol, Subject, escaped},
    telemetry::TARGET_PROXY,
};

/// Holders by number.
pub(super) type Held = BTreeMap<(Protocol, u16), Holder>;

/// What is known about foreign holders.
#[derive(Debug, Default)]
pub(super) struct Conflicts {
    held: Held,
    /// Holders that were logged, by the inode of their socket.
    told: BTreeMap<(Protocol, u16), u64>,
}

impl Conflicts {
    pub(super) fn held(&self) -> &Held {
        &self.held
    }

    /// Takes holders that an allocation had to avoid.
    pub(super) fn note(&mut self, found: Vec<((Protocol, u16), Holder)>) {
        for (key, holder) in found {
            self.tell(key, &holder, "skipped");
            self.held.insert(key, holder);
        }
    }

    /// Takes a fresh look at the whole host; `assigned` says which of the numbers are Harbor's.
    ///
    /// Answers what is to be told.
    pub(super) fn replace(
        &mut self,
        fresh: Held,
        assigned: impl Fn(&(Protocol, u16)) -> bool,
    ) -> Vec<Happening> {
        let mut told = Vec::new();
        for (key, holder) in fresh.iter().filter(|(key, _)| assigned(key)) {
            told.extend(self.tell(*key, holder, "in conflict"));
        }
        self.told.retain(|key, _| {
            let stays = fresh.contains_key(key);
            if !stays {
                let text = format!("port {}/{} is free again", key.1, key.0);
                tracing::info!(target: TARGET_PROXY, "{text}");
                if assigned(key) {
                    told.push(Happening::new(EventKind::ConflictHealed, of(*key), text));
                }
            }
            stays
        });
        self.held = fresh;
        told
    }

    fn tell(&mut self, key: (Protocol, u16), holder: &Holder, what: &str) -> Option<Happening> {
        let inode = inode(holder);
        if self.told.insert(key, inode) == Some(inode) {
            return None;
        }
        let (protocol, port) = key;
        let pid = holder.pid.unwrap_or_default();
        let command = escaped(&holder.command).into_owned();
        let address = holder
            .socket
            .as_ref()
            .map(|s| s.address.to_string())
            .unwrap_or_default();
        tracing::warn!(
            target: TARGET_PROXY,
            %protocol, port, address, pid, command,
            "port {port}/{protocol} is {what}: held by {holder}"
        );
        // A number that was passed over is nobody's.
        if what == "skipped" {
            return None;
        }
        let text = format!(
            "port {port}/{protocol} is held by {}",
            escaped(&holder.to_string())
        );
        Some(Happening::new(EventKind::ConflictFound, of(key), text))
    }
}

fn of((_, port): (Protocol, u16)) -> Subject {
    Subject {
        port: Some(port),
        ..Subject::default()
    }
}

fn inode(holder: &Holder) -> u64 {
    holder.socket.as_ref().map_or(0, |socket| socket.inode)
}

/// The numbers of this node's ports.
#[derive(Debug, Default)]
pub(super) struct Assigned {
    /// Those that the agent's own sockets have.
    pub(super) ours: BTreeSet<(Protocol, u16)>,
    /// Those that somebody else had first.
    pub(super) taken: BTreeSet<(Protocol, u16)>,
}

/// Looks at the host's listeners; names only holders that `known` does not name already. Blocks.
pub(super) fn look(range: PortRange, assigned: &Assigned, known: &Held) -> std::io::Result<Held> {
    let table: SocketTable = allocator::read_sockets(Scope::Listeners)?;
    let mut held = Held::new();
    let mut unnamed: Vec<((Protocol, u16), Socket)> = Vec::new();
    for (key, socket) in table {
        let is_wanted = range.contains(key.1) || assigned.taken.contains(&key);
        if !is_wanted || assigned.ours.contains(&key) {
            continue;
        }
        match known.get(&key) {
            Some(holder) if holder.socket.as_ref() == Some(&socket) => {
                held.insert(key, holder.clone());
            }
            _ => unnamed.push((key, socket)),
        }
    }
    if !unnamed.is_empty() {
        let sockets: Vec<Socket> = unnamed.iter().map(|(_, socket)| socket.clone()).collect();
        let holders = allocator::name_holders(&sockets);
        held.extend(unnamed.into_iter().map(|(key, _)| key).zip(holders));
    }
    // What is bound without listening stands in other tables, or in none.
    let silent = assigned.taken.iter().filter(|key| !held.contains_key(key));
    let silent: Vec<(Protocol, u16)> = silent.copied().collect();
    for key in silent {
        held.insert(key, LiveHost::default().holder(key.0, key.1));
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_in_the_range_is_found_and_named_once() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let range = PortRange::new(port, port).unwrap();
        let held = look(range, &Assigned::default(), &Held::new()).unwrap();
        let holder = &held[&(Protocol::Tcp, port)];
        assert_eq!(holder.pid, Some(std::process::id()));
        let again = look(range, &Assigned::default(), &held).unwrap();
        assert_eq!(again[&(Protocol::Tcp, port)], *holder);
        drop(listener);
        assert!(
            !look(range, &Assigned::default(), &again)
                .unwrap()
                .contains_key(&(Protocol::Tcp, port))
        );
    }

    #[test]
    fn a_holder_is_told_once_and_again_after_it_was_gone() {
        let holder = |inode| Holder {
            pid: Some(7),
            command: "x".into(),
            socket: Some(Socket {
                address: "0.0.0.0:35000".parse().unwrap(),
                is_listening: true,
                uid: 0,
                inode,
            }),
        };
        let key = (Protocol::Tcp, 35_000);
        let mut conflicts = Conflicts::default();
        conflicts.replace(Held::from([(key, holder(1))]), |_| true);
        assert_eq!(conflicts.told.get(&key), Some(&1));
        conflicts.replace(Held::new(), |_| true);
        assert!(conflicts.told.is_empty() && conflicts.held().is_empty());
        conflicts.replace(Held::from([(key, holder(2))]), |_| false);
        assert!(
            conflicts.told.is_empty(),
            "an unassigned number is nobody's conflict"
        );
    }
}
