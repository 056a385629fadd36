//! `test`: unit tests as whoever runs it, the suite as root, and a summary of both.
//!
//! One cargo call builds all of them. The executables are started here and not by cargo, because only
//! the suite may run as root, and nothing that root runs may write to the target folder.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::{
    build::{self, Executable},
    matrix,
    progress::Progress,
    python, setup, shell,
    traces::Traces,
};

/// Tests of the suite that run at once: more than there are processors, because they mostly wait.
const SUITE_THREADS: &str = "4";

/// Which tests.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(default_value = "all")]
    part: Part,
    /// Arguments for the tests, for example part of a name
    #[arg(last = true)]
    filter: Vec<String>,
}

impl Arguments {
    /// Every test.
    pub(crate) fn all() -> Self {
        Self {
            part: Part::All,
            filter: Vec::new(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Tests beside the code; no root
    Unit,
    /// Frames run through the loaded program
    Verdict,
    /// Real traffic between namespaces
    Lab,
    /// Everything
    All,
}

/// The result of one executable.
struct Outcome {
    name: String,
    result: String,
    took: Duration,
    passed: bool,
    /// What its failed tests said.
    reasons: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::run(match arguments.part {
        Part::All => setup::Wish::Kernels,
        _ => setup::Wish::Everything,
    })?;
    let mut outcomes = Vec::new();
    let tests = build::tests()?;
    if matches!(arguments.part, Part::Unit | Part::All) {
        for unit in tests
            .iter()
            .filter(|test| test.is_test && test.target != "suite")
        {
            let mut command = Command::new(&unit.path);
            // Without a Redis the tests that need one are skipped; here setup has installed it.
            command.env("HARBOR_REDIS", "require");
            outcomes.push(execute(unit, command.args(&arguments.filter))?);
        }
    }
    let mut filter = arguments.filter.clone();
    match arguments.part {
        Part::Unit => return summary(&outcomes),
        // Names in the filter are alternatives: beside given ones this would add tests, not narrow them.
        Part::Verdict if filter.is_empty() => filter.push("verdicts::".into()),
        Part::Verdict => {}
        Part::Lab => filter.extend(["--skip".into(), "verdicts::".into()]),
        Part::All => {}
    }
    let before = Traces::of_machine()?;
    outcomes.push(execute_suite(&tests, &filter)?);
    if arguments.part == Part::All {
        outcomes.push(demonstration(&tests)?);
        outcomes.push(oldest_kernel(&tests)?);
    }
    outcomes.push(nothing_left(&before)?);
    summary(&outcomes)
}

/// Builds, and runs the suite and the product's own tests alone.
pub(crate) fn long(filter: &[String]) -> Result<()> {
    let tests = build::tests()?;
    let is_own = |test: &&Executable| test.is_test && test.target == "harbor-ctl";
    let own = tests.iter().find(is_own);
    let own = own.context("cargo has built no tests of harbor-ctl")?;
    let mut command = Command::new(&own.path);
    let outcomes = [
        execute_suite(&tests, filter)?,
        execute(own, command.args(filter))?,
    ];
    summary(&outcomes)
}

fn execute_suite(tests: &[Executable], filter: &[String]) -> Result<Outcome> {
    let ctl = build::find(tests, "harbor-ctl")?;
    let suite = tests
        .iter()
        .find(|test| test.is_test && test.target == "suite");
    let suite = suite.context("cargo has built no suite")?;
    let threads = env::var_os("RUST_TEST_THREADS").unwrap_or_else(|| SUITE_THREADS.into());
    let schemathesis = python::program("schemathesis");
    let interpreter = python::program("python");
    let variables = [
        ("HARBOR_CTL", ctl.as_os_str()),
        ("HARBOR_SCHEMATHESIS", schemathesis.as_os_str()),
        ("HARBOR_PYTHON", interpreter.as_os_str()),
        ("RUST_TEST_THREADS", &threads),
    ];
    let mut command = shell::privileged(&suite.path, &variables);
    execute(suite, command.args(filter))
}

/// Runs the lab's demonstration: what `cargo xtask run --lab` does.
fn demonstration(tests: &[Executable]) -> Result<Outcome> {
    println!("\n     Running the demonstration");
    let begun = Instant::now();
    let ctl = build::find(tests, "harbor-ctl")?;
    let lab = build::find(tests, "harbor-lab")?;
    let mut command = shell::privileged(lab, &[("HARBOR_CTL", ctl.as_os_str())]);
    let passed = command.arg("demo").stdin(Stdio::null()).status()?.success();
    let result = if passed { "ok" } else { "FAILED" }.into();
    Ok(Outcome {
        name: "run --lab".into(),
        result,
        took: begun.elapsed(),
        passed,
        reasons: Vec::new(),
    })
}

/// Boots the oldest supported kernel, and runs the shortest form of the suite in it.
fn oldest_kernel(tests: &[Executable]) -> Result<Outcome> {
    println!("\n     Running the oldest kernel");
    let begun = Instant::now();
    let (result, passed) = matrix::oldest(tests)?;
    Ok(Outcome {
        name: "matrix short".into(),
        result,
        took: begun.elapsed(),
        passed,
        reasons: Vec::new(),
    })
}

/// Compares namespaces, mounts and programs with those before.
fn nothing_left(before: &Traces) -> Result<Outcome> {
    let begun = Instant::now();
    let left = before.left()?;
    let passed = left.is_empty();
    let result = if passed {
        "ok: nothing".into()
    } else {
        format!("FAILED: {}", left.join(", "))
    };
    Ok(Outcome {
        name: "left behind".into(),
        result,
        took: begun.elapsed(),
        passed,
        reasons: Vec::new(),
    })
}

/// Runs one executable as cargo would, showing what it prints.
fn execute(test: &Executable, command: &mut Command) -> Result<Outcome> {
    let name = format!("{} {}", test.package, test.target);
    println!("\n     Running {name}");
    let begun = Instant::now();
    command
        .current_dir(&test.folder)
        .env("CARGO_MANIFEST_DIR", &test.folder);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", test.path.display()))?;
    let progress = Progress::of(&name);
    let mut result = String::from("no result");
    let mut reasons = Reasons::default();
    let stdout = child.stdout.take().context("its output is not piped")?;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        progress.line(&line);
        reasons.read(&line);
        if let Some(text) = line.strip_prefix("test result: ") {
            result = text.split("; finished").next().unwrap_or(text).into();
        }
    }
    let passed = child.wait()?.success();
    Ok(Outcome {
        name,
        result,
        took: begun.elapsed(),
        passed,
        reasons: reasons.lines,
    })
}

/// What tests that failed said of that: shown once more at the end, where one who reads a long output looks.
#[derive(Default)]
struct Reasons {
    lines: Vec<String>,
    /// How many lines of this reason may follow.
    left: usize,
}

impl Reasons {
    /// The longest reason, in lines; the longest line, in characters.
    const LENGTH: usize = 60;
    const WIDTH: usize = 300;

    fn read(&mut self, line: &str) {
        if line.contains(" panicked at ") {
            self.left = Self::LENGTH;
        } else if line.starts_with("note: run with") || line.starts_with("--- ") {
            self.left = 0;
        }
        if self.left > 0 {
            self.left -= 1;
            self.lines.push(line.chars().take(Self::WIDTH).collect());
        }
    }
}

fn summary(outcomes: &[Outcome]) -> Result<()> {
    for outcome in outcomes.iter().filter(|outcome| !outcome.passed) {
        println!("\nWhat failed of {}", outcome.name);
        for line in &outcome.reasons {
            println!("  {line}");
        }
    }
    println!("\nSummary");
    for Outcome {
        name, result, took, ..
    } in outcomes
    {
        println!("  {name:<28} {:>7.1} s  {result}", took.as_secs_f64());
    }
    let failed: Vec<&str> = outcomes
        .iter()
        .filter(|outcome| !outcome.passed)
        .map(|o| o.name.as_str())
        .collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    println!("  all passed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Reasons;

    #[test]
    fn reasons_are_kept_without_the_logs_behind_them() {
        let printed = "test a ... FAILED\nthread 'a' (7) panicked at b.rs:1:1:\nthe reason\nnote: run with \
            `RUST_BACKTRACE=1`\n--- agent's log\na line\nthread 'c' (8) panicked at d.rs:1:1:\n--- more\n";
        let mut reasons = Reasons::default();
        printed.lines().for_each(|line| reasons.read(line));
        let kept = ["thread 'a' (7) panicked at b.rs:1:1:", "the reason"];
        assert_eq!(reasons.lines[..2], kept);
        assert_eq!(reasons.lines.len(), 3);
    }
}
