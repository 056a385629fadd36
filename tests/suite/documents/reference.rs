//! Pages made from the program and the contract; committed, and compared here. With
//! `HARBOR_WRITE_DOCS=1` they are written instead.

use std::{env, fmt::Write as _, fs, process::Command};

use harbor_common::{
    maps,
    verdict::{DropReason, PassReason, Verdict},
};
use kit::{Agent, Config, Lab, binary, finish};
use serde_json::Value;

use super::root;

/// A generated file and its text.
type Page = (&'static str, String);

const MADE: &str = "<!-- Made from the source; see docs/how-to/develop.md. -->";

#[test]
fn reference_pages_are_current() {
    let settings = settings();
    let pages: [Page; 7] = [
        ("docs/reference/checks.md", checks()),
        ("docs/reference/cli.md", cli()),
        ("docs/reference/configuration.md", configuration(&settings)),
        ("docs/reference/maps.md", map_page()),
        ("docs/reference/metrics.md", metrics()),
        ("docs/reference/verdicts.md", verdicts()),
        ("harbor-ctl/dist/harbor.toml", template()),
    ];
    let is_writing = env::var_os("HARBOR_WRITE_DOCS").is_some();
    for (path, text) in pages {
        let path = root().join(path);
        if is_writing {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == text,
            "{} is out of date: see docs/how-to/develop.md",
            path.display()
        );
    }
}

fn verdicts() -> String {
    let mut page = format!(
        "# Verdicts\n\n{MADE}\n\nEvery packet that comes in by an interface with Harbor's program is \
         counted under exactly one of these\nnumbers in the map `verdicts`, and shown by name in \
         `harbor-ctl datapath status`. Numbers and names never change.\n\n"
    );
    let (name, meaning) = Verdict::describe(0).unwrap();
    let _ = write!(
        page,
        "## Forwarded\n\n| number | name | meaning |\n|---|---|---|\n| 0 | `{name}` | {meaning} |\n"
    );
    let mut section = |title: &str, rows: Vec<(u32, &str, &str)>| {
        let _ = write!(
            page,
            "\n## {title}\n\n| number | name | meaning |\n|---|---|---|\n"
        );
        for (number, name, meaning) in rows {
            let _ = writeln!(page, "| {number} | `{name}` | {meaning} |");
        }
    };
    let pass = PassReason::ALL
        .iter()
        .map(|r| (*r as u32, r.name(), r.meaning()))
        .collect();
    section("Passed: left to the host's stack, byte for byte", pass);
    let drop = DropReason::ALL
        .iter()
        .map(|r| (*r as u32, r.name(), r.meaning()))
        .collect();
    section("Dropped: Harbor's, and not to be forwarded", drop);
    page
}

/// What `doctor` looks at.
fn checks() -> String {
    let mut command = Command::new(binary("harbor-ctl"));
    let listed = finish(command.args(["doctor", "--list", "-o", "json"])).ok();
    let mut page = format!(
        "# Checks\n\n{MADE}\n\nWhat `harbor-ctl doctor` looks at, in this order; see \
         [what to do when something is wrong](../how-to/troubleshoot.md).\n\n\
         | check | what is looked for | why it matters |\n|---|---|---|\n"
    );
    for check in listed.json()["items"].as_array().unwrap() {
        let word = |key: &str| check[key].as_str().unwrap();
        let (name, what, why) = (word("check"), word("what"), word("why"));
        let _ = writeln!(page, "| `{name}` | {what} | {why} |");
    }
    page
}

/// The families of metrics, as their table in the source has them.
fn metrics() -> String {
    let source = fs::read_to_string(root().join("harbor-ctl/src/metrics/family.rs")).unwrap();
    let table = source.split("families! {\n").nth(1).unwrap();
    let table = table.split("\n}").next().unwrap();
    let mut page = format!(
        "# Metrics\n\n{MADE}\n\nAs samples are called; see [how to monitor a node](../how-to/monitor.md).\n\n\
         | name | kind | labels | meaning |\n|---|---|---|---|\n"
    );
    let mut quoted = table.split('"').skip(1).step_by(2);
    for head in table
        .split(": ")
        .skip(1)
        .filter(|part| part.contains(" \""))
    {
        let kind = head.split(' ').next().unwrap().to_lowercase();
        let count = head.split(['[', ']']).nth(1).unwrap().matches('"').count() / 2;
        let mut next = || quoted.next().unwrap();
        let name = next();
        let labels: Vec<&str> = (0..count).map(|_| next()).collect();
        let total = if kind == "counter" { "_total" } else { "" };
        let meaning = next();
        let labels = labels.join(", ");
        let _ = writeln!(page, "| `{name}{total}` | {kind} | {labels} | {meaning} |");
    }
    page
}

/// The maps, as the doc comments over their definitions describe them.
fn map_page() -> String {
    let source = fs::read_to_string(root().join("harbor-ebpf/src/maps.rs")).unwrap();
    let mut page = format!(
        "# Maps\n\n{MADE}\n\nPinned under `/sys/fs/bpf/harbor/v{}/maps`, in the order in which a packet \
         meets them. Ports are in\nhost order, addresses are octets from left to right.\n",
        maps::LAYOUT
    );
    for name in maps::ALL {
        let mark = format!("#[btf_map(name = \"{name}\")]");
        let before = source
            .split(&mark)
            .next()
            .filter(|before| before.len() < source.len());
        let before = before.unwrap_or_else(|| panic!("{name} is not defined in maps.rs"));
        let mut words: Vec<&str> = before
            .lines()
            .rev()
            .map_while(|line| line.trim().strip_prefix("/// "))
            .collect();
        words.reverse();
        assert!(!words.is_empty(), "{name} has no comment");
        let _ = write!(page, "\n## `{name}`\n\n{}\n", words.join("\n"));
    }
    page
}

/// The help of every command, one after the other.
fn cli() -> String {
    let mut page = format!("# Command line\n\n{MADE}\n");
    let _ = write!(
        page,
        "\nExit codes: 0 done, 1 failed, 2 usage, 3 agent unreachable, 4 not found, 5 conflict, 6 denied, \
         7 degraded, 8 timeout.\nData is on stdout, words are on stderr.\n"
    );
    let top = help(&[]);
    let general = top
        .split("Global options:")
        .nth(1)
        .unwrap_or_default()
        .trim_end();
    command_page(&mut page, &[]);
    let _ = write!(
        page,
        "\n## Options of every command\n\n```text\n{general}\n```\n"
    );
    page
}

fn command_page(page: &mut String, words: &[&str]) {
    let text = help(words);
    let own = text.split("\nGlobal options:").next().unwrap_or_default();
    // Behind the options that all commands share some have examples.
    let more = text.split("\nExamples:").nth(1);
    let title = ["harbor-ctl"]
        .iter()
        .chain(words)
        .copied()
        .collect::<Vec<_>>()
        .join(" ");
    let _ = write!(page, "\n## {title}\n\n```text\n{}\n", own.trim_end());
    if let Some(more) = more {
        let _ = write!(page, "\nExamples:{}\n", more.trim_end());
    }
    page.push_str("```\n");
    let commands = own.split("\nCommands:\n").nth(1).unwrap_or_default();
    let commands = commands.split("\n\n").next().unwrap_or_default();
    for line in commands.lines() {
        let indent = line.len() - line.trim_start().len();
        if let Some(name) = line
            .split_whitespace()
            .next()
            .filter(|name| indent == 2 && *name != "help")
        {
            command_page(page, &[words, &[name]].concat());
        }
    }
}

fn help(words: &[&str]) -> String {
    let mut command = Command::new(binary("harbor-ctl"));
    // The width that clap wraps at must not be the terminal's.
    command
        .args(words)
        .arg("--help")
        .env("COLUMNS", "100")
        .env("NO_COLOR", "1");
    command.env_remove("HARBOR_SOCKET");
    let lines = finish(&mut command).ok().stdout;
    lines
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

/// Every key with its default, as the program itself lists them.
fn settings() -> Vec<Value> {
    let lab = Lab::routed();
    let agent = Agent::configured(&lab, &Config::default());
    let mut command = Command::new(binary("harbor-ctl"));
    command
        .args(["config", "show", "-o", "json", "--config"])
        .arg(agent.config_file());
    let shown = finish(&mut command).ok().json();
    shown["items"].as_array().unwrap().clone()
}

fn text<'a>(setting: &'a Value, field: &str) -> &'a str {
    setting[field].as_str().unwrap_or_default()
}

