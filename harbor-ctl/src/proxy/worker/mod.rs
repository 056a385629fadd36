//! A thread of the proxy: waits for news of its sockets and does what they ask for.
//!
//! A connection lives on the worker that accepted it, so that carrying bytes takes no lock. All
//! workers listen on every TCP number; a UDP number has one worker. When there are no descriptors the
//! worker gives up one that it has kept back, so that a client is turned away and not left waiting,
//! and stops listening on that number for a moment, so that it does not spin.

pub(super) mod clock;
pub(super) mod descriptors;
pub(super) mod mailbox;
pub(super) mod poll;
pub(super) mod shared;
mod timeouts;

use std::{
    collections::HashMap,
    fs::File,
    os::fd::OwnedFd,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use rustix::{
    event::epoll::EventFlags,
    io::Errno,
    net::{SocketFlags, acceptfrom_with},
};

use super::{
    flows::listing::{FlowPlace, Listed},
    ports::socket::{Key, PortSocket},
    select::frontend::Frontend,
    tcp::{Connections, Here, connect::reset, connection::Side, pipes::Pipes, relay::Kit},
    udp::Flows,
};
use crate::model::{FlowFilter, Protocol};
use clock::{SECOND, now_ns};
use descriptors::{Descriptor, is_scarcity};
use mailbox::{Command, Inbox};
use poll::{Interest, News, Poll, Source};
use shared::{Common, read_address};

/// Connections that are accepted of one number before others have their turn.
const ACCEPTS: usize = 8;
/// How long a number is not listened on after descriptors had run out.
const PAUSE: u64 = SECOND / 20;

/// A worker, before and while it runs.
pub(super) struct Worker {
    index: usize,
    /// How many there are.
    count: usize,
    common: Arc<Common>,
    inbox: Arc<Inbox>,
    poll: Poll,
    seats: HashMap<u32, Place>,
    tcp: Connections,
    udp: Flows,
    /// Given up when there is no other descriptor.
    spare: Option<Descriptor>,
    /// Numbers that are not listened on, and until when.
    paused: Vec<(u64, u32)>,
    next_sweep: u64,
    now: u64,
}

/// A number's socket and what stands behind it now.
struct Place {
    seat: Arc<PortSocket>,
    frontend: Option<Arc<Frontend>>,
}

/// A number as the workers call it.
pub(super) fn seat_number((protocol, port): Key) -> u32 {
    match protocol {
        Protocol::Tcp => port.into(),
        Protocol::Udp => 0x1_0000 | u32::from(port),
    }
}

impl Worker {
    pub(super) fn new(
        (index, count): (usize, usize),
        common: Arc<Common>,
        inbox: Arc<Inbox>,
        pipes: Arc<AtomicUsize>,
    ) -> Result<Self, Errno> {
        let poll = Poll::new(&common.ledger)?;
        poll.add(&inbox.bell, Source::Bell, Interest::Taking)?;
        let kit = Kit::new(Pipes::new(Arc::clone(&common.ledger), pipes));
        let mut worker = Self {
            index,
            count,
            common,
            inbox,
            poll,
            seats: HashMap::new(),
            tcp: Connections::new(index, kit),
            udp: Flows::new(index),
            spare: None,
            paused: Vec::new(),
            next_sweep: 0,
            now: now_ns(),
        };
        worker.keep_spare();
        Ok(worker)
    }

    /// Works until it is told to stop.
    pub(super) fn run(mut self) {
        let mut news = News::new();
        loop {
            self.poll.wait(self.patience(), &mut news);
            self.now = now_ns();
            if !self.obey() {
                return;
            }
            for (source, flags) in news.iter() {
                self.attend(source, flags);
                // What has to end for a newcomer ends before the next one comes.
                if self.inbox.has_mail() && !self.obey() {
                    return;
                }
            }
            self.keep_time();
        }
    }

    fn attend(&mut self, source: Source, flags: EventFlags) {
        let here = Here {
            common: &self.common,
            poll: &self.poll,
            now: self.now,
        };
        match source {
            Source::Bell => {}
            Source::PortSocket(number) => self.serve(number),
            Source::Client(name) => self.tcp.hear(name, Side::Client, flags, here),
            Source::Backend(name) => self.tcp.hear(name, Side::Backend, flags, here),
            Source::Flow(name) => self.udp.hear(name, flags, here),
        }
    }

    /// Somebody is at a number.
    fn serve(&mut self, number: u32) {
        let Some(place) = self.seats.get(&number) else {
            return;
        };
        if place.seat.key.0 == Protocol::Tcp {
            return self.accept(number);
        }
        let is_ours = |port| self.seats.contains_key(&seat_number((Protocol::Udp, port)));
        let here = Here {
            common: &self.common,
            poll: &self.poll,
            now: self.now,
        };
        let (seat, frontend) = (&place.seat, place.frontend.as_ref());
        self.udp.receive(seat, frontend, is_ours, here);
    }

    fn accept(&mut self, number: u32) {
        for _ in 0..ACCEPTS {
            let Some(place) = self.seats.get(&number) else {
                return;
            };
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match acceptfrom_with(&place.seat.socket, flags) {
                Ok((fd, address)) => {
                    let client = self.common.ledger.enter(fd);
                    let Some(address) = address.and_then(read_address) else {
                        continue;
                    };
                    let here = Here {
                        common: &self.common,
                        poll: &self.poll,
                        now: self.now,
                    };
                    self.tcp
                        .accept((client, address), place.frontend.as_ref(), here);
                }
                Err(error) if is_scarcity(error) => return self.shed(number),
                // Taken by another worker, or gone before it was taken.
                Err(_) => return,
            }
        }
    }

    /// There is no descriptor: turns one client away by means of the spare one, and pauses.
    fn shed(&mut self, number: u32) {
        let Some(place) = self.seats.get(&number) else {
            return;
        };
        if self.spare.take().is_some()
            && let Ok((fd, _)) = acceptfrom_with(&place.seat.socket, SocketFlags::CLOEXEC)
        {
            reset(&self.common.ledger.enter(fd));
            self.common
                .shed
                .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        self.poll.remove(&place.seat.socket);
        self.paused.push((self.now + PAUSE, number));
        self.keep_spare();
    }

    fn keep_spare(&mut self) {
        if self.spare.is_none()
            && let Ok(file) = File::open("/dev/null")
        {
            self.spare = Some(self.common.ledger.enter(OwnedFd::from(file)));
        }
    }

    /// Does what it was told; `false` = it was told to stop.
    fn obey(&mut self) -> bool {
        for order in self.inbox.take() {
            let here = Here {
                common: &self.common,
                poll: &self.poll,
                now: self.now,
            };
            match order {
                Command::Open(seat) => self.open(seat),
                Command::Close(keys, done) => {
                    keys.iter().for_each(|key| self.close(*key));
                    let _ = done.try_send(());
                }
                Command::Serve(ports) => self.reform(ports),
                Command::MakeRoom(Protocol::Tcp, name) => self.tcp.make_room(name, here),
                Command::MakeRoom(Protocol::Udp, name) => self.udp.make_room(name, here),
                Command::List(filter, place, answer) => {
                    let _ = answer.try_send(self.list(&filter, place));
                }
                Command::Count(filter, answer) => {
                    let of_tcp = self.tcp.count(&filter, self.now);
                    let _ = answer.try_send(of_tcp + self.udp.count(&filter, self.now));
                }
                Command::End(filter, answer) => {
                    let ended = self.tcp.end(&filter, here) + self.udp.end(&filter, here);
                    let _ = answer.try_send(ended);
                }
                Command::Stop => {
                    self.tcp.end_all(here);
                    return false;
                }
            }
        }
        true
    }

    fn list(&self, filter: &FlowFilter, FlowPlace { protocol, index }: FlowPlace) -> Listed {
        let (records, rest) = match protocol {
            Protocol::Tcp => self.tcp.records(filter, index, self.now),
            Protocol::Udp => self.udp.records(filter, index, self.now),
        };
        (records, FlowPlace::after(protocol, rest))
    }

    fn open(&mut self, seat: Arc<PortSocket>) {
        let number = seat_number(seat.key);
        self.listen(&seat);
        let frontend = None;
        self.seats.insert(number, Place { seat, frontend });
    }

    fn listen(&self, seat: &PortSocket) {
        let interest = match seat.key {
            (Protocol::Tcp, _) => Interest::Sharing,
            (Protocol::Udp, port) if usize::from(port) % self.count == self.index => {
                Interest::Taking
            }
            (Protocol::Udp, _) => return,
        };
        let source = Source::PortSocket(seat_number(seat.key));
        if let Err(error) = self.poll.add(&seat.socket, source, interest) {
            let (protocol, port) = seat.key;
            tracing::error!("cannot wait for clients of port {port}/{protocol}: {error}");
        }
    }

    fn close(&mut self, key: Key) {
        let here = Here {
            common: &self.common,
            poll: &self.poll,
            now: self.now,
        };
        self.udp.end_of(key, here);
        if let Some(place) = self.seats.remove(&seat_number(key)) {
            self.poll.remove(&place.seat.socket);
        }
    }

    fn reform(&mut self, ports: Vec<(Key, Option<Arc<Frontend>>)>) {
        let ports: HashMap<Key, Option<Arc<Frontend>>> = ports.into_iter().collect();
        for (key, frontend) in &ports {
            if let Some(place) = self.seats.get_mut(&seat_number(*key)) {
                place.frontend.clone_from(frontend);
            }
        }
        let find = |frontend: &Frontend| ports.get(&frontend.key).cloned();
        let here = Here {
            common: &self.common,
            poll: &self.poll,
            now: self.now,
        };
        self.tcp.reform(find, here);
        self.udp.reform(find, here);
    }

    /// Does what is due.
    fn keep_time(&mut self) {
        let here = Here {
            common: &self.common,
            poll: &self.poll,
            now: self.now,
        };
        self.tcp.turn(here);
        if self.next_sweep <= self.now {
            self.tcp.sweep(here);
            self.udp.sweep(here);
            self.next_sweep = self.now + SECOND;
        }
        if self
            .paused
            .first()
            .is_some_and(|(until, _)| *until <= self.now)
        {
            self.keep_spare();
            for (_, number) in std::mem::take(&mut self.paused) {
                if let Some(place) = self.seats.get(&number) {
                    self.listen(&place.seat);
                }
            }
        }
    }

    /// How long nothing has to be done but what its sockets ask for.
    fn patience(&self) -> Option<Duration> {
        let sweep = !(self.tcp.is_empty() && self.udp.is_empty());
        let due = [
            self.tcp.next_turn(self.now),
            sweep.then_some(self.next_sweep),
            self.paused.first().map(|(until, _)| *until),
        ];
        let due = due.into_iter().flatten().min()?;
        Some(Duration::from_nanos(due.saturating_sub(now_ns())))
    }
}
