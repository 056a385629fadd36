//! A text that must not be seen: it prints as stars, and is compared without telling how far.

use std::{fmt, fs, io, os::unix::fs::PermissionsExt as _, path::Path};

/// The shortest token that is worth something.
const LEAST: usize = 16;
const LIMIT: u64 = 4_096;

/// A token or password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// Reads a file that holds a secret and nothing else; one that everybody may read is refused.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let refuse = |text: &str| Err(io::Error::new(io::ErrorKind::InvalidData, text.to_owned()));
        let about = fs::metadata(path)?;
        if about.permissions().mode() & 0o007 != 0 {
            return refuse("everybody may read it: chmod o= it");
        }
        if about.len() > LIMIT {
            return refuse("it is longer than 4096 bytes");
        }
        let text = fs::read_to_string(path)?;
        let secret = text.trim_end_matches(['\n', '\r']);
        if secret.len() < LEAST || secret.chars().any(char::is_control) {
            return refuse("a token is one line of 16 characters or more");
        }
        Ok(Self(secret.to_owned()))
    }

    /// What a file of one line holds.
    pub(crate) fn from_file(text: &str) -> Self {
        Self(text.trim_end_matches(['\n', '\r']).to_owned())
    }

    /// The text itself, for whoever must send it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether it is this text; takes as long whatever differs.
    pub(crate) fn is(&self, given: &str) -> bool {
        let (own, given) = (self.0.as_bytes(), given.as_bytes());
        bool::from(subtle::ConstantTimeEq::ct_eq(own, given))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_whole_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let write = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            Secret::read(&path)
        };
        let secret = write("0123456789abcdef\n", 0o600).unwrap();
        assert!(secret.is("0123456789abcdef") && !secret.is("0123456789abcdeF") && !secret.is(""));
        assert_eq!(format!("{secret:?}"), "***");
        for (text, mode) in [
            ("short", 0o600),
            ("0123456789abcdef\nx\n", 0o600),
            ("0123456789abcdef", 0o644),
        ] {
            assert!(write(text, mode).is_err(), "{text} {mode:o}");
        }
    }
}
