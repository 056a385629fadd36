//! Which flows end for a newcomer.
//!
//! A newcomer needs room in three places: at its client's share, at its port's, and in the whole.
//! Where one of them lacks it, flows that have carried least are chosen, out of the place that is
//! full; of the whole, out of the port that has most. No port gives way to one that has more.

use harbor_common::verdict::DropReason;

use super::{Book, Entry, Holder, Newcomer, Rank, Room};

/// A connection is left in peace for so long: in a burst each newcomer would end the one before,
/// and nobody would be served.
pub(super) const GRACE: u64 = 200_000_000;
/// TLS handshakes at once, of one port and of one client: memory is bounded, and so is the time that
/// one that is new has to wait behind others.
pub(super) const HANDSHAKES: u64 = 2_048;
const HANDSHAKES_OF_PORT: u64 = HANDSHAKES / 4;
const HANDSHAKES_OF_CLIENT: u64 = HANDSHAKES / 16;

/// Who has to leave so that a newcomer has room, by their numbers in the book. An error names the
/// place that has none.
pub(super) fn choose(
    book: &Book,
    newcomer: &Newcomer,
    room: &Room,
    now: u64,
) -> Result<Vec<u32>, DropReason> {
    let none = Holder::default();
    let mut choice = Choice {
        book,
        newcomer,
        client: book.client(newcomer.client).unwrap_or(&none),
        port: book.port(newcomer.port).unwrap_or(&none),
        now,
        victims: Vec::new(),
    };
    if newcomer.rank == Rank::Handshake {
        choice.for_handshake()?;
    }
    choice.for_descriptors(room)?;
    Ok(choice.victims)
}

/// Those who are to leave for a newcomer.
struct Choice<'a> {
    book: &'a Book,
    newcomer: &'a Newcomer,
    /// What its client and its port have.
    client: &'a Holder,
    port: &'a Holder,
    now: u64,
    victims: Vec<u32>,
}

/// What is scarce.
#[derive(Clone, Copy)]
enum Measure {
    Descriptors,
    Handshakes,
}

