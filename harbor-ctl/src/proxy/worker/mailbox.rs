//! What the workers are told, and how: an inbox with a bell.
//!
//! An order that was given before a client came is obeyed before that client is served, because a
//! worker reads its inbox before anything else that woke it.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::SyncSender,
    },
    time::{Duration, Instant},
};

use rustix::{
    event::{EventfdFlags, eventfd},
    io::{Errno, read, write},
};

use super::{
    descriptors::{Descriptor, Ledger},
    poll::Name,
};
use crate::{
    model::{FlowFilter, Protocol},
    proxy::{
        flows::listing::{FlowPlace, Listed},
        ports::socket::{Key, PortSocket},
        select::frontend::Frontend,
    },
};

/// What a worker is to do.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Serve this socket.
    Open(Arc<PortSocket>),
    /// Give these sockets up, and say so.
    Close(Vec<Key>, SyncSender<()>),
    /// This is what these ports are now; `None` = nothing.
    Serve(Vec<(Key, Option<Arc<Frontend>>)>),
    /// End this flow for another, unless it has come into use.
    MakeRoom(Protocol, Name),
    /// Say which of these flows there are from a place on, and where the rest begins.
    List(FlowFilter, FlowPlace, SyncSender<Listed>),
    /// Say how many these flows are.
    Count(FlowFilter, SyncSender<u64>),
    /// End these flows; say how many they were.
    End(FlowFilter, SyncSender<u64>),
    Stop,
}

/// A worker's inbox.
#[derive(Debug)]
pub(crate) struct Inbox {
    queue: Mutex<VecDeque<Command>>,
    has_mail: AtomicBool,
    /// Since when somebody waits for a sign of life.
    asked: Mutex<Option<Instant>>,
    pub(super) bell: Descriptor,
}

impl Inbox {
    pub(crate) fn new(ledger: &Arc<Ledger>) -> Result<Self, Errno> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            queue: Mutex::default(),
            has_mail: AtomicBool::new(false),
            asked: Mutex::default(),
            bell: ledger.enter(bell),
        })
    }

    pub(crate) fn put(&self, orders: impl IntoIterator<Item = Command>) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.extend(orders);
        if !self.has_mail.swap(true, Ordering::AcqRel) {
            // It rings already if its counter is full.
            let _ = write(&self.bell, &1u64.to_ne_bytes());
        }
    }

    /// Asks for a sign of life, and answers for how long the last one has been waited for.
    pub(crate) fn ask(&self) -> Duration {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *asked.get_or_insert_with(Instant::now);
        drop(asked);
        self.put([]);
        since.elapsed()
    }

    /// Whether there is an order.
    pub(super) fn has_mail(&self) -> bool {
        self.has_mail.load(Ordering::Acquire)
    }

    pub(super) fn take(&self) -> VecDeque<Command> {
        if !self.has_mail() {
            return VecDeque::new();
        }
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        self.has_mail.store(false, Ordering::Release);
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let _ = read(&self.bell, &mut [0; 8]);
        std::mem::take(&mut queue)
    }
}
