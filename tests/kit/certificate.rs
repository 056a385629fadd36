//! Keys and certificates that sign themselves, made by openssl.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::finish;

/// Makes `NAME.key` and `NAME.crt` in a folder, for this subject's alternative name (`IP:...` or
/// `DNS:...`); the certificate's file.
#[track_caller]
pub fn certify(folder: &Path, name: &str, alternative: &str) -> PathBuf {
    let mut openssl = Command::new("openssl");
    openssl.current_dir(folder);
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt"]);
    openssl.args(["ec_paramgen_curve:prime256v1", "-nodes", "-days", "3"]);
    openssl.args(["-keyout", &format!("{name}.key")]);
    openssl.args(["-out", &format!("{name}.crt")]);
    openssl.args(["-subj", &format!("/CN={name}")]);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    openssl.args(["-addext", &format!("subjectAltName={alternative}")]);
    finish(&mut openssl).ok();
    folder.join(format!("{name}.crt"))
}
