//! A flow as the model sees it: its ends, how far it has come, and how sure that is.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use kit::frame::{flag, protocol};

use super::reading::Segment;

/// A packet's five-tuple as it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) protocol: u8,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
}

/// A direction of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Client to backend.
    Forward,
    /// Backend to client.
    Reply,
}

impl Way {
    pub(super) fn index(self) -> usize {
        self as usize
    }

    pub(super) fn other(self) -> Self {
        match self {
            Self::Forward => Self::Reply,
            Self::Reply => Self::Forward,
        }
    }
}

/// Whether something is so, as far as the contract lets one say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Is {
    #[default]
    No,
    Maybe,
    Yes,
}

/// One client's conversation with one backend.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    pub(super) protocol: u8,
    pub(super) client: SocketAddr,
    pub(super) public: SocketAddr,
    /// The node's end towards the backend.
    pub(super) source: SocketAddr,
    pub(super) backend: usize,
    pub(super) live: Is,
    pub(super) fin: [Is; 2],
    /// By direction: it has sent a reset that counts, and the other has not spoken since.
    pub(super) resets: [Is; 2],
    /// UDP: the client spoke again after an answer.
    pub(super) is_stream: bool,
    /// The sequence number after the last octet, by direction.
    pub(super) next: [u32; 2],
    /// The highest acknowledgment number that the direction has sent.
    pub(super) acknowledged: [u32; 2],
    /// What the client must acknowledge to make the flow live.
    pub(super) offered: Option<u32>,
    /// It was offered once, or the same again.
    pub(super) is_offer_sure: bool,
    /// No sequence or acknowledgment number has jumped by more than a window.
    pub(super) is_orderly: bool,
    /// Its backend has refused it, and another could take it.
    pub(super) is_refused: Is,
    /// It has left a backend that did not answer.
    pub(super) has_moved: Is,
    /// Its backend has said something that accepts nothing.
    pub(super) is_heard: bool,
    /// The checksums with which datagrams were sent on, by direction.
    pub(super) sent: [Vec<u16>; 2],
    /// A datagram may have been sent, or noted, with another one.
    pub(super) is_sent_sure: bool,
    /// It may have ended.
    pub(super) is_doubtful: bool,
    /// [`World::turns`] when it began.
    pub(super) order: u64,
    pub(super) opened: Instant,
    pub(super) seen: Instant,
}

/// The timeout of established connections in the model's world: a machine that has just started
/// cannot be told of two hours of silence.
pub(super) const ESTABLISHED_S: u64 = 120;

/// How much sooner than its timeout a flow may be gone, and how much later at most.
const EARLY: Duration = Duration::from_secs(1);

impl Flow {
    /// Whether both sides may have closed it, or one reset it.
    pub(super) fn may_be_over(&self) -> bool {
        self.reset() != Is::No || self.fin.iter().all(|fin| *fin != Is::No)
    }

    /// Whether both sides have closed it for certain.
    pub(super) fn is_closed(&self) -> bool {
        self.live == Is::Yes && self.reset() == Is::No && self.fin == [Is::Yes; 2]
    }

    /// Whether it makes room for no other for certain: both sides have shown that they use it.
    pub(super) fn is_kept(&self) -> bool {
        let is_used = self.protocol == protocol::TCP || self.is_stream;
        self.live == Is::Yes && is_used && !self.may_be_over()
    }

    /// The shortest silence after which it may be forgotten, whatever state it is in.
    pub(super) fn silence(&self) -> Duration {
        let is_tcp = self.protocol == protocol::TCP;
        let seconds = match is_tcp {
            true if self.live != Is::Yes => 6,
            true if self.reset() != Is::No => 10,
            true if self.may_be_over() => 30,
            true => ESTABLISHED_S,
            false if self.is_stream => 180,
            false => 30,
        };
        Duration::from_secs(seconds) - EARLY
    }

    /// The longest silence after which it must be forgotten, whatever state it is in.
    pub(super) fn longest_silence(&self) -> Duration {
        let seconds = match (self.protocol, self.live) {
            (protocol::TCP, Is::No) => 6,
            (protocol::TCP, _) => ESTABLISHED_S,
            (_, Is::No) => 30,
            _ => 180,
        };
        Duration::from_secs(seconds)
    }

    /// Whether a new flow may take its source port.
    pub(super) fn may_be_replaced(&self) -> bool {
        let is_old = self.opened.elapsed() > Duration::from_millis(900);
        let is_single = self.protocol == protocol::UDP && !self.is_stream;
        self.may_be_over()
            || self.fin[Way::Forward.index()] != Is::No
            || is_old && (self.live != Is::Yes || is_single)
    }

    /// The ends that packets leave with.
    pub(super) fn ends(&self, way: Way, backend: SocketAddr) -> (SocketAddr, SocketAddr) {
        match way {
            Way::Forward => (self.source, backend),
            Way::Reply => (self.public, self.client),
        }
    }

    pub(super) fn key(&self, way: Way, backend: SocketAddr) -> Key {
        let (from, to) = match way {
            Way::Forward => (self.client, self.public),
            Way::Reply => (backend, self.source),
        };
        let protocol = self.protocol;
        Key { protocol, from, to }
    }
}

