//! Why a number has no socket.

use std::fmt;

/// Why a number's socket is not held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unheld {
    /// Another socket has the address.
    Taken,
    /// There is no descriptor for it.
    Scarce,
    /// Anything else, in the kernel's words.
    Failed(String),
}

impl fmt::Display for Unheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken => f.write_str("another process has it"),
            Self::Scarce => f.write_str("no descriptor is left for it"),
            Self::Failed(text) => f.write_str(text),
        }
    }
}
