//! One certificate with its key, from two PEM files.

use std::{
    fmt::Display,
    fs::{self, File},
    io::Read as _,
    path::Path,
    sync::Arc,
};

use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// The largest file that is read: a chain has a few kilobytes.
const FILE_LIMIT: u64 = 1 << 20;

/// Whom a certificate was given to, as one line (RFC 4514's order of the certificate itself).
pub(crate) fn subject(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(certificate.subject().to_string())
}

/// The DNS names that a certificate was given for, in lower case; one may begin with `*.`.
pub(crate) fn dns_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let parsed = X509Certificate::from_der(certificate);
    parsed.map_or_else(|_| Vec::new(), |(_, leaf)| names(&leaf))
}

/// Who a server says it is.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// DNS names of the certificate, in lower case; one may begin with `*.`.
    pub(crate) names: Vec<String>,
    /// The last moment at which it is valid, in seconds since 1970.
    pub(crate) not_after: u64,
    pub(super) key: Arc<CertifiedKey>,
}

impl Identity {
    /// Reads both files; they must belong together, and be valid at `now` (seconds since 1970).
    ///
    /// An error names the file and says what is wrong with it.
    pub(crate) fn load(certificate: &Path, key: &Path, now: u64) -> Result<Self, String> {
        let chain = certificates(certificate)?;
        let secret = private_key(key)?;
        let wrong = |text: &dyn Display| format!("{}: {text}", certificate.display());
        let (names, not_before, not_after) = {
            let (_, leaf) = X509Certificate::from_der(&chain[0]).map_err(|e| wrong(&e))?;
            let validity = leaf.validity();
            let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
            (
                names(&leaf),
                seconds(validity.not_before.timestamp()),
                seconds(validity.not_after.timestamp()),
            )
        };
        if now > not_after {
            let days = (now - not_after) / 86_400;
            return Err(wrong(&format!("the certificate expired {days} days ago")));
        }
        if now < not_before {
            return Err(wrong(&"the certificate is not valid yet"));
        }
        let signer = ring::sign::any_supported_type(&secret);
        let signer = signer.map_err(|error| format!("{}: {error}", key.display()))?;
        let certified = CertifiedKey::new(chain, signer);
        certified.keys_match().map_err(|_| {
            let (key, certificate) = (key.display(), certificate.display());
            format!("{key}: this is not the key of the certificate in {certificate}")
        })?;
        Ok(Self {
            names,
            not_after,
            key: Arc::new(certified),
        })
    }

    /// Whether a client that asks for this name is meant.
    pub(super) fn is_for(&self, asked: &str) -> bool {
        let asked = asked.to_ascii_lowercase();
        let parent = asked.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(of) => parent == Some(of),
            None => *name == asked,
        })
    }
}

fn names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = leaf.subject_alternative_name() else {
        return Vec::new();
    };
    let each = extension.value.general_names.iter();
    let dns = each.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    dns.collect()
}

/// The certificates of a PEM file, at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |error: &dyn Display| format!("{}: {error}", path.display());
    let bytes = read(path)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match read {
        Ok(found) if found.is_empty() => Err(wrong(&"it holds no certificate")),
        Ok(found) => Ok(found),
        Err(error) => Err(wrong(&error)),
    }
}

/// The private key of a PEM file.
pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => {
            format!("{}: it holds no private key", path.display())
        }
        error => format!("{}: {error}", path.display()),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
    let found = fs::metadata(path).map_err(wrong)?;
    // A pipe would be waited for, perhaps for ever.
    if !found.is_file() {
        return Err(format!("{}: it is no file", path.display()));
    }
    let file = File::open(path).map_err(wrong)?;
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT)
        .read_to_end(&mut bytes)
        .map_err(wrong)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command, time::SystemTime};

    use super::*;

    fn now() -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.unwrap().as_secs()
    }

    /// `name.crt` and `name.key` for these names, valid for so many days.
    fn certify(folder: &Path, name: &str, names: &str) {
        let status = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-nodes", "-subj", "/CN=x"])
            .args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "10"])
            .args(["-addext", &format!("subjectAltName={names}")])
            .args([
                "-out",
                &format!("{name}.crt"),
                "-keyout",
                &format!("{name}.key"),
            ])
            .current_dir(folder)
            .output();
        assert!(status.unwrap().status.success());
    }

    #[test]
    fn a_certificate_and_its_key_say_for_whom_and_how_long() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        certify(
            folder.path(),
            "a",
            "DNS:Harbor.test,DNS:*.apps.test,IP:192.0.2.1",
        );
        certify(folder.path(), "b", "DNS:other.test");
        let own = Identity::load(&at("a.crt"), &at("a.key"), now()).unwrap();
        assert_eq!(own.names, ["harbor.test", "*.apps.test"]);
        let days = (own.not_after - now()) / 86_400;
        assert!((9..=10).contains(&days), "{days}");
        for (name, is_meant) in [
            ("HARBOR.test", true),
            ("web.apps.test", true),
            ("a.b.apps.test", false),
            ("apps.test", false),
        ] {
            assert_eq!(own.is_for(name), is_meant, "{name}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        certify(folder.path(), "a", "DNS:a.test");
        certify(folder.path(), "b", "DNS:b.test");
        fs::write(at("empty"), "").unwrap();
        fs::write(at("torn"), "-----BEGIN CERTIFICATE-----\nnonsense\n").unwrap();
        let month = 40 * 86_400;
        for (certificate, key, at_time, words) in [
            ("a.crt", "b.key", now(), "not the key of the certificate"),
            ("none.crt", "a.key", now(), "none.crt: No such file"),
            ("a.crt", "none.key", now(), "none.key: No such file"),
            ("empty", "a.key", now(), "empty: it holds no certificate"),
            ("torn", "a.key", now(), "torn: "),
            ("a.crt", "a.crt", now(), "a.crt: it holds no private key"),
            ("a.crt", "a.key", now() + month, "expired 30 days ago"),
            ("a.crt", "a.key", now() - month, "not valid yet"),
        ] {
            let error = Identity::load(&at(certificate), &at(key), at_time).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
