//! What a worker waits for: descriptors with the names that they have here.
//!
//! Seats are waited for as long as something is there (and by one worker of all, where several wait),
//! connections are told once of each change. A name carries the turn of its place: news of a
//! connection that has ended is told from news of the one that took its place.

use std::{os::fd::AsFd, sync::Arc, time::Duration};

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, Event, EventData, EventFlags},
    },
    io::Errno,
};

use super::descriptors::{Descriptor, Ledger};

/// The place of a connection or flow in its worker's table, and the turn of that place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) index: u32,
    pub(crate) turn: u32,
}

/// Bits of a turn.
const TURN: u32 = 0x0fff_ffff;

impl Name {
    pub(crate) fn new(index: usize, turn: u32) -> Self {
        Self {
            index: index as u32,
            turn: turn & TURN,
        }
    }
}

/// Whose descriptor has news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The inbox.
    Bell,
    /// A number's socket, by the number that [`seat_number`] gives it.
    PortSocket(u32),
    Client(Name),
    Backend(Name),
    /// The socket of a UDP flow towards its backend.
    Flow(Name),
}

impl Source {
    fn word(self) -> u64 {
        let pack = |kind: u64, Name { index, turn }: Name| {
            kind << 60 | u64::from(turn) << 32 | u64::from(index)
        };
        match self {
            Self::Bell => 0,
            Self::PortSocket(number) => 1 << 60 | u64::from(number),
            Self::Client(name) => pack(2, name),
            Self::Backend(name) => pack(3, name),
            Self::Flow(name) => pack(4, name),
        }
    }

    fn of(word: u64) -> Self {
        let name = Name {
            index: word as u32,
            turn: (word >> 32) as u32 & TURN,
        };
        match word >> 60 {
            1 => Self::PortSocket(word as u32),
            2 => Self::Client(name),
            3 => Self::Backend(name),
            4 => Self::Flow(name),
            _ => Self::Bell,
        }
    }
}

/// How a descriptor is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// While something is there to be taken.
    Taking,
    /// The same, but one waiting worker is enough.
    Sharing,
    /// Once whenever something changes, in both directions.
    Changes,
}

/// The kernel's list of what a worker waits for.
pub(crate) struct Poll {
    epoll: Descriptor,
}

impl Poll {
    pub(super) fn new(ledger: &Arc<Ledger>) -> Result<Self, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self {
            epoll: ledger.enter(epoll),
        })
    }

    pub(crate) fn add(
        &self,
        fd: impl AsFd,
        source: Source,
        interest: Interest,
    ) -> Result<(), Errno> {
        let flags = match interest {
            Interest::Taking => EventFlags::IN,
            Interest::Sharing => EventFlags::IN | EventFlags::EXCLUSIVE,
            Interest::Changes => {
                EventFlags::IN
                    | EventFlags::OUT
                    | EventFlags::PRI
                    | EventFlags::RDHUP
                    | EventFlags::ET
            }
        };
        let word = EventData::new_u64(source.word());
        epoll::add(&self.epoll, fd, word, flags)
    }

    pub(super) fn remove(&self, fd: impl AsFd) {
        // What is not in the list needs no removal.
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Waits for news, not longer than `most`.
    pub(super) fn wait(&self, most: Option<Duration>, news: &mut News) {
        let most = most.map(|most| Timespec {
            tv_sec: most.as_secs().cast_signed(),
            tv_nsec: most.subsec_nanos().into(),
        });
        news.0.clear();
        // It fails by a signal alone; everything else would be a mistake in the call itself.
        let _ = epoll::wait(&self.epoll, spare_capacity(&mut news.0), most.as_ref());
    }
}

/// What has happened; used again and again.
pub(super) struct News(Vec<Event>);

impl News {
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(256))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Source, EventFlags)> {
        let news = self.0.iter();
        news.map(|event| (Source::of(event.data.u64()), event.flags))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_leads_back_to_its_source() {
        let name = Name::new(70_000, u32::MAX);
        for source in [
            Source::Bell,
            Source::PortSocket(0x1_ffff),
            Source::Client(name),
            Source::Backend(name),
            Source::Flow(Name::new(0, 1)),
        ] {
            assert_eq!(Source::of(source.word()), source);
        }
    }
}
