//! One direction of a connection: bytes from one socket to the other.
//!
//! What the receiver does not take is kept in one room, and nothing more is read until it is empty:
//! that is the backpressure, and all the memory that a slow receiver can cost. Idle connections have
//! no room. Streams of bulk go through a pipe, small exchanges by read and write.

use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
};

use super::pipes::{Pipe, Pipes};
use crate::proxy::worker::descriptors::Descriptor;

/// Bytes of a room.
pub(super) const ROOM: usize = 16 * 1024;
/// Rooms that a worker keeps for use after use.
const ROOMS: usize = 64;
/// Reads that filled a room, in a row, until a stream counts as bulk.
const BULK: u8 = 3;
/// A pipe that takes less than this is not worth its calls.
const TRICKLE: usize = 4 * 1024;
/// Rounds until other connections have their turn.
const ROUNDS: usize = 16;

type Room = Box<[u8; ROOM]>;

/// What all connections of a worker share.
pub(crate) struct Kit {
    /// Where every read goes to first.
    scratch: Room,
    rooms: Vec<Room>,
    pipes: Pipes,
}

impl Kit {
    pub(crate) fn new(pipes: Pipes) -> Self {
        Self {
            scratch: Box::new([0; ROOM]),
            rooms: Vec::new(),
            pipes,
        }
    }

    /// Where a read goes to before it is delivered.
    pub(super) fn scratch(&mut self) -> &mut [u8] {
        &mut self.scratch[..]
    }
}

/// One direction.
#[derive(Default)]
pub(super) struct Half {
    /// The source may have something.
    pub(super) is_ready: bool,
    /// The source's end, or urgent data, stands in what may be read: a short read is not the last.
    pub(super) is_hung: bool,
    /// The sink may take something.
    pub(super) is_open: bool,
    /// The source has ended.
    pub(super) is_ended: bool,
    /// The sink knows that.
    pub(super) is_shut: bool,
    /// Bytes carried.
    pub(super) bytes: u64,
    full_reads: u8,
    stored: Stored,
}

#[derive(Default)]
enum Stored {
    #[default]
    Nothing,
    Bytes {
        room: Room,
        from: usize,
        to: usize,
    },
    Pipe(Pipe),
}

/// How much a direction may carry now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    Free,
    /// The port limits its bytes: after each round it is asked again.
    Measured,
}

/// Why a pump stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Nothing more can be done before the sockets say so.
    Waiting,
    /// There may be more; others come first.
    Turn,
}

impl Half {
    /// Whether nothing is kept here.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self.stored, Stored::Nothing)
    }

    /// Whether the source has ended and the sink has got everything.
    pub(super) fn is_done(&self) -> bool {
        self.is_ended && self.is_empty()
    }

    /// Carries what there is, as far as the sink takes it. An error means that one of the two
    /// sockets is dead.
    pub(super) fn pump(
        &mut self,
        (source, sink): (&Descriptor, &Descriptor),
        kit: &mut Kit,
        pace: Pace,
    ) -> Result<Stop, Errno> {
        let rounds = match pace {
            Pace::Free => ROUNDS,
            Pace::Measured => 1,
        };
        for _ in 0..rounds {
            if !self.is_empty() && !self.flush(sink, kit)? {
                return Ok(Stop::Waiting);
            }
            if self.is_ended || !self.is_ready || !self.is_open {
                return Ok(Stop::Waiting);
            }
            if self.full_reads >= BULK
                && pace == Pace::Free
                && let Some(pipe) = kit.pipes.take()
            {
                self.splice(pipe, source, kit)?;
            } else {
                self.copy(source, sink, kit)?;
            }
        }
        Ok(Stop::Turn)
    }

    /// Gives back what it has borrowed.
    pub(super) fn close(&mut self, kit: &mut Kit) {
        match std::mem::take(&mut self.stored) {
            Stored::Nothing => {}
            Stored::Bytes { room, .. } => put_back(room, kit),
            Stored::Pipe(pipe) => kit.pipes.give(pipe),
        }
    }

    /// Whether all that was kept has gone.
    pub(super) fn flush(&mut self, sink: &Descriptor, kit: &mut Kit) -> Result<bool, Errno> {
        while self.is_open {
            let (given, is_empty) = match &mut self.stored {
                Stored::Nothing => return Ok(true),
                Stored::Bytes { room, from, to } => {
                    let given = write(sink, &room[*from..*to])?;
                    *from += given.unwrap_or(0);
                    (given, *from == *to)
                }
                Stored::Pipe(pipe) => (waits(pipe.drain(sink))?, pipe.held == 0),
            };
            self.bytes += given.unwrap_or(0) as u64;
            self.is_open = given.is_some_and(|given| given > 0);
            if is_empty {
                self.close(kit);
            }
        }
        Ok(self.is_empty())
    }

    fn copy(&mut self, source: &Descriptor, sink: &Descriptor, kit: &mut Kit) -> Result<(), Errno> {
        let taken = match waits(recv(source, &mut kit.scratch[..], RecvFlags::empty()))? {
            None => {
                self.is_ready = false;
                return Ok(());
            }
            Some((_, 0)) => {
                self.is_ended = true;
                return Ok(());
            }
            Some((_, taken)) => taken,
        };
        // A short read has emptied the socket (epoll(7)), if no end stands behind it.
        self.is_ready = taken == ROOM || self.is_hung;
        self.full_reads = match taken {
            ROOM => (self.full_reads + 1).min(BULK),
            _ => 0,
        };
        self.deliver(taken, sink, kit)
    }

    /// Gives the sink what was read into the scratch; what it does not take is kept.
    pub(super) fn deliver(
        &mut self,
        taken: usize,
        sink: &Descriptor,
        kit: &mut Kit,
    ) -> Result<(), Errno> {
        let given = write(sink, &kit.scratch[..taken])?;
        self.is_open = given.is_some();
        let given = given.unwrap_or(0);
        self.bytes += given as u64;
        if given < taken {
            let mut room = kit.rooms.pop().unwrap_or_else(|| Box::new([0; ROOM]));
            room[given..taken].copy_from_slice(&kit.scratch[given..taken]);
            self.stored = Stored::Bytes {
                room,
                from: given,
                to: taken,
            };
        }
        Ok(())
    }

    /// Fills a pipe; the next round empties it.
    fn splice(&mut self, mut pipe: Pipe, source: &Descriptor, kit: &mut Kit) -> Result<(), Errno> {
        let taken = waits(pipe.fill(source));
        if let Ok(Some(1..)) = taken {
            self.stored = Stored::Pipe(pipe);
        } else {
            kit.pipes.give(pipe);
        }
        match taken? {
            None => self.is_ready = false,
            Some(0) => self.is_ended = true,
            Some(taken) if taken < TRICKLE => self.full_reads = 0,
            Some(_) => {}
        }
        Ok(())
    }
}

fn put_back(room: Room, kit: &mut Kit) {
    if kit.rooms.len() < ROOMS {
        kit.rooms.push(room);
    }
}

/// `None` = the socket takes nothing now.
fn write(sink: &Descriptor, bytes: &[u8]) -> Result<Option<usize>, Errno> {
    waits(send(sink, bytes, SendFlags::NOSIGNAL))
}

/// Tells a socket that has to be waited for from one that is dead.
fn waits<T>(done: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(Errno::AGAIN) => Ok(None),
        Err(error) => Err(error),
    }
}
