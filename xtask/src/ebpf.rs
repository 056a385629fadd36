//! `ebpf`: builds the object as harbor-ctl's build script does, and prints where it is.

use std::{env, fs};

use anyhow::{Context, Result};

use crate::{setup, shell, toolchain};

pub(crate) fn run() -> Result<()> {
    setup::run(setup::Wish::Build)?;
    let target = toolchain::target_dir(&env::current_exe()?);
    let (object, toolchain) = toolchain::build(shell::workspace(), &target)?;
    let size = fs::metadata(&object)
        .with_context(|| object.display().to_string())?
        .len();
    println!(
        "{}  {size} bytes  by {}",
        object.display(),
        toolchain.rustc.display()
    );
    Ok(())
}
