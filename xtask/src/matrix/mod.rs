//! `matrix`: the suite on the kernels that operators run, by emulation.
//!
//! The kernels are Debian's: that of the oldest supported suite, of the next, and the newest. Each boots
//! on top of this machine's own files, so what is tested is what was built here.

mod kernel;
mod machine;

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use self::{
    kernel::{Kernel, SUITES, Suite},
    machine::Machine,
};
use crate::{build, setup, shell};

/// Deadlines of the suite are longer by this factor: the processor is emulated.
const PATIENCE: &str = "8";
/// No part takes longer, in seconds.
const LONGEST: u32 = 5_400;

/// Which kernels, and which part of the suite.
#[derive(Default, clap::Args)]
pub(crate) struct Arguments {
    /// One kernel: 6.1, 6.12, newest or the name of a Debian suite; all of them without this
    #[arg(long)]
    kernel: Option<String>,
    /// One part: short, kernels, verdicts, engines, restart, networks, lockdown; all but `short` without this
    #[arg(long)]
    suite: Option<String>,
    /// Arguments for the tests in place of the part's own, for example a name
    #[arg(last = true)]
    filter: Vec<String>,
}

/// A part of the suite that depends on the kernel.
struct Part {
    name: &'static str,
    /// Arguments of the test program.
    filter: &'static [&'static str],
    /// More of the kernel's command line.
    boot: &'static str,
}

const SHORT: Part = Part {
    name: "short",
    filter: &[
        "--exact",
        "kernels::a_port_of_each_protocol_outlives_a_killed_agent",
    ],
    boot: "",
};
const PARTS: &[Part] = &[
    Part {
        name: "kernels",
        filter: &["kernels::", "trace::"],
        boot: "",
    },
    Part {
        name: "verdicts",
        filter: &["verdicts::", "--skip", "verdicts::bench"],
        boot: "",
    },
    Part {
        name: "engines",
        filter: &["engines::tcp::", "engines::udp::", "engines::failover::"],
        boot: "",
    },
    Part {
        name: "restart",
        filter: &["restart::"],
        boot: "",
    },
    Part {
        name: "networks",
        filter: &["--include-ignored", "networks::"],
        boot: "",
    },
    Part {
        name: "lockdown",
        filter: &["--ignored", "kernels::a_kernel_that_is_locked_down"],
        // As with Secure Boot, and stricter.
        boot: "lockdown=confidentiality",
    },
];

/// The result of one part on one kernel.
struct Row {
    kernel: String,
    part: &'static str,
    result: String,
    passed: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::run(setup::Wish::Kernels)?;
    let suites = chosen_suites(arguments.kernel.as_deref())?;
    let parts = chosen_parts(arguments.suite.as_deref())?;
    let tests = build::tests()?;
    let mut rows = Vec::new();
    for suite in suites {
        for part in &parts {
            let filter: Vec<&str> = match arguments.filter.is_empty() {
                true => part.filter.to_vec(),
                false => arguments.filter.iter().map(String::as_str).collect(),
            };
            rows.push(run_part(suite, part, &filter, &tests)?);
        }
    }
    println!("\nKernels");
    for row in &rows {
        println!("  {:<26} {:<10} {}", row.kernel, row.part, row.result);
    }
    match rows.iter().filter(|row| !row.passed).count() {
        0 => Ok(()),
        failed => bail!("{failed} of {} parts failed", rows.len()),
    }
}

/// Runs the shortest part on the oldest kernel, for the ordinary test run; says how it ended.
pub(crate) fn oldest(tests: &[build::Executable]) -> Result<(String, bool)> {
    let row = run_part(SUITES[0], &SHORT, SHORT.filter, tests)?;
    Ok((format!("{} on {}", row.result, row.kernel), row.passed))
}

fn run_part(
    suite: Suite,
    part: &'static Part,
    filter: &[&str],
    tests: &[build::Executable],
) -> Result<Row> {
    let folder = shell::workspace().join("target/matrix");
    fs::create_dir_all(&folder)?;
    let kernel = Kernel::of(suite, &folder)?;
    println!("\n     Booting {} for {}", kernel.release, part.name);
    let machine = Machine {
        folder: folder.join(format!("{}-{}", suite.name, part.name)),
        kernel: &kernel,
        boot: part.boot,
    };
    let script = script(&folder, filter, tests)?;
    let ended = machine.run(&script, LONGEST)?;
    let last = ended.output.lines().rev();
    let result = last
        .filter_map(|line| line.strip_prefix("test result: "))
        .next()
        .map_or("no result", |text| {
            text.split("; finished").next().unwrap_or(text)
        });
    // A filter that matches no test has proved nothing.
    let has_run = !result.contains(" 0 passed;");
    Ok(Row {
        part: part.name,
        result: result.into(),
        passed: ended.code == 0 && has_run,
        kernel: kernel.release,
    })
}

/// The shell's lines that run the suite inside.
fn script(folder: &Path, filter: &[&str], tests: &[build::Executable]) -> Result<String> {
    let suite = tests
        .iter()
        .find(|test| test.is_test && test.target == "suite");
    let suite = suite.context("cargo has built no suite")?;
    // Without debug information: the emulator reads the file page by page.
    let ctl = folder.join("harbor-ctl");
    let built = build::find(tests, "harbor-ctl")?;
    shell::succeed(
        Command::new("strip")
            .arg("-g")
            .arg("-o")
            .arg(&ctl)
            .arg(built),
    )?;
    let quoted = filter.iter().map(|word| format!(" '{word}'"));
    Ok(format!(
        "cp '{}' /dev/shm/harbor-ctl\n\
         export HARBOR_CTL=/dev/shm/harbor-ctl HARBOR_PATIENCE={PATIENCE}\n\
         export CARGO_MANIFEST_DIR='{}' RUST_TEST_THREADS=2 RUST_BACKTRACE=0\n\
         cd '{}' && exec '{}' --color never{}\n",
        ctl.display(),
        suite.folder.display(),
        suite.folder.display(),
        suite.path.display(),
        quoted.collect::<String>(),
    ))
}

fn chosen_suites(kernel: Option<&str>) -> Result<Vec<Suite>> {
    let Some(wanted) = kernel else {
        return Ok(SUITES.to_vec());
    };
    let found = SUITES
        .iter()
        .filter(|suite| [suite.name, suite.kernel].contains(&wanted));
    let found: Vec<Suite> = found.copied().collect();
    if found.is_empty() {
        let known: Vec<_> = SUITES.iter().map(|suite| suite.kernel).collect();
        bail!("no kernel {wanted}: there are {}", known.join(", "));
    }
    Ok(found)
}

fn chosen_parts(name: Option<&str>) -> Result<Vec<&'static Part>> {
    let Some(wanted) = name else {
        return Ok(PARTS.iter().collect());
    };
    let mut all = std::iter::once(&SHORT).chain(PARTS);
    match all.find(|part| part.name == wanted) {
        Some(part) => Ok(vec![part]),
        None => {
            let known: Vec<_> = PARTS.iter().map(|part| part.name).collect();
            bail!("no part {wanted}: there are short, {}", known.join(", "))
        }
    }
}