/// Settings in groups of one section each, in order.
fn sections(settings: &[Value]) -> Vec<(String, Vec<&Value>)> {
    let mut sections: Vec<(String, Vec<&Value>)> = Vec::new();
    for setting in settings {
        let section = text(setting, "key").split('.').next().unwrap_or_default();
        match sections.last_mut() {
            Some((last, group)) if last == section => group.push(setting),
            _ => sections.push((section.to_owned(), vec![setting])),
        }
    }
    sections
}

fn name(setting: &Value) -> &str {
    text(setting, "key")
        .split_once('.')
        .map_or("", |(_, name)| name)
}

fn configuration(settings: &[Value]) -> String {
    let mut page = format!(
        "# Configuration\n\n{MADE}\n\n`/etc/harbor/harbor.toml`, then `conf.d/*.toml` beside it, then the \
         environment\n(`HARBOR_PORTS__RANGE=35000-35999`), then flags. Later ones win. An unknown key or a bad value \
         stops the\nagent and is shown with file, line and column, all errors at once.\n\n`harbor-ctl config set KEY \
         VALUE` edits the file and keeps its comments. kato's names are understood:\n`port_range`, \
         `hostname_external`, `host_external`, with or without `harbor_node` in front.\n"
    );
    for (section, group) in sections(settings) {
        let _ = write!(
            page,
            "\n## [{section}]\n\n| key | default | meaning | a change takes effect |\n|---|---|---|---|\n"
        );
        for setting in group {
            let (default, meaning) = (text(setting, "default"), text(setting, "meaning"));
            let applies = applies(setting);
            let _ = writeln!(
                page,
                "| `{}` | `{default}` | {meaning} | {applies} |",
                name(setting)
            );
        }
    }
    page
}

