//! What became of a comparison of the kernel's tables with what the agent wrote there.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How an element of the kernel's tables is not as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Deviation {
    /// It is not there.
    Missing,
    /// It says something else.
    Changed,
    /// Nobody wrote it.
    Unexpected,
}

/// An element of a map that is not as the agent wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Difference {
    /// The map's name.
    pub(crate) map: String,
    /// Which element, in words.
    pub(crate) element: String,
    /// What is wrong with it.
    pub(crate) problem: Deviation,
}

impl std::fmt::Display for Deviation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Changed => "changed",
            Self::Unexpected => "unexpected",
        })
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.map, self.element, self.problem)
    }
}

/// What became of a comparison of the kernel's tables with what the agent wrote.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Verification {
    /// Elements that were compared.
    pub(crate) elements: u64,
    /// Elements that differed.
    pub(crate) count: u64,
    /// The first thousand of those.
    pub(crate) differences: Vec<Difference>,
    /// Whether what differed was written anew.
    pub(crate) is_repaired: bool,
    /// What else is wrong with the datapath, as `datapath status` says.
    pub(crate) problems: Vec<String>,
}

impl Verification {
    /// Whether the kernel holds what it should now.
    pub(crate) fn is_well(&self) -> bool {
        (self.count == 0 || self.is_repaired) && self.problems.is_empty()
    }
}
