//! `soak`: tests that run too long for CI; they are ignored there and named here.

use anyhow::Result;

use crate::{setup, test};

/// A long test.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Part of the test's name, for example `churn`; without one they are listed
    name: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::run(setup::Wish::Everything)?;
    let filter = match &arguments.name {
        Some(name) => vec!["--ignored".into(), "--nocapture".into(), name.clone()],
        None => vec!["--ignored".into(), "--list".into()],
    };
    test::long(&filter)
}
