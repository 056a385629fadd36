//! Tracks port numbers that other processes hold, and reports each holder once.
//!
//! A holder is logged once, when it is found and when it is gone; a conflict heals by itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    allocator::{self, Holder, Host as _, LiveHost, Scope, Socket, SocketTable},
    model::{EventKind, Happening, PortRange, Protocol, Subject, escaped},
    telemetry::TARGET_PROXY,
    views::facts::HeldNumbers,
};

/// How old a look at the host's rules may be that shows whether one of them is still there.
const RULES: Duration = Duration::from_secs(10);

/// What is known about foreign holders.
#[derive(Debug, Default)]
pub(crate) struct Conflicts {
    held: HeldNumbers,
    /// Holders that were told, by number.
    told: BTreeMap<(Protocol, u16), Told>,
}

/// What was told of a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    /// Of its socket.
    inode: u64,
    /// As what it was told.
    role: Role,
}

/// What somebody who holds a number is to Harbor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// A number was drawn, and his was passed over: it is nobody's.
    Passed,
    /// A port's number is his.
    Conflict,
}

impl Conflicts {
    pub(crate) fn held(&self) -> &HeldNumbers {
        &self.held
    }

    /// Takes holders that an allocation had to avoid.
    pub(super) fn note(&mut self, found: Vec<((Protocol, u16), Holder)>) {
        for (key, holder) in found {
            self.tell(key, &holder, Role::Passed);
            self.held.insert(key, holder);
        }
    }

    /// Takes a fresh look at the whole host. Answers what is to be told.
    pub(super) fn replace(
        &mut self,
        mut fresh: HeldNumbers,
        assigned: &Assigned,
    ) -> Vec<Happening> {
        // The socket of a port that was made during the look is the agent's own.
        fresh.retain(|key, _| !assigned.ours.contains(key));
        let mut told = Vec::new();
        for (key, holder) in &fresh {
            if assigned.taken.contains(key) {
                told.extend(self.tell(*key, holder, Role::Conflict));
            }
        }
        self.told.retain(|key, before| {
            let stays = fresh.contains_key(key);
            if !stays {
                let text = format!("port {}/{} is free again", key.1, key.0);
                tracing::info!(target: TARGET_PROXY, "{text}");
                if before.role == Role::Conflict && assigned.has(key) {
                    told.push(Happening::new(EventKind::ConflictHealed, of(*key), text));
                }
            }
            stays
        });
        self.held = fresh;
        told
    }

    fn tell(&mut self, key: (Protocol, u16), holder: &Holder, role: Role) -> Option<Happening> {
        let now = Told {
            inode: inode(holder),
            role,
        };
        if self.told.insert(key, now) == Some(now) {
            return None;
        }
        let what = match role {
            Role::Passed => "skipped",
            Role::Conflict => "in conflict",
        };
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
        if role == Role::Passed {
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

impl Assigned {
    fn has(&self, key: &(Protocol, u16)) -> bool {
        self.ours.contains(key) || self.taken.contains(key)
    }
}

/// Looks at the host's listeners; names only holders that `known` does not name already. Blocks.
pub(super) fn look(
    range: PortRange,
    assigned: &Assigned,
    known: &HeldNumbers,
) -> std::io::Result<HeldNumbers> {
    let table: SocketTable = allocator::read_sockets(Scope::Listeners)?;
    let mut held = HeldNumbers::new();
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
    // A rule is read again only where one was met before.
    let rules = known.iter().filter(|(_, holder)| holder.rule.is_some());
    let mut host = LiveHost::within(RULES);
    for (key, _) in rules.filter(|(key, _)| !assigned.ours.contains(key)) {
        if let Some(holder) = host.forwarder(key.0, key.1) {
            held.insert(*key, holder);
        }
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
        let held = look(range, &Assigned::default(), &HeldNumbers::new()).unwrap();
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
            rule: None,
        };
        let key = (Protocol::Tcp, 35_000);
        let both = |ours: &[_], taken: &[_]| Assigned {
            ours: ours.iter().copied().collect(),
            taken: taken.iter().copied().collect(),
        };
        let kinds = |told: Vec<Happening>| told.iter().map(|one| one.kind).collect::<Vec<_>>();
        let mut conflicts = Conflicts::default();
        let mut look = |held: &[Holder], assigned: &Assigned| {
            let held = held.iter().map(|holder| (key, holder.clone())).collect();
            kinds(conflicts.replace(held, assigned))
        };
        let (taken, ours) = (both(&[], &[key]), both(&[key], &[]));
        assert_eq!(look(&[holder(1)], &taken), [EventKind::ConflictFound]);
        assert_eq!(look(&[holder(1)], &taken), []);
        // By then Harbor's socket has it.
        assert_eq!(look(&[], &ours), [EventKind::ConflictHealed]);
        assert_eq!(look(&[], &ours), []);
        assert_eq!(look(&[holder(2)], &taken), [EventKind::ConflictFound]);
        // The port was given up meanwhile.
        assert_eq!(look(&[], &both(&[], &[])), []);
        assert_eq!(look(&[holder(3)], &both(&[], &[])), []);
    }

    /// It was nobody's when the look began.
    #[test]
    fn the_socket_of_a_port_that_was_made_during_a_look_is_no_conflict() {
        let key = (Protocol::Tcp, 35_000);
        let fresh = || HeldNumbers::from([(key, Holder::default())]);
        let mut conflicts = Conflicts::default();
        let ours = Assigned {
            ours: BTreeSet::from([key]),
            taken: BTreeSet::new(),
        };
        assert!(conflicts.replace(fresh(), &ours).is_empty());
        assert!(conflicts.held().is_empty());
        // Of nobody's it is told still.
        conflicts.replace(fresh(), &Assigned::default());
        assert!(conflicts.held().contains_key(&key));
    }

    #[test]
    fn a_holder_that_was_passed_over_is_no_conflict() {
        let key = (Protocol::Tcp, 35_000);
        let holder = Holder {
            pid: Some(7),
            command: "x".into(),
            ..Holder::default()
        };
        let mut conflicts = Conflicts::default();
        conflicts.note(vec![(key, holder)]);
        let ours = Assigned {
            ours: BTreeSet::from([key]),
            taken: BTreeSet::new(),
        };
        assert!(conflicts.replace(HeldNumbers::new(), &ours).is_empty());
    }
}