impl Choice<'_> {
    fn for_handshake(&mut self) -> Result<(), DropReason> {
        let measure = Measure::Handshakes;
        self.at_client(HANDSHAKES_OF_CLIENT, measure)?;
        self.at_port(HANDSHAKES_OF_PORT, measure)?;
        let most = HANDSHAKES + self.freed(|_| true, measure);
        let excess = self.excess(self.book.handshakes(), most, measure);
        self.in_whole(excess, measure)
    }

    fn for_descriptors(&mut self, room: &Room) -> Result<(), DropReason> {
        let measure = Measure::Descriptors;
        self.at_client(room.client, measure)?;
        self.at_port(room.port, measure)?;
        // A port that is full may not use up what others need to make room for themselves.
        let leaving = |choice: &Self| match choice.victims.is_empty() {
            true => 0,
            false => self.book.leaving() + choice.freed(|_| true, measure),
        };
        if leaving(self) > room.leaving / 2 {
            return Err(DropReason::FlowsFull);
        }
        let wanted = self.newcomer.descriptors;
        let most = match room.is_little(self.port.descriptors + wanted) {
            true => room.whole,
            false => room.for_all(),
        };
        let staying = self.book.total() - self.book.leaving();
        let most = most + self.freed(|_| true, measure);
        let mut excess = self.excess(staying, most, measure);
        if room.is_crowded && self.victims.is_empty() {
            excess = Excess { wish: 1, need: 1 };
        }
        self.in_whole(excess, measure)?;
        match leaving(self) > room.leaving {
            true => Err(DropReason::FlowsFull),
            false => Ok(()),
        }
    }

    /// Makes room at the client's share: its own flows leave.
    fn at_client(&mut self, most: u64, measure: Measure) -> Result<(), DropReason> {
        let client = self.newcomer.client;
        let freed = self.freed(|entry| entry.client == client, measure);
        let excess = self.excess(measure.of(self.client), most + freed, measure);
        let left = self.take(self.client, excess.wish, measure);
        excess.check(left, DropReason::ClientQuota)
    }

    /// Makes room at the port's share: flows of the port leave.
    fn at_port(&mut self, most: u64, measure: Measure) -> Result<(), DropReason> {
        let port = self.newcomer.port;
        let freed = self.freed(|entry| entry.port == port, measure);
        let excess = self.excess(measure.of(self.port), most + freed, measure);
        let left = self.take(self.port, excess.wish, measure);
        excess.check(left, DropReason::FlowCeiling)
    }

    /// Makes room for all: flows of the ports that have most leave, down to what the newcomer's port
    /// has itself.
    fn in_whole(&mut self, excess: Excess, measure: Measure) -> Result<(), DropReason> {
        let mut left = excess.wish;
        if left == 0 {
            return Ok(());
        }
        let (book, own) = (self.book, measure.of(self.port));
        let gives = |holder: &&Holder| !holder.ranked.is_empty() && measure.of(holder) >= own;
        let fuller = || book.holders_of_ports().filter(gives);
        if let Some(fullest) = fuller().max_by_key(|holder| measure.of(holder)) {
            left = self.take(fullest, left, measure);
        }
        if left == 0 {
            return Ok(());
        }
        // The fullest has nobody to spare, which is rare.
        let mut others: Vec<&Holder> = fuller().collect();
        others.sort_by_key(|holder| std::cmp::Reverse(measure.of(holder)));
        for holder in others {
            left = self.take(holder, left, measure);
        }
        excess.check(left, DropReason::FlowsFull)
    }

    /// What the newcomer would have above `most`, where there is so much already.
    fn excess(&self, there: u64, most: u64, measure: Measure) -> Excess {
        let wanted = measure.wanted(self.newcomer);
        let above = (there + wanted).saturating_sub(most);
        Excess {
            wish: above.min(2 * wanted),
            need: above.min(wanted),
        }
    }

    /// What is freed where an entry is meant.
    fn freed(&self, is_meant: impl Fn(&Entry) -> bool, measure: Measure) -> u64 {
        let entries = self.victims.iter();
        let entries = entries.filter_map(|index| self.book.entry(*index));
        let meant = entries.filter(|entry| is_meant(entry));
        meant.map(|entry| measure.of_entry(entry)).sum()
    }

    /// Chooses a holder's flows in their order until there is no excess; what is left of it.
    fn take(&mut self, holder: &Holder, mut excess: u64, measure: Measure) -> u64 {
        for &rank in measure.ranks() {
            let until = self.now.saturating_sub(rank.grace());
            let due = holder.ranked.range((rank, 0, 0)..=(rank, until, u32::MAX));
            for (.., index) in due {
                if excess == 0 {
                    return 0;
                }
                if let Some(entry) = self.book.entry(*index)
                    && !self.victims.contains(index)
                {
                    self.victims.push(*index);
                    excess = excess.saturating_sub(measure.of_entry(entry));
                }
            }
        }
        excess
    }
}

/// How much is to be freed.
///
/// A newcomer takes the place of others; where a share has become smaller than what is there, each
/// frees more than it takes, so that the share holds in the end.
#[derive(Clone, Copy)]
struct Excess {
    wish: u64,
    need: u64,
}

impl Excess {
    /// Whether enough is freed when so much of the wish is left.
    fn check(self, left: u64, reason: DropReason) -> Result<(), DropReason> {
        match self.wish.saturating_sub(left) >= self.need {
            true => Ok(()),
            false => Err(reason),
        }
    }
}

impl Rank {
    /// How long a flow of this rank is left in peace.
    fn grace(self) -> u64 {
        match self {
            Self::Question => 0,
            Self::HalfClosed | Self::Handshake | Self::Unused => GRACE,
        }
    }
}

impl Measure {
    fn wanted(self, newcomer: &Newcomer) -> u64 {
        match self {
            Self::Descriptors => newcomer.descriptors,
            Self::Handshakes => 1,
        }
    }

    fn of(self, holder: &Holder) -> u64 {
        match self {
            Self::Descriptors => holder.descriptors,
            Self::Handshakes => holder.handshakes,
        }
    }

    fn of_entry(self, entry: &Entry) -> u64 {
        match self {
            Self::Descriptors => entry.descriptors,
            Self::Handshakes => entry.handshakes(),
        }
    }

    /// Of which ranks flows leave for it, and in which order.
    fn ranks(self) -> &'static [Rank] {
        match self {
            Self::Descriptors => &Rank::ALL,
            Self::Handshakes => &[Rank::Handshake],
        }
    }
}

#[cfg(test)]
mod tests;
