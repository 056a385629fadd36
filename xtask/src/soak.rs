//! `soak`: tests that run too long for CI; they are ignored there and named here.

use anyhow::Result;

use crate::{matrix, setup, test};

/// The one that is no test: `cargo xtask matrix` with all its parts.
const MATRIX: &str = "matrix";

/// A long test.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Part of the test's name, for example `churn`; without one they are listed
    name: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.name.as_deref() == Some(MATRIX) {
        return matrix::run(&matrix::Arguments::default());
    }
    setup::run(setup::Wish::Everything)?;
    let filter = match &arguments.name {
        Some(name) => vec!["--ignored".into(), "--nocapture".into(), name.clone()],
        None => {
            println!("{MATRIX}: every part on every kernel, by emulation (hours)");
            vec!["--ignored".into(), "--list".into()]
        }
    };
    test::long(&filter)
}
