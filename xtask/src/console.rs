//! `console`: what the documentation shows of the management console.

use anyhow::Result;

use crate::{setup, test};

/// What to make.
#[derive(clap::Subcommand)]
pub(crate) enum Verb {
    /// Take a picture of every page in every size and theme, into docs/images/console
    Shots,
}

pub(crate) fn run(verb: &Verb) -> Result<()> {
    match verb {
        Verb::Shots => {
            setup::run(setup::Wish::Everything)?;
            let filter = [
                "--ignored",
                "--exact",
                "console::shots::shots_of_every_page",
            ];
            test::long(&filter.map(str::to_owned))
        }
    }
}
