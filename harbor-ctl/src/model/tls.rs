//! What becomes of TLS on a port, as an operator writes it.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

/// The `tls` of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum Tls {
    /// A service whose name ends in `https` ends TLS with a certificate of the folder, any other
    /// passes it on.
    #[default]
    ByName,
    /// Passed on to the app untouched.
    Off,
    /// Ended here, with a certificate of the folder.
    On,
    /// Ended here, with these; by the name that the client asks for, the first for everybody else.
    Files(Vec<CertificateFiles>),
}

/// A certificate and its key, in PEM files of the node that serves the port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertificateFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// The most pairs of one port.
const PAIR_LIMIT: usize = 64;

impl FromStr for Tls {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => return Ok(Self::ByName),
            "off" => return Ok(Self::Off),
            "on" => return Ok(Self::On),
            _ => {}
        }
        let paths: Vec<PathBuf> = text.split(',').map(PathBuf::from).collect();
        if !paths.len().is_multiple_of(2) || paths.len() > 2 * PAIR_LIMIT {
            let shown: String = text.chars().take(80).collect();
            return Err(format!(
                "{shown:?}: write on, off, or CERT,KEY (several pairs: CERT,KEY,CERT,KEY)"
            ));
        }
        if let Some(path) = paths.iter().find(|path| !path.is_absolute()) {
            let shown = path.display().to_string().escape_debug().to_string();
            return Err(format!("{shown} is not an absolute path"));
        }
        if text.chars().any(char::is_control) {
            return Err("a path has no control characters".into());
        }
        let pairs = paths.chunks(2).map(|pair| CertificateFiles {
            certificate: pair[0].clone(),
            key: pair[1].clone(),
        });
        Ok(Self::Files(pairs.collect()))
    }
}

impl fmt::Display for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByName => Ok(()),
            Self::Off => f.write_str("off"),
            Self::On => f.write_str("on"),
            Self::Files(pairs) => {
                for (index, CertificateFiles { certificate, key }) in pairs.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}{},{}", certificate.display(), key.display())?;
                }
                Ok(())
            }
        }
    }
}

impl TryFrom<String> for Tls {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Tls> for String {
    fn from(tls: Tls) -> Self {
        tls.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written() {
        for text in [
            "",
            "off",
            "on",
            "/a.crt,/a.key",
            "/a.crt,/a.key,/b.crt,/b.key",
        ] {
            let read: Tls = text.parse().unwrap();
            assert_eq!(read.to_string(), text);
        }
        for wrong in [
            "yes",
            "/a.crt",
            "a.crt,a.key",
            "/a.crt,/a.key,/b.crt",
            "/a\n,/b",
        ] {
            assert!(wrong.parse::<Tls>().is_err(), "{wrong}");
        }
    }
}
