//! Who may know whom: the arrows between modules, read from the `use` lines and held against a table.
//!
//! A new arrow is a decision: it is made here, in the table, or not at all.

mod circles;
mod table;
mod uses;

use std::{
    fs,
    path::{Path, PathBuf},
};

use table::{AGENT, CRATES, STAGE};
use uses::{SourceFile, sources};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn agent() -> Vec<SourceFile> {
    sources(&root().join("harbor-ctl/src"))
}

fn datapath() -> Vec<SourceFile> {
    sources(&root().join("harbor-ebpf/src"))
}

/// Arrows between modules of harbor-ctl that the table does not have.
fn strays(files: &[SourceFile]) -> Vec<String> {
    let names: Vec<&str> = AGENT.iter().map(|(name, _)| *name).collect();
    let mut strays = Vec::new();
    for file in files.iter().filter(|file| file.module() != "main") {
        let Some((_, allowed)) = AGENT.iter().find(|(name, _)| *name == file.module()) else {
            strays.push(format!(
                "{} is in no module of the table",
                file.path.display()
            ));
            continue;
        };
        for used in file
            .own_crate()
            .iter()
            .filter(|used| names.contains(&used.as_str()))
        {
            if used != file.module() && !allowed.contains(&used.as_str()) {
                strays.push(format!("{} names {used}", file.path.display()));
            }
        }
    }
    strays
}

#[test]
fn modules_of_the_agent_know_only_whom_the_table_says() {
    let files = agent();
    assert!(files.len() > 20, "{} files", files.len());
    assert_eq!(strays(&files), Vec::<String>::new());
}

#[test]
fn a_stray_arrow_is_noticed_however_it_is_written() {
    let cases = [
        "use crate::registry::Registry;",
        "use crate::{model::Service, agent::{self, Agent}};",
        "fn f() { crate::cli::run(); }",
        "pub(crate) use super::super::cli::render;",
    ];
    for text in cases {
        let file = SourceFile::new("reconcile/plan.rs".into(), text.into());
        assert_eq!(strays(&[file]).len(), 1, "{text}");
    }
    let innocent =
        "// use crate::agent::Agent;\nuse crate::model::{Service, Backend};\nuse super::Plan;";
    let file = SourceFile::new("reconcile/plan.rs".into(), innocent.into());
    assert_eq!(strays(&[file]), Vec::<String>::new());
}

#[test]
fn each_outside_library_has_its_home() {
    for file in agent().iter().filter(|file| file.module() != "main") {
        for (name, homes) in CRATES {
            let is_at_home = homes.contains(&file.module());
            assert!(
                is_at_home || !file.names_crate(name),
                "{} names {name}",
                file.path.display()
            );
        }
    }
}

#[test]
fn the_domain_knows_no_library_that_does_anything() {
    // utoipa says what a type looks like, as serde does; networks and sets of numbers are values.
    let allowed = [
        "std",
        "core",
        "serde",
        "ipnet",
        "fixedbitset",
        "strsim",
        "utoipa",
        "crate",
        "self",
        "super",
    ];
    for file in agent().iter().filter(|file| file.module() == "model") {
        let local = |name: &str| file.text.contains(&format!("mod {name}"));
        for first in file.first_segments() {
            let is_known = allowed.contains(&first.as_str()) || local(&first);
            assert!(
                is_known || first == "proptest",
                "{} names {first}",
                file.path.display()
            );
        }
    }
}

#[test]
fn few_modules_read_the_environment() {
    for file in agent() {
        // telemetry asks systemd's variable whether its stderr is the journal; the registry's tests
        // ask whether they may pass without a Redis.
        let may = ["main", "config", "agent", "cli", "telemetry"].contains(&file.module())
            || file.path.starts_with("registry/tests");
        assert!(
            may || !file.code().contains("env::var"),
            "{}",
            file.path.display()
        );
    }
}

#[test]
fn a_stage_names_tables_and_packet_and_no_other_stage() {
    let stages: Vec<SourceFile> = datapath()
        .into_iter()
        .filter(|file| file.module() == "stage")
        .collect();
    assert!(stages.len() >= 5, "{} stages", stages.len());
    for file in stages.iter().filter(|file| !file.is_test()) {
        for used in file.own_crate() {
            assert!(
                STAGE.contains(&used.as_str()),
                "{} names {used}",
                file.path.display()
            );
        }
        // By whatever path: `use super::{..}` is one, too.
        for path in file.uses().iter().filter(|path| path[0] == "super") {
            assert!(
                path[1] == "*",
                "{} names another stage: {}",
                file.path.display(),
                path.join("::")
            );
        }
    }
}

#[test]
fn in_the_datapath_each_duty_has_one_file() {
    for file in datapath().iter().filter(|file| !file.is_test()) {
        let (name, code) = (file.path.to_string_lossy().into_owned(), file.code());
        for action in ["TC_ACT_", "XDP_"] {
            assert!(
                name.ends_with("main.rs") || !code.contains(action),
                "{name} names {action}"
            );
        }
        let counts = ["COUNTERS", "VERDICTS"]
            .iter()
            .any(|map| code.contains(map));
        assert!(
            !counts || ["account.rs", "maps.rs"].iter().any(|f| name.ends_with(f)),
            "{name} counts"
        );
    }
}

#[test]
fn the_contract_knows_nobody_and_both_sides_meet_only_there() {
    for file in sources(&root().join("harbor-common/src")) {
        let is_pod = file.path.ends_with("pod.rs");
        for first in file.first_segments() {
            let is_known = ["core", "crate", "self", "super"].contains(&first.as_str());
            assert!(
                is_known || is_pod && first == "aya",
                "{} names {first}",
                file.path.display()
            );
        }
    }
    for (package, stranger) in [
        ("harbor-ctl", "harbor-ebpf"),
        ("harbor-ebpf", "harbor-ctl"),
        ("harbor-common", "harbor-ctl"),
        ("tests", "harbor-ebpf"),
        ("tests", "harbor-ctl"),
    ] {
        let manifest = fs::read_to_string(root().join(package).join("Cargo.toml")).unwrap();
        let depends = manifest.lines().any(|line| line.starts_with(stranger));
        assert!(!depends, "{package} depends on {stranger}");
    }
}

#[test]
fn no_file_outgrows_a_reader_or_is_named_after_nothing() {
    let packages = [
        "harbor-common/src",
        "harbor-ebpf/src",
        "harbor-ctl/src",
        "xtask/src",
        "tests/kit",
        "tests/suite",
    ];
    for file in packages
        .iter()
        .flat_map(|package| sources(&root().join(package)))
    {
        let lines = file.text.lines().count();
        assert!(lines <= 400, "{} has {lines} lines", file.path.display());
        let stem = file.path.file_stem().unwrap().to_str().unwrap();
        assert!(
            !["utils", "helpers", "misc", "types", "manager"].contains(&stem),
            "{stem}"
        );
        assert!(
            file.text.starts_with("//!"),
            "{} says not what it owns",
            file.path.display()
        );
    }
}
