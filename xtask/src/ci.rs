//! `ci`: what a change must pass.

use anyhow::Result;

use crate::{lint, setup, test};

pub(crate) fn run() -> Result<()> {
    setup::run(setup::Wish::Kernels)?;
    lint::run()?;
    test::run(&test::Arguments::all())
}
