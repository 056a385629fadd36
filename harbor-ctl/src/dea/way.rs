//! How an announcer is heard: by an agent, which answers, or through the Redis that nodes share,
//! where nobody does.

use crate::{
    control::{Client, ClientError, wire::Heard},
    discovery::{Message, Says},
    registry::Announcements,
};

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
}
