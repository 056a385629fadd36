//! App hosts (DEAs) as the registry keeps them: how far each has spoken, and its lease.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How far an app host has spoken. `epoch` rises at each start of its announcer, `seq` with each
/// message; what is not newer changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Spoken {
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
}

/// One app host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AppHost {
    pub(crate) dea: String,
    pub(crate) spoken: Spoken,
    /// What is left of its lease, zero once it is over; `None`: it has not been heard since the
    /// registry was opened, and whoever asks gives it a whole one.
    pub(crate) lease_left: Option<Duration>,
}

impl AppHost {
    /// Whether its lease runs.
    pub(crate) fn has_lease(&self) -> bool {
        self.lease_left.is_some_and(|left| !left.is_zero())
    }
}
