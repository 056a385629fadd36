//! The documentation is true: reference pages are what the source says, and every command that is
//! shown has been run.

mod commands;
mod editor;
mod reference;

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
