//! How a new flow finds its backend.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a new flow finds its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Policy {
    /// In turn, by weight.
    RoundRobin,
    /// The first that was registered, until it leaves or fails.
    First,
    /// The client's address decides.
    SourceHash,
    /// The one with the fewest flows for its weight.
    LeastFlows,
}

impl Policy {
    pub(crate) const ALL: [Self; 4] = [
        Self::RoundRobin,
        Self::First,
        Self::SourceHash,
        Self::LeastFlows,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::First => "first",
            Self::SourceHash => "source-hash",
            Self::LeastFlows => "least-flows",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|policy| policy.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            let shown: String = text.chars().take(80).collect();
            format!("{shown:?} is not a policy: use one of {names}")
        })
    }
}
