//! How an announcer is heard: by an agent, which answers, or through the Redis that nodes share,
//! where nobody does.

use std::time::{Duration, SystemTime};

use crate::{
    api::Heard,
    control::{Client, ClientError},
    discovery::{Message, Says},
    registry::Announcements,
};

/// How often another epoch is tried.
const TRIES: usize = 3;

/// Where an announcer speaks to.
#[derive(Debug)]
pub(crate) enum Way {
    Agent(Client),
    Redis(Box<Announcements>),
}

impl Way {
    /// Whether whoever hears can ask for more.
    pub(super) fn answers(&self) -> bool {
        matches!(self, Self::Agent(_))
    }

    pub(crate) async fn say(&self, message: &Message) -> Result<Heard, ClientError> {
        let document = message.document();
        match self {
            Self::Agent(client) => {
                let path = match message.says {
                    Says::Alive { .. } => "/v1/heartbeat",
                    Says::One(_) | Says::All(_) => "/v1/announce",
                };
                client.post(path, &document).await
            }
            Self::Redis(announcements) => {
                let said = announcements.say(&document.to_string()).await;
                said.map(|()| Heard::unanswered())
                    .map_err(ClientError::Unreachable)
            }
        }
    }

    /// Says the first words of an announcer that started so long ago. This host's clock may be wrong, or
    /// have been: where its epoch would not be heard for that, another is taken, and stands in the message.
    pub(crate) async fn begin(
        &self,
        message: &mut Message,
        age: Duration,
    ) -> Result<Heard, ClientError> {
        if let Self::Redis(announcements) = self {
            let epoch = announcements.epoch(&message.dea, age).await;
            message.spoken.epoch = epoch.map_err(ClientError::Unreachable)?;
            return self.say(message).await;
        }
        for _ in 1..TRIES {
            match self.say(message).await {
                Err(ClientError::Refused(refusal)) => match refusal.epoch {
                    Some(heard) if is_by_the_clock(message.spoken.epoch, heard, epoch_now()) => {
                        message.spoken.epoch = heard;
                    }
                    _ => return Err(ClientError::Refused(refusal)),
                },
                answer => return answer,
            }
        }
        self.say(message).await
    }
}

/// Whether an epoch is not heard because of a clock, and not because somebody has started since.
fn is_by_the_clock(said: u64, heard: u64, now: u64) -> bool {
    let was_ahead = heard < said;
    // One that started since did so by now.
    let is_behind = heard > now;
    was_ahead || is_behind
}

/// An epoch that is newer than any before: milliseconds since 1970.
pub(crate) fn epoch_now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(1, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_epoch_is_taken_for_a_clock_and_not_from_a_newer_announcer() {
        const NOW: u64 = 1_800_000_000_000;
        const YEAR: u64 = 31_536_000_000;
        // This host is a year ahead; it has gone back ten minutes; another has started a minute ago.
        assert!(is_by_the_clock(NOW + YEAR, NOW, NOW + YEAR));
        assert!(is_by_the_clock(NOW, NOW + 600_000, NOW + 5));
        assert!(!is_by_the_clock(NOW - 600_000, NOW - 60_000, NOW));
    }
}
