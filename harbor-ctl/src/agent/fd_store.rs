//! systemd's store of descriptors: it keeps the sockets of numbers while no agent runs, and hands them
//! to the next one.
//!
//! A thread of its own talks to it, because systemd may take its time with thousands of messages; what
//! is given up is waited for, because its numbers are to be free then. Where the unit allows no store,
//! systemd closes what it is sent.

use std::{
    collections::BTreeSet,
    io,
    os::fd::{AsFd, FromRawFd as _, OwnedFd},
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender, SyncSender},
    },
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::retry_on_intr,
    pipe::{PipeFlags, pipe_with},
};
use sd_notify::NotifyState;

use crate::proxy::Keeper;

/// All names are handed over in one environment variable, which must stay below 128 KiB (execve(2)); a
/// name and what follows it have ten bytes.
const MOST: usize = 12_000;
/// How long systemd is waited for until it has closed what is given up.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the next agent is to find.
type Socket = Arc<dyn AsFd + Send + Sync>;

/// Sockets that systemd has kept, with their names. To be called before anything else is opened.
pub(super) fn inherited() -> Vec<(String, OwnedFd)> {
    let named = sd_notify::listen_fds_with_names().map(Iterator::collect::<Vec<_>>);
    // Without their names they are good for nothing, and still to be closed.
    let nameless =
        || sd_notify::listen_fds().map(|fds| fds.map(|fd| (fd, String::new())).collect());
    let found = named.or_else(|_| nameless()).unwrap_or_default();
    let own = found.into_iter().map(|(fd, name)| {
        // SAFETY: open, says LISTEN_FDS, and this process's alone, says LISTEN_PID; it has opened
        // nothing else yet.
        (name, unsafe { OwnedFd::from_raw_fd(fd) })
    });
    own.collect()
}

/// The store; without systemd there is none.
#[derive(Debug)]
pub(super) struct FdStore {
    orders: Sender<Order>,
}

enum Order {
    Keep(String, Socket),
    GiveUp(Vec<String>, SyncSender<()>),
}

impl FdStore {
    /// Starts its thread; these names are in the store already.
    pub(super) fn start(names: BTreeSet<String>) -> io::Result<Option<Arc<dyn Keeper>>> {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Ok(None);
        }
        let (orders, queue) = mpsc::channel();
        let thread = thread::Builder::new().name("fd-store".into());
        thread.spawn(move || run(&queue, names))?;
        Ok(Some(Arc::new(Self { orders })))
    }
}

impl Keeper for FdStore {
    fn keep(&self, name: String, socket: Socket) {
        // The thread ends with the process.
        let _ = self.orders.send(Order::Keep(name, socket));
    }

    fn give_up(&self, names: Vec<String>) {
        let (done, answer) = mpsc::sync_channel(1);
        let _ = self.orders.send(Order::GiveUp(names, done));
        if answer.recv_timeout(PATIENCE).is_err() {
            tracing::warn!("systemd is late to close sockets that are given up");
        }
    }
}

fn run(orders: &Receiver<Order>, mut names: BTreeSet<String>) {
    for order in orders {
        match order {
            Order::Keep(name, socket) => {
                if names.len() < MOST && !names.contains(&name) && stores(&name, &*socket) {
                    names.insert(name);
                }
            }
            Order::GiveUp(gone, done) => {
                let kept: Vec<String> = gone.into_iter().filter(|one| names.remove(one)).collect();
                if let Err(error) = remove(&kept) {
                    tracing::warn!("systemd keeps sockets that are given up: {error}");
                }
                let _ = done.try_send(());
            }
        }
    }
}

/// Whether systemd was given the socket. It need not watch it: the agent says when it is over.
fn stores(name: &str, socket: &(dyn AsFd + Send + Sync)) -> bool {
    let store = [
        NotifyState::FdStore,
        NotifyState::FdName(name),
        NotifyState::Custom("FDPOLL=0"),
    ];
    let told = sd_notify::notify_with_fds(&store, &[socket.as_fd()]);
    if let Err(error) = &told {
        tracing::warn!(name, "systemd was not given a socket: {error}");
    }
    told.is_ok()
}

/// Has systemd close these, and waits until it has read so far: then it closes its end of a pipe.
fn remove(names: &[String]) -> io::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    for name in names {
        sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)])?;
    }
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    sd_notify::notify_with_fds(&[NotifyState::Custom("BARRIER=1")], &[writer.as_fd()])?;
    drop(writer);
    let limit = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
    let mut ends = [PollFd::new(&reader, PollFlags::empty())];
    retry_on_intr(|| poll(&mut ends, Some(&limit)))?;
    Ok(())
}
