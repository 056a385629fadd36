//! `tls` as a platform gives it: on, off, or a certificate with its key, in PEM.
//!
//! Paths are for operators alone: a platform's word must not choose among the node's files. What
//! is kept with the instance is a digest, which says whether two requests ask for the same.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::operations::Answer;
use crate::model::{Refusal, Secret, SettingValue};

/// What is kept in place of the texts.
const DIGEST: &str = "sha256";

/// A certificate and its key, as texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PemPair {
    pub(crate) certificate: Secret,
    pub(crate) key: Secret,
}

/// Reads the value of `tls`: what is to be kept with the instance, and the texts if there are any.
pub(super) fn read_tls(value: SettingValue) -> Answer<(SettingValue, Option<PemPair>)> {
    match value {
        SettingValue::Object(parts) => {
            let pair = pair(parts)?;
            let digest = Sha256::new()
                .chain_update(pair.certificate.reveal())
                .chain_update([0])
                .chain_update(pair.key.reveal())
                .finalize();
            let digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            let kept = BTreeMap::from([(DIGEST.to_owned(), SettingValue::Text(digest))]);
            Ok((SettingValue::Object(kept), Some(pair)))
        }
        SettingValue::Text(text) if !["", "none", "on", "off"].contains(&text.as_str()) => Err(
            wrong("on, off, or {\"certificate\": PEM, \"key\": PEM} is expected"),
        ),
        value => Ok((value, None)),
    }
}

/// Whether this is what was kept of a certificate, and no setting.
pub(super) fn is_digest(value: &SettingValue) -> bool {
    matches!(value, SettingValue::Object(parts) if parts.contains_key(DIGEST))
}

fn pair(mut parts: BTreeMap<String, SettingValue>) -> Answer<PemPair> {
    let mut take = |name: &str| match parts.remove(name) {
        Some(SettingValue::Text(text)) if text.contains("-----BEGIN ") => {
            Ok(Secret::from_file(&text))
        }
        _ => Err(wrong(&format!("{name}: a text in PEM is expected"))),
    };
    let (certificate, key) = (take("certificate")?, take("key")?);
    match parts.keys().next() {
        Some(stranger) => {
            let shown: String = stranger.chars().take(64).collect();
            Err(wrong(&format!(
                "it has certificate and key, and no {shown:?}"
            )))
        }
        None => Ok(PemPair { certificate, key }),
    }
}

fn wrong(text: &str) -> Refusal {
    Refusal::invalid("tls", format!("tls: {text}"))
}
