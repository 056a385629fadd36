//! What a packet does to its flow's entry: the states of flows (RFC 9293, RFC 5961), as pure steps.
//!
//! A flow is live once the client has acknowledged the backend's answer. FIN counts for each
//! direction, a reset only as long as nothing contradicts it. What only the flow's other entry can
//! tell is left as a question. A packet that neither changes the state nor raises a question is
//! steady ([`Tcp::is_steady`]).

use crate::{addr::Ipv4, flow::Flow};

/// The states are the same in both families.
type F = Flow<Ipv4>;

/// No more data from the sender.
pub const FIN: u32 = 0x01;
/// Synchronize sequence numbers.
pub const SYN: u32 = 0x02;
/// Reset the connection.
pub const RST: u32 = 0x04;
/// The acknowledgment number is significant.
pub const ACK: u32 = 0x10;

/// Whether a segment with these flags asks for a new connection.
#[inline(always)]
pub const fn opens(flags: u32) -> bool {
    flags & (SYN | ACK | RST | FIN) == SYN
}

/// Whether a segment with these flags grants a new connection.
#[inline(always)]
pub const fn accepts(flags: u32) -> bool {
    flags & (SYN | ACK | RST) == SYN | ACK
}

/// What the flow's other entry has to tell before it is known what a segment does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Nothing.
    None,
    /// Does the client acknowledge the backend's answer? Then the entry becomes live.
    TakesAnswer,
    /// Does the backend's reset answer the client's SYN? Then the backend has refused the flow.
    AnswersSyn,
    /// Does the reset lie in the window? Then it counts, in both entries.
    InWindow,
    /// No question: the other direction is marked as having reset the connection, and this one goes
    /// on sending. The mark is taken back in both entries.
    Contradicts,
}

/// What a TCP segment does to its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// State bits that are set, whatever else is found.
    pub adds: u64,
    /// What is to be found out first.
    pub question: Question,
}

impl Tcp {
    /// What a segment does to an entry that is not live yet; nothing to one that is.
    #[inline(always)]
    pub const fn opening(state: u64, flags: u32, is_forward: bool) -> Self {
        let (adds, question) = if state & F::LIVE != 0 {
            (0, Question::None)
        } else if is_forward {
            if flags & ACK != 0 {
                (0, Question::TakesAnswer)
            } else {
                (0, Question::None)
            }
        } else if accepts(flags) {
            (F::LIVE, Question::None)
        } else if flags & RST != 0 {
            (0, Question::AnswersSyn)
        } else if flags & ACK != 0 {
            // For example a challenge (RFC 5961), which the client answers with a reset.
            (F::HEARD, Question::None)
        } else {
            (0, Question::None)
        };
        Self { adds, question }
    }

    /// What a segment does to a live entry; nothing to any other, because a reset or FIN before a
    /// flow is live answers an older connection of the same tuple.
    #[inline(always)]
    pub const fn closing(state: u64, flags: u32) -> Self {
        let is_live = state & F::LIVE != 0;
        let adds = if is_live && flags & FIN != 0 {
            F::FIN
        } else {
            0
        };
        let question = if !is_live {
            Question::None
        } else if flags & RST != 0 {
            Question::InWindow
        } else if state & F::RESET != 0 {
            Question::Contradicts
        } else {
            Question::None
        };
        Self { adds, question }
    }

    /// Whether a segment leaves its entry as it is, and asks nothing.
    #[inline(always)]
    pub const fn is_steady(state: u64, flags: u32) -> bool {
        flags & (SYN | FIN | RST) == 0 && state & (F::LIVE | F::RESET) == F::LIVE
    }
}

/// What a datagram does to its entry. An answer makes a flow live; a question after that, a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp {
    /// State bits that are set.
    pub adds: u64,
    /// State bits that are cleared.
    pub clears: u64,
    /// Those of `adds` that are set in the flow's other entry, too; `clears` holds for both.
    pub shared: u64,
}

impl Udp {
    /// What a datagram in this direction does.
    #[inline(always)]
    pub const fn of(state: u64, is_forward: bool) -> Self {
        if is_forward {
            let is_repeated = state & (F::LIVE | F::STREAM) == F::LIVE;
            Self {
                adds: if is_repeated { F::STREAM } else { 0 },
                clears: state & F::CAPPED,
                shared: 0,
            }
        } else {
            let adds = F::LIVE & !state;
            Self {
                adds,
                clears: 0,
                shared: adds,
            }
        }
    }

