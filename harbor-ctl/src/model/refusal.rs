//! Why a request was refused: one shape for the API, the command line and the logs.
//!
//! A refusal changed nothing. Its kind never changes once it was published: scripts match on it.

use std::fmt;

/// The stable name of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusalKind {
    /// A value that can never be right: bad name, address, number or choice.
    Invalid,
    /// A field, parameter or key that does not exist.
    UnknownField,
    /// A capability that this version does not have.
    Unsupported,
    /// The text names more than one thing.
    Ambiguous,
    PortOutOfRange,
    /// Loopback, link-local, the node's own address and the like.
    AddressRefused,
    BodyTooLarge,
    Denied,
    NotFound,
    NameTaken,
    InstanceTaken,
    PortAssigned,
    PortHeld,
    RangeExhausted,
    /// A limit of `[limits]` is reached.
    QuotaExceeded,
    TooManyBackends,
    Conflict,
    /// The agent or a part of it cannot do this now.
    NotReady,
    Timeout,
    Failed,
}

impl RefusalKind {
    pub(crate) const ALL: [Self; 20] = [
        Self::Invalid,
        Self::UnknownField,
        Self::Unsupported,
        Self::Ambiguous,
        Self::PortOutOfRange,
        Self::AddressRefused,
        Self::BodyTooLarge,
        Self::Denied,
        Self::NotFound,
        Self::NameTaken,
        Self::InstanceTaken,
        Self::PortAssigned,
        Self::PortHeld,
        Self::RangeExhausted,
        Self::QuotaExceeded,
        Self::TooManyBackends,
        Self::Conflict,
        Self::NotReady,
        Self::Timeout,
        Self::Failed,
    ];

    /// The word in the `error` field of the API.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::UnknownField => "unknown_field",
            Self::Unsupported => "unsupported",
            Self::Ambiguous => "ambiguous",
            Self::PortOutOfRange => "port_out_of_range",
            Self::AddressRefused => "address_refused",
            Self::BodyTooLarge => "body_too_large",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::NameTaken => "name_taken",
            Self::InstanceTaken => "instance_taken",
            Self::PortAssigned => "port_assigned",
            Self::PortHeld => "port_held",
            Self::RangeExhausted => "range_exhausted",
            Self::QuotaExceeded => "quota_exceeded",
            Self::TooManyBackends => "too_many_backends",
            Self::Conflict => "conflict",
            Self::NotReady => "not_ready",
            Self::Timeout => "timeout",
            Self::Failed => "failed",
        }
    }

    /// The kind with this name; [`RefusalKind::Failed`] for one that this version does not know.
    pub(crate) fn from_name(name: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .unwrap_or(Self::Failed)
    }
}

/// A request that was refused: what is wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) kind: RefusalKind,
    /// First line: what is wrong. Further lines: `label: text` details.
    pub(crate) description: String,
    /// The parameter at fault.
    pub(crate) field: Option<String>,
    pub(crate) fix: Option<String>,
    /// With the field `epoch`: one that would be taken.
    pub(crate) epoch: Option<u64>,
}

impl Refusal {
    pub(crate) fn new(kind: RefusalKind, description: impl Into<String>) -> Self {
        Self {
            kind,
            description: description.into(),
            field: None,
            fix: None,
            epoch: None,
        }
    }

    pub(crate) fn invalid(field: &str, description: impl Into<String>) -> Self {
        Self::new(RefusalKind::Invalid, description).field(field)
    }

    pub(crate) fn failed(description: impl Into<String>) -> Self {
        Self::new(RefusalKind::Failed, description)
    }

    pub(crate) fn field(mut self, field: &str) -> Self {
        self.field = Some(field.to_owned());
        self
    }

    pub(crate) fn epoch(mut self, epoch: u64) -> Self {
        self.epoch = Some(epoch);
        self
    }

    pub(crate) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.description)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_own_name() {
        for kind in RefusalKind::ALL {
            assert_eq!(RefusalKind::from_name(kind.name()), kind);
        }
        assert_eq!(
            RefusalKind::from_name("from the future"),
            RefusalKind::Failed
        );
    }
}
