//! Certificates that platforms gave: files of the node, for root alone, for as long as the instance
//! lives.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::Controller;
use crate::{
    gateway::PemPair,
    model::{CertificateFiles, Refusal, Secret},
    registry::Registry,
};

impl<R: Registry> Controller<R> {
    fn given_folder(&self) -> PathBuf {
        self.running.config.paths.state.join("tls")
    }

    /// Writes a pair for an instance. Its names tell the texts apart: the pair that is in force is
    /// left as it is.
    pub(super) fn keep_given(&self, id: &str, pair: &PemPair) -> Result<CertificateFiles, Refusal> {
        let (folder, texts) = (self.given_folder(), [&pair.certificate, &pair.key]);
        let digest = short(&[texts[0].reveal(), texts[1].reveal()]);
        let name = format!("{}-{digest}", short(&[id]));
        let files = CertificateFiles {
            certificate: folder.join(format!("{name}.crt")),
            key: folder.join(format!("{name}.key")),
        };
        let written = make(&folder)
            .and_then(|()| write(&files.certificate, texts[0]))
            .and_then(|()| write(&files.key, texts[1]));
        written.map_err(|error| {
            Refusal::failed(format!("the certificate was not kept: {error}"))
                .fix("harbor-ctl status")
        })?;
        Ok(files)
    }

    /// Removes what was kept for an instance, but for the files of `used`.
    pub(super) fn forget_given(&self, id: &str, used: Option<&CertificateFiles>) {
        let prefix = format!("{}-", short(&[id]));
        let is_used = |path: &Path| used.is_some_and(|u| u.certificate == path || u.key == path);
        for entry in fs::read_dir(self.given_folder())
            .into_iter()
            .flatten()
            .flatten()
        {
            let is_own = entry.file_name().to_string_lossy().starts_with(&prefix);
            if is_own
                && !is_used(&entry.path())
                && let Err(error) = fs::remove_file(entry.path())
            {
                tracing::warn!("{} was not removed: {error}", entry.path().display());
            }
        }
    }
}

/// Enough of a digest to tell texts apart.
fn short(texts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for text in texts {
        digest.update(text);
        digest.update([0]);
    }
    let bytes = digest.finalize();
    bytes[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn make(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

/// Aside first, so that a file is there whole or not at all.
fn write(path: &Path, text: &Secret) -> io::Result<()> {
    let aside = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&aside)?;
    file.write_all(text.reveal().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&aside, path)
}
