//! What the program tells its users to call is there: a fix that names no verb of the command line helps
//! nobody.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::root;

/// Verbs of the command line, as the reference has them: `ports`, `ports create`.
fn verbs() -> BTreeSet<String> {
    let page = fs::read_to_string(root().join("docs/reference/cli.md")).unwrap();
    let headings = page.lines();
    let named = headings.filter_map(|line| line.strip_prefix("## harbor-ctl "));
    named.map(str::to_owned).collect()
}

/// Every file below a folder, of those that this is said of.
fn files(folder: &Path, is_meant: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if is_meant(&path) {
                found.push(path);
            }
        }
    }
    found
}

/// The letters that a word begins with.
fn letters(word: &str) -> &str {
    let end = word.find(|c: char| !c.is_ascii_lowercase());
    &word[..end.unwrap_or(word.len())]
}

/// What a source text tells its reader to call: `ports create` of `harbor-ctl ports create {name}`.
fn advice(text: &str, verbs: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    for rest in text.split("harbor-ctl ").skip(1) {
        // A literal may go on in the next line.
        let mut words = rest.split_whitespace().filter(|word| *word != "\\");
        let first = words.next().unwrap_or_default();
        let verb = letters(first);
        let group = format!("{verb} ");
        let is_group = verb == first && verbs.iter().any(|known| known.starts_with(&group));
        let second = words.next().map(letters);
        match second.filter(|second| is_group && !second.is_empty()) {
            Some(second) => found.push(format!("{verb} {second}")),
            None if !verb.is_empty() => found.push(verb.to_owned()),
            None => {}
        }
    }
    found
}

#[test]
fn every_command_that_the_program_advises_is_one_of_its_own() {
    let verbs = verbs();
    let mut count = 0;
    let is_rust = |path: &Path| path.extension().is_some_and(|ending| ending == "rs");
    let shipped = files(&root().join("harbor-ctl/dist"), |_| true);
    let own = files(&root().join("harbor-ctl/src"), is_rust);
    for path in own.into_iter().chain(shipped) {
        for command in advice(&fs::read_to_string(&path).unwrap(), &verbs) {
            count += 1;
            assert!(
                verbs.contains(&command),
                "{} says harbor-ctl {command}",
                path.display()
            );
        }
    }
    assert!(count >= 100, "{count} mentions");
}

#[test]
fn a_verb_is_read_from_a_sentence_and_a_name_is_not() {
    let broken = "harbor-ctl \\\n    config set a.b c";
    let text = format!("harbor-ctl node forget; harbor-ctl {{name}}, `harbor-ctl ports`, {broken}");
    let expected = ["node forget", "ports", "config set"];
    assert_eq!(advice(&text, &verbs()), expected);
}
