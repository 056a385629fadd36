//! Creates the agent's directories, and refuses those that another user could change.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::Path,
};

use crate::{
    config::Paths,
    controller::{AgentError, Tried as _},
};

/// Makes the directories for sockets, state and logs.
pub(super) fn prepare(paths: &Paths) -> Result<(), AgentError> {
    make_run(&paths.run)?;
    // Without logs in files the agent lives; `telemetry` says what is lacking.
    let _ = make(&paths.log, 0o750);
    make(&paths.state, 0o700)?;
    keep_private(&paths.state)
}

/// Makes the directory for sockets, which group harbor must reach; state is nobody else's business.
pub(super) fn make_run(run: &Path) -> Result<(), AgentError> {
    make(run, 0o755)
}

fn make(path: &Path, mode: u32) -> Result<(), AgentError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .tried(|| format!("cannot create the directory {}", path.display()))
}

/// A state directory that is a symlink or somebody else's is refused; a too open one is closed.
fn keep_private(path: &Path) -> Result<(), AgentError> {
    let metadata =
        fs::symlink_metadata(path).tried(|| format!("cannot look at {}", path.display()))?;
    let refuse = |text: &str| {
        Err(std::io::Error::other(text.to_owned()))
            .tried(|| format!("the state directory {} is refused", path.display()))
    };
    if metadata.file_type().is_symlink() {
        return refuse("it is a symbolic link");
    }
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        return refuse("it belongs to another user");
    }
    if metadata.mode() & 0o077 != 0 {
        return fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .tried(|| format!("cannot close {}", path.display()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_state_directory_is_closed_and_a_link_refused() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        fs::create_dir(&state).unwrap();
        fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
        keep_private(&state).unwrap();
        assert_eq!(fs::metadata(&state).unwrap().mode() & 0o777, 0o700);
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&state, &link).unwrap();
        assert!(
            keep_private(&link)
                .unwrap_err()
                .to_string()
                .contains("symbolic link")
        );
    }
}