fn applies(setting: &Value) -> &'static str {
    match text(setting, "applies") {
        "at-once" => "at once",
        _ => "when the agent starts",
    }
}

/// The configuration file of the package: every key, its default, and what it is for.
/// The same text is there for whoever has lost the file.
fn template() -> String {
    let mut command = Command::new(binary("harbor-ctl"));
    finish(command.args(["config", "template"])).ok().stdout
}

#[test]
fn the_packaged_configuration_changes_no_default() {
    let lab = Lab::routed();
    let file = fs::read_to_string(root().join("harbor-ctl/dist/harbor.toml")).unwrap();
    let uncommented: String = file
        .lines()
        .map(|line| {
            line.strip_prefix('#')
                .filter(|rest| !rest.starts_with(' '))
                .unwrap_or(line)
        })
        .map(|line| format!("{line}\n"))
        .collect();
    for (label, text) in [("as it is", file), ("with every # removed", uncommented)] {
        let path = lab.folder().join("harbor.toml");
        fs::write(&path, text).unwrap();
        let mut command = Command::new(binary("harbor-ctl"));
        command
            .args(["config", "show", "-o", "json", "--config"])
            .arg(&path);
        for setting in finish(&mut command).ok().json()["items"]
            .as_array()
            .unwrap()
        {
            assert_eq!(setting["toml"], setting["default"], "{label}: {setting}");
        }
    }
}
