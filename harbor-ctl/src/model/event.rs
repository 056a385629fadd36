//! What happens to ports, backends, bindings and nodes: kinds with names that never change, and one
//! shape. Events tell that something is so; they hold no credentials and no values of settings.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EventKind {
    PortAllocated,
    PortReleased,
    /// Its settings, its lifetime, or whether it takes new flows.
    PortChanged,
    BackendAdded,
    BackendRemoved,
    /// It takes no new flows any more, by somebody's word.
    BackendDraining,
    /// It takes new flows again, by somebody's word.
    BackendResumed,
    /// Its probes fail.
    BackendFailing,
    /// Its probes pass again.
    BackendRecovered,
    /// It was confirmed that it fails clients' flows: new ones avoid it.
    BackendEjected,
    /// New flows go to it again.
    BackendReturned,
    BindingCreated,
    BindingDeleted,
    /// Somebody on the node holds a number.
    ConflictFound,
    ConflictHealed,
    /// An app host has been silent for too long.
    LeaseEnded,
    /// An entry of an app host's, or all that it says.
    AnnouncementRefused,
    ConfigChanged,
    /// What nothing else tells of: flows that were ended, a backup, a node drained, an app host forgotten.
    AdminAction,
    RegistryAway,
    RegistryBack,
    /// Its disk refuses, or it was made anew where ports exist.
    RegistryFailed,
    NodeJoined,
    NodeLeft,
    /// Events before this one are not kept any more.
    Gap,
}

impl EventKind {
    /// As it is in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PortAllocated => "port_allocated",
            Self::PortReleased => "port_released",
            Self::PortChanged => "port_changed",
            Self::BackendAdded => "backend_added",
            Self::BackendRemoved => "backend_removed",
            Self::BackendDraining => "backend_draining",
            Self::BackendResumed => "backend_resumed",
            Self::BackendFailing => "backend_failing",
            Self::BackendRecovered => "backend_recovered",
            Self::BackendEjected => "backend_ejected",
            Self::BackendReturned => "backend_returned",
            Self::BindingCreated => "binding_created",
            Self::BindingDeleted => "binding_deleted",
            Self::ConflictFound => "conflict_found",
            Self::ConflictHealed => "conflict_healed",
            Self::LeaseEnded => "lease_ended",
            Self::AnnouncementRefused => "announcement_refused",
            Self::ConfigChanged => "config_changed",
            Self::AdminAction => "admin_action",
            Self::RegistryAway => "registry_away",
            Self::RegistryBack => "registry_back",
            Self::RegistryFailed => "registry_failed",
            Self::NodeJoined => "node_joined",
            Self::NodeLeft => "node_left",
            Self::Gap => "gap",
        }
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

/// What is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Happening {
    pub(crate) kind: EventKind,
    pub(crate) subject: Subject,
    /// One line.
    pub(crate) text: String,
}

impl Happening {
    pub(crate) fn new(kind: EventKind, subject: Subject, text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            kind,
            subject,
            text,
        }
    }
}

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Event {
    /// Higher than that of every event before, over restarts too.
    pub(crate) id: u64,
    /// Seconds since 1970.
    pub(crate) at: u64,
    pub(crate) kind: EventKind,
    /// One line.
    pub(crate) text: String,
    #[serde(flatten)]
    pub(crate) subject: Subject,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_called_the_same_everywhere() {
        for kind in [
            EventKind::PortAllocated,
            EventKind::BackendEjected,
            EventKind::BackendReturned,
            EventKind::NodeLeft,
            EventKind::Gap,
        ] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }
}
