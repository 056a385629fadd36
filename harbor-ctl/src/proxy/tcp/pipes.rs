//! Pipes for `splice`: bulk goes from socket to socket without a copy in user space.
//!
//! There are few of them, kept for use after use. Where none can be had, bytes are copied, which costs
//! more and changes nothing else.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use rustix::{
    io::Errno,
    pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice},
};

use crate::proxy::worker::descriptors::{Descriptor, Ledger};

/// Pipes of all workers together.
const PIPES: usize = 64;
/// What a pipe may hold, if the kernel grants it; else it stays at the kernel's own 64 KiB.
pub(super) const PIPE_BYTES: usize = 256 * 1024;

/// A pipe, empty when it is taken.
pub(super) struct Pipe {
    reader: Descriptor,
    writer: Descriptor,
    /// Bytes in it.
    pub(super) held: usize,
}

impl Pipe {
    /// From a socket into the pipe; 0 = the stream has ended. The pipe must be empty.
    pub(super) fn fill(&mut self, source: &Descriptor) -> Result<usize, Errno> {
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        let taken = splice(source, None, &self.writer, None, PIPE_BYTES, flags)?;
        self.held += taken;
        Ok(taken)
    }

    /// From the pipe into a socket.
    pub(super) fn drain(&mut self, sink: &Descriptor) -> Result<usize, Errno> {
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        let given = splice(&self.reader, None, sink, None, self.held, flags)?;
        self.held -= given;
        Ok(given)
    }
}

/// A worker's pipes.
pub(crate) struct Pipes {
    free: Vec<Pipe>,
    ledger: Arc<Ledger>,
    /// All workers' pipes.
    made: Arc<AtomicUsize>,
}

impl Pipes {
    pub(crate) fn new(ledger: Arc<Ledger>, made: Arc<AtomicUsize>) -> Self {
        let free = Vec::new();
        Self { free, ledger, made }
    }

    pub(super) fn take(&mut self) -> Option<Pipe> {
        self.free.pop().or_else(|| self.make())
    }

    /// Takes a pipe back; one that still holds somebody's bytes is closed.
    pub(super) fn give(&mut self, pipe: Pipe) {
        match pipe.held {
            0 => self.free.push(pipe),
            _ => {
                self.made.fetch_sub(1, Relaxed);
            }
        }
    }

    fn make(&self) -> Option<Pipe> {
        // Clients need descriptors more than bytes need pipes.
        if !self.ledger.has_room(self.ledger.limit() / 4) {
            return None;
        }
        if self.made.fetch_add(1, Relaxed) >= PIPES {
            self.made.fetch_sub(1, Relaxed);
            return None;
        }
        let Ok((reader, writer)) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK) else {
            self.made.fetch_sub(1, Relaxed);
            return None;
        };
        // Refused beyond what all of a user's pipes may hold.
        let _ = fcntl_setpipe_size(&writer, PIPE_BYTES);
        Some(Pipe {
            reader: self.ledger.enter(reader),
            writer: self.ledger.enter(writer),
            held: 0,
        })
    }
}