impl Flow {
    /// A segment of it has passed.
    pub(super) fn segment(&mut self, way: Way, tcp: Segment, is_whole: bool) {
        let (here, there) = (way.index(), way.other().index());
        let was_live = self.live;
        let has = |bit| tcp.flags & bit != 0;
        if way == Way::Reply && has(flag::SYN) && has(flag::ACK) && was_live == Is::No {
            let number = tcp.sequence.wrapping_add(1);
            // Of two offers either may count; so may one that resets or ends at once.
            let is_odd = !is_whole
                || tcp.flags & (flag::RST | flag::FIN) != 0
                || tcp.acknowledgement != self.next[there];
            let is_same = match self.offered {
                None => true,
                Some(was) => self.is_offer_sure && was == number,
            };
            self.is_offer_sure = !is_odd && is_same;
            self.is_orderly &= self.is_offer_sure;
            self.offered = Some(number);
            self.next[here] = tcp.sequence.wrapping_add(1);
            self.acknowledged[there] = tcp.sequence.wrapping_add(1);
        }
        self.is_heard |= way == Way::Reply && has(flag::ACK);
        if way == Way::Forward && has(flag::ACK) && was_live != Is::Yes {
            let is_plain = tcp.flags & (flag::SYN | flag::RST | flag::FIN) == 0 && is_whole;
            // A backend that sends far ahead before the client has answered hides its own offer.
            let is_sure = self.is_offer_sure && self.is_orderly;
            let is_right = self.offered == Some(tcp.acknowledgement) && is_sure;
            self.live = match (is_right, is_plain) {
                (true, true) => Is::Yes,
                (true, false) => Is::Maybe,
                // A number that the model did not see offered: it need not count.
                (false, _) => self.live.max(if self.offered.is_some() {
                    Is::Maybe
                } else {
                    Is::No
                }),
            };
        }
        if has(flag::FIN) && was_live != Is::No {
            let is_sure =
                was_live == Is::Yes && is_whole && tcp.flags & (flag::SYN | flag::RST) == 0;
            self.fin[here] = self.fin[here].max(if is_sure { Is::Yes } else { Is::Maybe });
        } else if has(flag::FIN) && (self.live != Is::No || self.has_answered(way)) {
            self.fin[here] = self.fin[here].max(Is::Maybe);
        }
        self.count_reset(way, tcp, was_live, is_whole);
        self.is_orderly &= is_near(tcp.sequence, self.next[here]);
        if has(flag::ACK) {
            self.is_orderly &= is_near(tcp.acknowledgement, self.acknowledged[here]);
        }
        if !has(flag::RST) {
            let end = tcp.sequence.wrapping_add(tcp.length);
            // Until a flow is live, its client's segments set the number, also back.
            let is_set = way == Way::Forward && was_live == Is::No;
            if is_set || end.wrapping_sub(self.next[here]) < 1 << 31 {
                self.next[here] = end;
            }
        }
        if has(flag::ACK) && !has(flag::RST) {
            let is_later = tcp.acknowledgement.wrapping_sub(self.acknowledged[here]) < 1 << 31;
            if is_later {
                self.acknowledged[here] = tcp.acknowledgement;
            }
        }
    }

    /// A packet of it was not sent on, and may have counted.
    pub(super) fn overheard(&mut self, way: Way, tcp: Option<Segment>) {
        let (here, there) = (way.index(), way.other().index());
        self.live = self.live.max(Is::Maybe);
        self.is_sent_sure = false;
        self.is_heard = true;
        let Some(tcp) = tcp else { return };
        self.is_orderly = false;
        self.is_offer_sure = false;
        if tcp.flags & flag::FIN != 0 {
            self.fin[here] = self.fin[here].max(Is::Maybe);
        }
        match tcp.flags & flag::RST {
            0 => self.resets[there] = self.resets[there].min(Is::Maybe),
            _ => self.resets[here] = self.resets[here].max(Is::Maybe),
        }
    }

    /// Whether one side has reset it.
    pub(super) fn reset(&self) -> Is {
        self.resets[0].max(self.resets[1])
    }

    /// A backend has answered: what it then says before the client has heard may count already.
    fn has_answered(&self, way: Way) -> bool {
        way == Way::Reply && self.offered.is_some()
    }

    /// A reset counts in a live flow and in window, and is taken back by what the other side sends.
    fn count_reset(&mut self, way: Way, tcp: Segment, was_live: Is, is_whole: bool) {
        let (here, there) = (way.index(), way.other().index());
        let other = &mut self.resets[there];
        if tcp.flags & flag::RST == 0 {
            *other = (*other).min(if is_whole { Is::No } else { Is::Maybe });
            return;
        }
        let is_plain = is_whole && tcp.flags & (flag::SYN | flag::FIN) == 0;
        let low = self.acknowledged[there];
        let window = self.next[here].wrapping_sub(low).max(0xffff);
        let is_in_window = tcp.sequence.wrapping_sub(low) <= window;
        let counts = match (was_live, is_plain && self.is_orderly) {
            (Is::No, true) if self.live == Is::No && !self.has_answered(way) => Is::No,
            (Is::Yes, true) if is_in_window => Is::Yes,
            (Is::Yes, true) => Is::No,
            _ => Is::Maybe,
        };
        self.resets[here] = self.resets[here].max(counts);
    }
}

/// Whether two numbers lie within a window of each other.
fn is_near(one: u32, other: u32) -> bool {
    one.wrapping_sub(other).wrapping_add(0x8000) <= 0x1_0000
}
