//! The schema for editors, the template and `config check` agree on what a right file is.

use std::{fs, path::PathBuf, process::Command};

use kit::{Finished, binary, finish};
use serde_json::Value;

fn config(words: &[&str]) -> Finished {
    finish(Command::new(binary("harbor-ctl")).arg("config").args(words))
}

/// A file of its own for each text, in a folder without drop-ins.
struct File {
    folder: tempfile::TempDir,
}

impl File {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("h.toml"), text).unwrap();
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("h.toml")
    }

    fn check(&self) -> Finished {
        config(&["check", &self.path().display().to_string()])
    }
}

fn is_valid(schema: &Value, text: &str) -> bool {
    let value: Value = toml::from_str(text).unwrap();
    jsonschema::draft7::new(schema).unwrap().is_valid(&value)
}

#[test]
fn the_schema_takes_the_template_and_refuses_what_the_check_refuses() {
    let schema = config(&["schema"]).ok().json();
    let template = config(&["template"]).ok().stdout;
    let lines = template.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') => rest,
        _ => line,
    });
    let whole = lines.collect::<Vec<_>>().join("\n");
    for text in [template.as_str(), &whole] {
        assert!(is_valid(&schema, text), "{text}");
        File::new(text).check().ok();
    }
    for (text, place) in [
        ("[ports]\nrnage = \"35000-36000\"\n", "2:1"),
        ("[prots]\nrange = \"35000-36000\"\n", "1:2"),
        ("[log]\nkeep = \"many\"\n", "2:8"),
        ("[log]\nkeep = 0\n", "2:8"),
        ("[log]\nlevel = \"loud\"\n", "2:9"),
        ("[ports]\nrest = \"soon\"\n", "2:8"),
        ("[paths]\nrun = \"run\"\n", "2:7"),
        ("[node]\ninterfaces = \"eth0\"\n", "2:14"),
        ("[control]\nadmin_group = \"a b\"\n", "2:15"),
    ] {
        assert!(!is_valid(&schema, text), "{text}");
        let refused = File::new(text).check();
        assert_eq!(refused.code, 2, "{text}");
        assert!(refused.stderr.contains(place), "{text}: {}", refused.stderr);
    }
}

#[test]
fn a_check_tells_all_errors_at_once_with_the_nearest_name() {
    let file = File::new("[ports]\nrnage = 1\nrest = 5\n[log]\nlevel = \"loud\"\n");
    let refused = file.check();
    assert_eq!(refused.code, 2);
    for part in [
        "h.toml:2:1",
        "h.toml:3:8",
        "h.toml:5:9",
        "did you mean range",
    ] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    let path = file.path().display().to_string();
    let refused = config(&["check", &path, "-o", "json"]);
    assert_eq!(refused.code, 2);
    let items = refused.json()["items"].clone();
    assert_eq!(items.as_array().unwrap().len(), 3, "{items}");
    assert!(items[0]["place"].as_str().unwrap().ends_with("h.toml:2:1"));
    let gone = config(&["check", "/nowhere/h.toml"]);
    assert_eq!(gone.code, 2, "{}", gone.stderr);
}