    /// Whether a datagram leaves its entry as it is.
    #[inline(always)]
    pub const fn is_steady(state: u64, is_forward: bool) -> bool {
        let step = Self::of(state, is_forward);
        step.adds | step.clears == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [u64; 5] = [F::LIVE, F::FIN, F::RST, F::RESET, F::HEARD];
    const FLAGS: [u64; 4] = [FIN as u64, SYN as u64, RST as u64, ACK as u64];

    /// Every sum of some of these.
    fn sums(bits: &[u64]) -> impl Iterator<Item = u64> {
        (0..1 << bits.len()).map(|which: usize| {
            let bits = bits.iter().enumerate();
            let chosen = bits.filter(|(place, _)| which & (1 << place) != 0);
            chosen.map(|(_, bit)| bit).sum()
        })
    }

    fn every(mut check: impl FnMut(u64, u32, bool)) {
        for state in sums(&STATES) {
            for flags in sums(&FLAGS) {
                for is_forward in [false, true] {
                    check(state, flags as u32, is_forward);
                }
            }
        }
    }

    #[test]
    fn a_steady_segment_changes_nothing_and_asks_nothing() {
        let nothing = Tcp {
            adds: 0,
            question: Question::None,
        };
        every(|state, flags, is_forward| {
            if Tcp::is_steady(state, flags) {
                assert_eq!(Tcp::opening(state, flags, is_forward), nothing);
                assert_eq!(Tcp::closing(state, flags), nothing);
            }
        });
        assert!(Tcp::is_steady(F::LIVE, ACK) && Tcp::is_steady(F::LIVE | F::FIN, ACK));
    }

    #[test]
    fn only_a_grant_makes_the_reply_entry_live_and_only_the_client_the_forward_one() {
        every(|state, flags, is_forward| {
            let opening = Tcp::opening(state, flags, is_forward);
            let is_new = state & F::LIVE == 0;
            let grants = is_new && !is_forward && flags & (SYN | ACK | RST) == SYN | ACK;
            assert_eq!(opening.adds & F::LIVE != 0, grants);
            let asks = is_new && is_forward && flags & ACK != 0;
            assert_eq!(opening.question == Question::TakesAnswer, asks);
            let refuses = is_new && !is_forward && flags & RST != 0;
            assert_eq!(opening.question == Question::AnswersSyn, refuses);
            let heard = is_new && !is_forward && flags & (SYN | ACK | RST) == ACK;
            assert_eq!(opening.adds & F::HEARD != 0, heard);
        });
    }

    #[test]
    fn nothing_ends_before_it_lives_and_every_end_can_be_taken_back() {
        every(|state, flags, _| {
            let closing = Tcp::closing(state, flags);
            let is_live = state & F::LIVE != 0;
            assert_eq!(closing.adds & F::FIN != 0, is_live && flags & FIN != 0);
            assert_eq!(closing.adds & !F::FIN, 0);
            let resets = is_live && flags & RST != 0;
            assert_eq!(closing.question == Question::InWindow, resets);
            let speaks_on = is_live && flags & RST == 0 && state & F::RESET != 0;
            assert_eq!(closing.question == Question::Contradicts, speaks_on);
        });
    }

    #[test]
    fn a_datagram_back_makes_both_entries_live_and_one_forth_lifts_the_cap() {
        for state in sums(&[F::LIVE, F::STREAM, F::CAPPED]) {
            let (forth, back) = (Udp::of(state, true), Udp::of(state, false));
            assert_eq!(back.adds, F::LIVE & !state);
            assert_eq!((back.shared, back.clears), (back.adds, 0));
            let (live, stream) = (state & F::LIVE != 0, state & F::STREAM != 0);
            assert_eq!(forth.adds != 0, live && !stream);
            assert_eq!((forth.clears, forth.shared), (state & F::CAPPED, 0));
            let is_steady = forth.adds | forth.clears == 0;
            assert_eq!(Udp::is_steady(state, true), is_steady);
        }
    }
}
