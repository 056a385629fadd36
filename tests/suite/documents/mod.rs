//! The documentation is true: reference pages are what the source says, every command that is shown
//! has been run, links lead somewhere, and walks through the code name functions that are there.

mod advice;
mod commands;
mod editor;
mod links;
mod reference;
mod walks;

use std::{
    fs,
    path::{Path, PathBuf},
};

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Pages written by hand, in reading order.
fn pages() -> Vec<PathBuf> {
    let top = [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "docs/README.md",
    ];
    let mut pages: Vec<PathBuf> = top.iter().map(|page| root().join(page)).collect();
    for folder in ["docs/how-to", "docs/explanation"] {
        let mut found: Vec<PathBuf> = fs::read_dir(root().join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        found.sort();
        pages.extend(found);
    }
    pages
}
