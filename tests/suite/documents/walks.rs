//! The walks through the code name functions that are where they say.

use std::fs;

use super::root;

/// One call of a walk.
struct Step<'a> {
    file: &'a str,
    function: &'a str,
}

/// Reads a row `| file | function | what it does |`, whose first two cells stand in backticks.
fn step(line: &str) -> Option<Step<'_>> {
    let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
    let mut name = || cells.next()?.strip_prefix('`')?.strip_suffix('`');
    let (file, function) = (name()?, name()?);
    file.ends_with(".rs").then_some(Step { file, function })
}

/// Whether a source text defines a function of this name.
fn defines(text: &str, function: &str) -> bool {
    let lines = text.lines().map(str::trim_start);
    let code = lines.filter(|line| !line.starts_with("//"));
    let mut heads = code.filter_map(|line| Some(line.split_once("fn ")?.1));
    heads.any(|head| {
        let after = head.strip_prefix(function);
        after.is_some_and(|after| after.starts_with(['(', '<']))
    })
}

#[test]
fn every_step_of_a_walk_is_a_function_of_the_file_that_it_names() {
    let page = fs::read_to_string(root().join("docs/explanation/walks.md")).unwrap();
    let walks: Vec<&str> = page.split("\n## ").skip(1).collect();
    assert_eq!(
        walks.len(),
        4,
        "a packet, a SYN, a packet at XDP, a command"
    );
    for walk in walks {
        let title = walk.lines().next().unwrap_or_default();
        let steps: Vec<Step<'_>> = walk.lines().filter_map(step).collect();
        assert!(steps.len() >= 20, "{title}: {} steps", steps.len());
        for Step { file, function } in steps {
            let text = fs::read_to_string(root().join(file));
            let text = text.unwrap_or_else(|error| panic!("{title}: {file}: {error}"));
            assert!(
                defines(&text, function),
                "{title}: {file} has no function {function}"
            );
        }
    }
}

#[test]
fn a_function_that_is_called_or_only_spoken_of_is_not_defined() {
    let text = "/// As fn old(a) was.\npub(super) async fn hold<T>(a: T) -> bool {\n    held(a)\n}";
    assert!(defines(text, "hold"));
    for other in ["old", "held", "hol", "holds"] {
        assert!(!defines(text, other), "{other}");
    }
}
