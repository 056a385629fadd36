//! Lists the proxy's flows in parts, worker by worker: no worker leaves its connections alone for as long
//! as a list of all of them takes, and nobody holds such a list.

use std::sync::mpsc::sync_channel;

use crate::{
    model::{FlowFilter, FlowRecord, Protocol},
    proxy::{Proxy, Silent, settings::ANSWER, worker::mailbox::Command},
};

/// A part of a worker's flows, and where the rest begins.
pub(crate) type Listed = (Vec<FlowRecord>, Option<FlowPlace>);

/// How far a worker's flows were listed: its connections first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlowPlace {
    pub(crate) protocol: Protocol,
    /// The first that was not looked at yet.
    pub(crate) index: usize,
}

impl FlowPlace {
    fn start_of(protocol: Protocol) -> Self {
        Self { protocol, index: 0 }
    }

    /// What follows a part: more of the same, or what comes after it.
    pub(crate) fn after(protocol: Protocol, rest: Option<usize>) -> Option<Self> {
        match (rest, protocol) {
            (Some(index), _) => Some(Self { protocol, index }),
            (None, Protocol::Tcp) => Some(Self::start_of(Protocol::Udp)),
            (None, Protocol::Udp) => None,
        }
    }
}

/// Flows that are meant, part by part. One that is there all the time is met exactly once.
#[derive(Debug)]
pub(crate) struct FlowListing {
    proxy: Proxy,
    filter: FlowFilter,
    /// The worker that is asked next.
    worker: usize,
    place: FlowPlace,
}

impl FlowListing {
    pub(crate) fn new(proxy: Proxy, filter: FlowFilter) -> Self {
        Self {
            proxy,
            filter,
            worker: 0,
            place: FlowPlace::start_of(Protocol::Tcp),
        }
    }

    /// Where the next part begins: the worker, and how far its flows were listed.
    pub(crate) fn place(&self) -> (usize, FlowPlace) {
        (self.worker, self.place)
    }

    /// Goes on where another listing was.
    pub(crate) fn go_to(&mut self, (worker, place): (usize, FlowPlace)) {
        (self.worker, self.place) = (worker, place);
    }
}

impl Iterator for FlowListing {
    type Item = Result<Vec<FlowRecord>, Silent>;

    /// The next part; waits for the worker.
    fn next(&mut self) -> Option<Self::Item> {
        let inbox = self.proxy.0.inboxes.get(self.worker)?;
        let (answer, answered) = sync_channel(1);
        inbox.put([Command::List(self.filter.clone(), self.place, answer)]);
        let Ok((records, rest)) = answered.recv_timeout(ANSWER) else {
            return Some(Err(Silent));
        };
        self.place = rest.unwrap_or_else(|| {
            self.worker += 1;
            FlowPlace::start_of(Protocol::Tcp)
        });
        Some(Ok(records))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_come_first_and_datagrams_last() {
        let place = |protocol, index| Some(FlowPlace { protocol, index });
        let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
        assert_eq!(FlowPlace::after(tcp, Some(7)), place(tcp, 7));
        assert_eq!(FlowPlace::after(tcp, None), place(udp, 0));
        assert_eq!(FlowPlace::after(udp, Some(7)), place(udp, 7));
        assert_eq!(FlowPlace::after(udp, None), None);
    }
}
