//! Files and folders: the configuration, state, logs, the socket's folder, and the room on their disks.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use nix::{
    sys::statvfs::statvfs,
    unistd::{AccessFlags, access, geteuid},
};

use super::{finding::Finding, finding::or_ok, patient::Patient};

/// Less room than this is a warning, and a fault from a sixteenth of it on.
const ROOM: u64 = 64 << 20;
/// So many new files must be possible.
const FILES: u64 = 64;

/// Sets a file's mode.
pub(super) fn set_mode(path: PathBuf, mode: u32) -> impl FnOnce() -> Result<String, String> {
    move || match fs::set_permissions(&path, fs::Permissions::from_mode(mode)) {
        Ok(()) => Ok(format!("chmod {mode:o} {}", path.display())),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

pub(super) fn configuration(patient: &Patient) -> Vec<Finding> {
    let loaded = match &patient.loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            let fix = "harbor-ctl config check names file, line and column";
            return vec![Finding::fault(error.to_string()).fix(fix)];
        }
    };
    let mut findings = Vec::new();
    let path = &loaded.source.path;
    for left_out in &loaded.left_out {
        let text = format!("{}: {}", left_out.place, left_out.message);
        findings.push(Finding::warning(text).fix("remove it from conf.d"));
    }
    let Ok(about) = fs::metadata(path) else {
        findings.push(Finding::ok(format!(
            "{} is not there: defaults",
            path.display()
        )));
        return findings;
    };
    if about.mode() & 0o022 != 0 {
        let mode = about.mode() & 0o7755;
        let text = format!("others may write {}", path.display());
        let fix = format!("chmod go-w {}", path.display());
        findings.push(
            Finding::fault(text)
                .fix(fix)
                .mend(set_mode(path.clone(), mode)),
        );
    }
    or_ok(findings, path.display().to_string())
}

pub(super) fn folders(patient: &Patient) -> Vec<Finding> {
    let Some(config) = patient.config() else {
        return vec![Finding::skipped("the configuration does not say where")];
    };
    let paths = &config.paths;
    let mut findings = Vec::new();
    findings.extend(folder(&paths.run, 0o755, "paths.run"));
    findings.extend(folder(&paths.log, 0o750, "paths.log"));
    findings.extend(folder(&paths.state, 0o700, "paths.state"));
    findings.extend(private(&paths.state));
    or_ok(findings, "all can be used")
}

/// A folder that is there must be one that can be written; one that is not, one that can be made.
fn folder(path: &Path, mode: u32, key: &str) -> Option<Finding> {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(about) if !about.is_dir() => {
            let text = format!("{key}: {shown} is no folder");
            Some(Finding::fault(text).fix(format!("move it away: mv {shown} {shown}.old")))
        }
        Ok(_) if access(path, AccessFlags::W_OK | AccessFlags::X_OK).is_err() => {
            let text = format!("{key}: {shown} cannot be written");
            Some(Finding::fault(text).fix("run this as root; else see to the mount: findmnt -T it"))
        }
        Ok(_) => None,
        Err(_) if fs::symlink_metadata(path).is_ok() => {
            let text = format!("{key}: {shown} is a link to nothing");
            Some(Finding::fault(text).fix(format!("make what it names, or rm {shown}")))
        }
        Err(_) => {
            let made = path.to_owned();
            let make = move || {
                let mut builder = fs::DirBuilder::new();
                std::os::unix::fs::DirBuilderExt::mode(&mut builder, mode);
                match builder.recursive(true).create(&made) {
                    Ok(()) => Ok(format!("mkdir -p -m {mode:o} {}", made.display())),
                    Err(error) => Err(format!("{}: {error}", made.display())),
                }
            };
            let text = format!("{key}: {shown} is not there yet; the agent makes it");
            Some(
                Finding::warning(text)
                    .fix(format!("mkdir -p -m {mode:o} {shown}"))
                    .mend(make),
            )
        }
    }
}

/// Whoever can write the state can change the ports.
fn private(state: &Path) -> Option<Finding> {
    let about = fs::symlink_metadata(state).ok()?;
    let shown = state.display();
    if about.file_type().is_symlink() {
        let text = format!("paths.state: {shown} is a symbolic link, which the agent refuses");
        return Some(
            Finding::fault(text)
                .fix("name the folder itself: harbor-ctl config set paths.state FOLDER"),
        );
    }
    if about.uid() != geteuid().as_raw() && geteuid().is_root() {
        let text = format!("paths.state: {shown} belongs to user {}", about.uid());
        return Some(Finding::fault(text).fix(format!("chown root: {shown}")));
    }
    (about.is_dir() && about.mode() & 0o077 != 0).then(|| {
        let text = format!("paths.state: others may look into {shown}");
        let fix = format!("chmod 700 {shown}");
        Finding::fault(text)
            .fix(fix)
            .mend(set_mode(state.to_owned(), 0o700))
    })
}

pub(super) fn disk(patient: &Patient) -> Vec<Finding> {
    let Some(config) = patient.config() else {
        return vec![Finding::skipped("the configuration does not say where")];
    };
    let mut findings = Vec::new();
    let mut least = u64::MAX;
    for (key, path) in [
        ("paths.state", &config.paths.state),
        ("paths.log", &config.paths.log),
    ] {
        let Some(about) = path.ancestors().find_map(|folder| statvfs(folder).ok()) else {
            continue;
        };
        let room = about.blocks_available() * about.fragment_size();
        least = least.min(room);
        let shown = path.display();
        let fix = format!(
            "make room: df -h {shown}; journalctl --vacuum-size=100M; log.keep, log.size_mib"
        );
        let text = format!("{key}: {} MiB are left at {shown}", room >> 20);
        if room < ROOM / 16 {
            findings.push(Finding::fault(text).fix(fix));
        } else if room < ROOM {
            findings.push(Finding::warning(text).fix(fix));
        }
        // Some file systems have no number of files.
        if about.files() > 0 && about.files_available() < FILES {
            let text = format!("{key}: no more files can be made at {shown}");
            findings.push(Finding::fault(text).fix(format!("df -i {shown}")));
        }
    }
    or_ok(findings, format!("{} MiB are left", least >> 20))
}
