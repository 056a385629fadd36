//! What the controller adds to services and counters for readers.

use std::{collections::BTreeMap, time::Duration};

use crate::{allocator::Holder, api::PartStatus, health::Summary, model::Protocol};

/// A service's certificates as they are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CertificateFacts {
    /// DNS names of those in force.
    pub(crate) names: Vec<String>,
    /// When the first of those in force ends, in seconds since 1970; `None`: none is in force.
    pub(crate) expires_at: Option<u64>,
    /// Why those that should be in force are not.
    pub(crate) problem: Option<String>,
}

/// What the files say that is not in force.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unapplied {
    /// Keys that wait for a restart.
    pub(crate) waiting: Vec<String>,
    /// Why they were not read again.
    pub(crate) problem: Option<String>,
    /// Keys that were edited and not read again.
    pub(crate) unread: Vec<String>,
    /// Drop-ins that are no files.
    pub(crate) left_out: Vec<String>,
    /// For how long the files have not answered who reads them.
    pub(crate) unanswered: Option<Duration>,
}

impl Unapplied {
    /// Whether the files, as they were read last, hold nothing wrong and nothing new.
    pub(crate) fn is_well(&self) -> bool {
        self.wrong().is_none() && self.unread.is_empty()
    }

    /// What is wrong with the files.
    pub(crate) fn wrong(&self) -> Option<String> {
        self.problem.as_ref().or(self.left_out.first()).cloned()
    }
}

/// Holders by number.
pub(crate) type HeldNumbers = BTreeMap<(Protocol, u16), Holder>;

/// Health in `status`.
#[derive(Clone, Debug, Default)]
pub(crate) struct HealthView {
    pub(crate) summary: Summary,
    pub(crate) not_recorded: Option<String>,
}

/// Why the numbers are not reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotReserved {
    pub(crate) text: String,
    pub(crate) fix: Option<String>,
}

/// What `status` says of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RefusedAnnouncements {
    pub(crate) text: String,
    pub(crate) fix: Option<String>,
}

impl RefusedAnnouncements {
    /// The part of `status` that says it.
    pub(crate) fn noted(shown: Option<&Self>, mut part: PartStatus) -> PartStatus {
        if let Some(Self { text, fix }) = shown {
            part.text = format!("{}; {text}", part.text);
            part.state = "degraded".to_owned();
            part.fix = part.fix.or_else(|| fix.clone());
        }
        part
    }
}
