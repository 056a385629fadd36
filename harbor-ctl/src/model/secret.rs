//! A text that is never printed: passwords and tokens.

use std::fmt;

/// Text from a secret's file. It shows as dots, wherever it is printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// What a file of one line holds.
    pub(crate) fn from_file(text: &str) -> Self {
        Self(text.trim_end_matches(['\n', '\r']).to_owned())
    }

    /// The text, for the one place that needs it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("...")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_without_its_line_end_and_never_shown() {
        let secret = Secret::from_file("hunter 2\n");
        assert_eq!(secret.reveal(), "hunter 2");
        assert_eq!(format!("{secret:?}"), "...");
    }
}
