//! The time in which a connection looks for a backend that answers.
//!
//! A backend that refuses is passed over at once. One that is slow keeps its attempt: after
//! `connect_timeout` the next backend is tried beside it, and whoever answers first gets the
//! connection. The only backend is waited for until `give_up`, as the kernel asks it again meanwhile.

use rustix::{
    event::epoll::EventFlags,
    net::{getpeername, sockopt::socket_error},
};

use super::{
    connect::{Leg, doubt_of, reset},
    connection::{Connection, Context, ENDS, Next, Stage},
};
use crate::{
    model::{Doubt, Witness},
    proxy::{
        select::backend::Backend,
        worker::{descriptors::Descriptor, poll::Name},
    },
};

/// Slow attempts that a connection keeps beside its latest one.
const KEPT: usize = 3;

/// What another backend is tried for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Search {
    /// The latest attempt has failed.
    Instead,
    /// The latest attempt is slow, and goes on.
    Beside,
}

/// How far an attempt has come.
enum Outcome {
    Pending,
    Answered,
    /// The doubt is `None` where this host could not try.
    Failed(Option<Doubt>),
}

impl Connection {
    /// One of the attempts has news; their sockets have one name.
    pub(super) fn hear_attempts(&mut self, flags: EventFlags, ground: &mut Context<'_>) -> Next {
        let is_sole = self.tried.is_empty() && self.earlier.is_empty();
        if is_sole && !flags.contains(EventFlags::ERR) {
            return match flags.contains(EventFlags::OUT) {
                true => self.win(flags.intersects(ENDS), ground),
                false => Next::Wait,
            };
        }
        for index in (0..self.earlier.len()).rev() {
            match outcome(&self.earlier[index].socket) {
                Outcome::Pending => {}
                Outcome::Answered => {
                    std::mem::swap(&mut self.leg, &mut self.earlier[index]);
                    return self.win(true, ground);
                }
                Outcome::Failed(doubt) => {
                    let leg = self.earlier.remove(index);
                    self.suspect(&leg.backend, doubt, ground);
                    leg.close();
                }
            }
        }
        match outcome(&self.leg.socket) {
            Outcome::Pending => Next::Wait,
            // What else has happened to it may have been told with another attempt's news.
            Outcome::Answered => self.win(true, ground),
            Outcome::Failed(doubt) => {
                self.suspect(&self.leg.backend, doubt, ground);
                Next::Retry(Search::Instead)
            }
        }
    }

    /// The time of the latest attempt is up, or that of all of them.
    pub(super) fn lose_patience(&mut self, ground: &Context<'_>) -> Next {
        match self.stage {
            Stage::Opening { until } if until <= ground.now => {}
            _ => return Next::Wait,
        }
        if ground.now < self.give_up_at {
            return Next::Retry(Search::Beside);
        }
        for leg in self.earlier.iter().chain([&self.leg]) {
            self.suspect(&leg.backend, Some(Doubt::Silent), ground);
        }
        Next::Reset
    }

    /// Tries another backend; until when, or `None` if there is nobody left to wait for.
    pub(super) fn seek(&mut self, search: Search, name: Name, ground: &Context<'_>) -> Option<u64> {
        self.earlier.retain(|leg| !leg.backend.is_gone());
        self.tried.push(self.leg.backend.number);
        let has_room = search == Search::Instead || self.holding.may_grow();
        let tried = &mut self.tried;
        let next = has_room.then(|| Leg::next(&self.frontend, self.address, tried, (name, ground)));
        let mut until = self.give_up_at;
        match (next.flatten(), search) {
            (Some(leg), _) => {
                until = until.min(ground.now + ground.common.patience.connect());
                let latest = std::mem::replace(&mut self.leg, leg);
                self.put_aside(latest, search, ground);
            }
            (None, Search::Beside) => {}
            (None, Search::Instead) => {
                let kept = self.earlier.pop()?;
                std::mem::replace(&mut self.leg, kept).close();
            }
        }
        self.stage = Stage::Opening { until };
        self.settle(ground.now);
        Some(until)
    }

    fn put_aside(&mut self, latest: Leg, search: Search, ground: &Context<'_>) {
        if search == Search::Instead {
            return latest.close();
        }
        self.suspect(&latest.backend, Some(Doubt::Silent), ground);
        if self.earlier.len() == KEPT {
            // The first one has had the most time.
            self.earlier.remove(1).close();
        }
        self.earlier.push(latest);
    }

    /// The latest attempt is the one that carries the connection.
    fn win(&mut self, is_hung: bool, ground: &mut Context<'_>) -> Next {
        for leg in self.earlier.drain(..) {
            reset(&leg.socket);
            leg.close();
        }
        self.forward.is_open = true;
        self.reply.is_ready = true;
        self.reply.is_hung = is_hung;
        match self.arrive(ground) {
            Some(end) => end,
            None => self.carry(ground),
        }
    }

    /// A backend has failed this connection.
    fn suspect(&self, backend: &Backend, doubt: Option<Doubt>, ground: &Context<'_>) {
        if let Some(doubt) = doubt {
            let (key, witness) = (self.frontend.key, Witness::Client(self.address.ip()));
            ground.common.doubt(key, backend, doubt, witness);
        }
    }
}

fn outcome(socket: &Descriptor) -> Outcome {
    match socket_error(socket) {
        Ok(Err(error)) | Err(error) => Outcome::Failed(doubt_of(error)),
        Ok(Ok(())) if getpeername(socket).is_ok_and(|peer| peer.is_some()) => Outcome::Answered,
        Ok(Ok(())) => Outcome::Pending,
    }
}
