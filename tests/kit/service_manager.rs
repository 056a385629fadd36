//! What systemd is to a service that gives it descriptors to keep: the socket that is told of it, the
//! store, and the start of the next process with what is in there (sd_notify(3), sd_listen_fds(3)).

use std::{
    io::IoSliceMut,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::{net::UnixDatagram, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, Weak},
    thread,
    time::Duration,
};

use nix::{
    cmsg_space,
    errno::Errno,
    libc,
    sys::socket::{ControlMessageOwned, MsgFlags, recvmsg},
};

/// The first descriptor that is handed over.
const FIRST: RawFd = 3;
/// How often the listening looks whether anybody still wants it.
const LOOK: Duration = Duration::from_millis(200);

/// Descriptors with their names.
type Store = Mutex<Vec<(String, OwnedFd)>>;

/// A service manager with one service; ends with this guard.
#[derive(Debug)]
pub struct ServiceManager {
    socket: PathBuf,
    store: Arc<Store>,
}

impl ServiceManager {
    /// Listens at a socket in this folder.
    pub fn start(folder: &Path) -> Self {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(LOOK)).unwrap();
        let store: Arc<Store> = Arc::default();
        let weak = Arc::downgrade(&store);
        thread::spawn(move || listen(&socket, &weak));
        Self {
            socket: path,
            store,
        }
    }

    /// The environment of its service.
    pub fn variables(&self) -> Vec<(String, String)> {
        vec![("NOTIFY_SOCKET".into(), self.socket.display().to_string())]
    }

    /// Names of what it keeps, in order.
    pub fn names(&self) -> Vec<String> {
        let store = self.store.lock().unwrap();
        let mut names: Vec<String> = store.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// Copies of what it keeps.
    pub fn kept(&self) -> Vec<(String, OwnedFd)> {
        let store = self.store.lock().unwrap();
        let copy = |(name, fd): &(String, OwnedFd)| (name.clone(), fd.try_clone().unwrap());
        store.iter().map(copy).collect()
    }

    /// Lets go of all that it keeps.
    pub fn clear(&self) {
        self.store.lock().unwrap().clear();
    }

    /// Keeps one that the service has not sent.
    pub fn put(&self, name: &str, descriptor: impl Into<OwnedFd>) {
        let mut store = self.store.lock().unwrap();
        store.push((name.into(), descriptor.into()));
    }
}

fn listen(socket: &UnixDatagram, store: &Weak<Store>) {
    while let Some(store) = store.upgrade() {
        let mut text = [0; 4096];
        let mut vectors = [IoSliceMut::new(&mut text)];
        let mut space = cmsg_space!([RawFd; 253]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(socket.as_raw_fd(), &mut vectors, Some(&mut space), flags);
        let Ok(message) = message else {
            continue;
        };
        let mut descriptors = Vec::new();
        for more in message.cmsgs().unwrap() {
            if let ControlMessageOwned::ScmRights(raw) = more {
                // SAFETY: just received, and nobody else's.
                descriptors.extend(raw.iter().map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) }));
            }
        }
        let length = message.bytes;
        let text = String::from_utf8_lossy(&text[..length]).into_owned();
        obey(&text, descriptors, &store);
    }
}

/// What is not to be kept is closed, and so is what a barrier sends.
fn obey(text: &str, descriptors: Vec<OwnedFd>, store: &Store) {
    let value = |key: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        lines.find(|(found, _)| *found == key).map(|pair| pair.1)
    };
    let name = value("FDNAME").unwrap_or("stored");
    let mut store = store.lock().unwrap();
    if value("FDSTOREREMOVE") == Some("1") {
        store.retain(|(kept, _)| kept != name);
    } else if value("FDSTORE") == Some("1") {
        store.extend(descriptors.into_iter().map(|fd| (name.to_owned(), fd)));
    }
}

/// Has a command find these descriptors; to be run by a shell that says `LISTEN_PID=$$`.
pub(crate) fn hand_over(command: &mut Command, inherited: Vec<(String, OwnedFd)>) {
    let (names, descriptors): (Vec<String>, Vec<OwnedFd>) = inherited.into_iter().unzip();
    command.env("LISTEN_FDS", descriptors.len().to_string());
    command.env("LISTEN_FDNAMES", names.join(":"));
    let mut aside = vec![0; descriptors.len()];
    let give = move || {
        let above = FIRST + descriptors.len() as RawFd;
        for (place, fd) in aside.iter_mut().zip(&descriptors) {
            // SAFETY: a plain system call on a descriptor that the closure keeps open.
            let copy = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, above) };
            *place = Errno::result(copy)?;
        }
        for (to, from) in (FIRST..).zip(&aside) {
            // SAFETY: what stands there is the parent's, and of no use to the new program.
            Errno::result(unsafe { libc::dup2(*from, to) })?;
        }
        Ok(())
    };
    // SAFETY: fcntl and dup2 are safe between fork and exec; nothing is allocated, no lock taken.
    unsafe { command.pre_exec(give) };
}
