//! What happens to ports, backends, bindings and nodes: kinds with names that never change, and one
//! shape. Events hold who has asked for what, and settings before and after; they hold no credentials.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// What has happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub(crate) enum EventKind {
            $($(#[$doc])* $kind,)*
        }

        impl EventKind {
            pub(crate) const ALL: &[Self] = &[$(Self::$kind,)*];

            /// As it is in JSON.
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    PortAllocated = "port_allocated",
    PortReleased = "port_released",
    /// Its settings, its lifetime, or whether it takes new flows.
    PortChanged = "port_changed",
    BackendAdded = "backend_added",
    BackendRemoved = "backend_removed",
    /// It takes no new flows any more, by somebody's word.
    BackendDraining = "backend_draining",
    /// It takes new flows again, by somebody's word.
    BackendResumed = "backend_resumed",
    /// Its probes fail.
    BackendFailing = "backend_failing",
    /// Its probes pass again.
    BackendRecovered = "backend_recovered",
    /// Its probes failed, and are others now or none: how it is, nobody has asked.
    BackendUnknown = "backend_unknown",
    /// It was confirmed that it fails clients' flows: new ones avoid it.
    BackendEjected = "backend_ejected",
    /// New flows go to it again.
    BackendReturned = "backend_returned",
    BindingCreated = "binding_created",
    BindingDeleted = "binding_deleted",
    /// Somebody on the node holds a number.
    ConflictFound = "conflict_found",
    ConflictHealed = "conflict_healed",
    /// An app host has been silent for too long.
    LeaseEnded = "lease_ended",
    /// An entry of an app host's, or all that it says.
    AnnouncementRefused = "announcement_refused",
    ConfigChanged = "config_changed",
    /// Its files cannot be used as they are, or were read again and refused.
    ConfigFailed = "config_failed",
    /// They can be used again.
    ConfigHealed = "config_healed",
    RegistryAway = "registry_away",
    RegistryBack = "registry_back",
    /// Its disk refuses, or it was made anew where ports exist.
    RegistryFailed = "registry_failed",
    /// It does not have backends that the kernel had when the agent started.
    RegistryDiffers = "registry_differs",
    NodeJoined = "node_joined",
    NodeLeft = "node_left",
    /// The node has the addresses of a share of a pool.
    ShareArrived = "share_arrived",
    /// It has them no more.
    ShareLeft = "share_left",
    AgentStarted = "agent_started",
    AgentStopped = "agent_stopped",
    /// A port, a client or all of them have as much as they may.
    LimitReached = "limit_reached",
    /// There is room again.
    LimitLeft = "limit_left",
    /// Somebody has ended flows.
    FlowsEnded = "flows_ended",
    /// Somebody has asked for a change that no other event tells of.
    RequestDone = "request_done",
    /// Somebody has asked for a change, and was refused.
    RequestRefused = "request_refused",
    /// Events before this one are not kept any more.
    Gap = "gap",
}

impl EventKind {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|kind| kind.name() == text);
        found.copied().ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|kind| kind.name()).collect();
            format!("no event is of this kind; there are: {}", names.join(", "))
        })
    }
}

/// What an event is about, as far as it is about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Subject {
    /// The service's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) service: Option<String>,
    /// The service's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) instance: Option<String>,
    /// The backend's `IP:PORT`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) binding: Option<String>,
    /// The app host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dea: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<String>,
    /// The configuration's `section.name`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
}

/// Who has asked for what has happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Actor {
    /// The user of a process on the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) uid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pid: Option<i32>,
    /// What that process calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) process: Option<String>,
    /// Whom an API has let in: its user, and on whose behalf a platform asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<String>,
    /// Where somebody asks from by TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<String>,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(uid) = self.uid {
            let process = self.process.as_deref().unwrap_or("?");
            return write!(f, "uid {uid} {process}[{}]", self.pid.unwrap_or_default());
        }
        let subject = self.subject.as_deref().unwrap_or("?");
        match &self.address {
            Some(address) => write!(f, "{subject} from {address}"),
            None => f.write_str(subject),
        }
    }
}

/// A setting before and after; missing: it is not set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct SettingChange {
    pub(crate) key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) old: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) new: Option<String>,
}

/// The longest value that an event holds.
const LONGEST_VALUE: usize = 256;
/// The longest text.
const LONGEST_TEXT: usize = 2_048;

impl SettingChange {
    pub(crate) fn new(key: &str, old: Option<String>, new: Option<String>) -> Self {
        let key = key.to_owned();
        let cut = |value: Option<String>| value.map(|value| shortened(value, LONGEST_VALUE));
        Self {
            key,
            old: cut(old),
            new: cut(new),
        }
    }
}

impl fmt::Display for SettingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<String>| match value.as_deref() {
            None | Some("") => "none".to_owned(),
            Some(value) => value.to_owned(),
        };
        write!(
            f,
            "{} {} -> {}",
            self.key,
            shown(&self.old),
            shown(&self.new)
        )
    }
}

fn shortened(mut text: String, longest: usize) -> String {
    if text.len() > longest {
        text.truncate(text.floor_char_boundary(longest));
        text.push('…');
    }
    text
}

/// What is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Happening {
    pub(crate) kind: EventKind,
    pub(crate) subject: Subject,
    /// One line.
    pub(crate) text: String,
    pub(crate) changes: Vec<SettingChange>,
}

impl Happening {
    pub(crate) fn new(kind: EventKind, subject: Subject, text: impl Into<String>) -> Self {
        Self {
            kind,
            subject,
            text: shortened(text.into(), LONGEST_TEXT),
            changes: Vec::new(),
        }
    }

    pub(crate) fn with(self, changes: Vec<SettingChange>) -> Self {
        Self { changes, ..self }
    }
}

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Event {
    /// Higher than that of every event before, over restarts too.
    pub(crate) id: u64,
    /// Seconds since 1970.
    pub(crate) at: u64,
    /// The same as the node's clock shows it: RFC 3339, in local time.
    pub(crate) time: String,
    pub(crate) kind: EventKind,
    /// One line.
    pub(crate) text: String,
    #[serde(flatten)]
    pub(crate) subject: Subject,
    /// Who has asked for it; missing: nobody, it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) actor: Option<Actor>,
    /// Settings that are others now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) changes: Vec<SettingChange>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_called_the_same_everywhere() {
        for &kind in EventKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
            assert_eq!(EventKind::parse(kind.name()), Ok(kind));
        }
        assert!(
            EventKind::parse("port")
                .unwrap_err()
                .contains("port_allocated")
        );
    }

    #[test]
    fn a_change_reads_as_it_would_be_typed_and_holds_no_book() {
        let change = SettingChange::new("max_connections", None, Some("7".into()));
        assert_eq!(change.to_string(), "max_connections none -> 7");
        let long = SettingChange::new("x", Some("é".repeat(1_000)), None);
        assert!(long.old.unwrap().len() < 300);
    }
}
