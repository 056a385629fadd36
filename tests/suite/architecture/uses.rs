//! Reads `use` declarations from source text: groups expanded, comments left out.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A source file below some `src` folder.
pub(super) struct SourceFile {
    /// Relative to that folder.
    pub(super) path: PathBuf,
    /// All of it.
    pub(super) text: String,
}

/// Every source file below a folder.
pub(super) fn sources(folder: &Path) -> Vec<SourceFile> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap_or_else(|e| panic!("{}: {e}", next.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push(SourceFile::new(
                    path.strip_prefix(folder).unwrap().into(),
                    text,
                ));
            }
        }
    }
    found
}

impl SourceFile {
    pub(super) fn new(path: PathBuf, text: String) -> Self {
        Self { path, text }
    }

    /// The top-level module that the file belongs to.
    pub(super) fn module(&self) -> &str {
        let first = self
            .path
            .iter()
            .next()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// Whether the file holds tests alone.
    pub(super) fn is_test(&self) -> bool {
        let stem = self
            .path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        stem == "tests" || stem.ends_with("_tests") || stem == "testing"
    }

    /// The text without comments and without the tests at its end.
    pub(super) fn code(&self) -> String {
        let marks = ["#[cfg(test)]\nmod ", "#[cfg(all(test"];
        let tests = marks.iter().filter_map(|mark| self.text.find(mark)).min();
        let code = &self.text[..tests.unwrap_or(self.text.len())];
        let lines = code
            .lines()
            .map(|line| line.split("//").next().unwrap_or_default());
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Every path that a `use` declaration names, as segments; tests at the end left out.
    pub(super) fn uses(&self) -> Vec<Vec<String>> {
        let text = self.code();
        let mut paths = Vec::new();
        for line_start in declarations(&text) {
            let declaration = text[line_start..].split(';').next().unwrap_or_default();
            expand(declaration.trim(), &[], &mut paths);
        }
        paths
    }

    /// The first segment of every `use` declaration.
    pub(super) fn first_segments(&self) -> Vec<String> {
        let mut first: Vec<String> = self
            .uses()
            .into_iter()
            .map(|path| path[0].clone())
            .collect();
        first.sort();
        first.dedup();
        first
    }

    /// Top-level modules of its own crate that the file names, in `use` lines or in paths.
    pub(super) fn own_crate(&self) -> BTreeSet<String> {
        // How many times `super` must be said to reach the crate's root.
        let depth = match self.path.file_name().is_some_and(|name| name == "mod.rs") {
            true => self.path.iter().count() - 1,
            false => self.path.iter().count(),
        };
        let uses = self.uses().into_iter().filter_map(|path| {
            let supers = path
                .iter()
                .take_while(|segment| *segment == "super")
                .count();
            match path[0].as_str() {
                "crate" => path.get(1).cloned(),
                "super" if supers == depth => path.get(depth).cloned(),
                _ => None,
            }
        });
        let code = self.code();
        let inline = code.split("crate::").skip(1).map(|rest| {
            rest.chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect::<String>()
        });
        uses.chain(inline).filter(|name| !name.is_empty()).collect()
    }

    /// Whether the file names an outside crate, in `use` lines or in paths.
    pub(super) fn names_crate(&self, name: &str) -> bool {
        let code = self.code();
        let inline = code.match_indices(&format!("{name}::")).any(|(at, _)| {
            !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
        });
        inline || self.uses().iter().any(|path| path[0] == name)
    }
}

/// Where the paths of `use` declarations begin.
fn declarations(text: &str) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim_start();
        let bare = ["pub(crate) ", "pub(super) ", "pub "]
            .iter()
            .find_map(|visibility| trimmed.strip_prefix(visibility))
            .unwrap_or(trimmed);
        if let Some(path) = bare.strip_prefix("use ") {
            starts.push(offset + line.len() - path.len());
        }
        offset += line.len();
    }
    starts
}

/// Expands `a::{b, c::d}` into its paths.
fn expand(tree: &str, before: &[String], paths: &mut Vec<Vec<String>>) {
    let tree = tree.trim();
    // After a group's last comma.
    if tree.is_empty() {
        return;
    }
    let Some(brace) = tree.find('{') else {
        let name = tree.split(" as ").next().unwrap_or_default();
        let segments = name.split("::").map(|segment| segment.trim().to_owned());
        let path: Vec<String> = before
            .iter()
            .cloned()
            .chain(segments)
            .filter(|s| !s.is_empty())
            .collect();
        if !path.is_empty() {
            paths.push(path);
        }
        return;
    };
    let mut prefix = before.to_vec();
    prefix.extend(
        tree[..brace]
            .split("::")
            .map(str::trim)
            .filter(|s| !s.is_empty())
            .map(Into::into),
    );
    let inner = tree[brace + 1..]
        .trim_end()
        .strip_suffix('}')
        .unwrap_or(&tree[brace + 1..]);
    for branch in branches(inner) {
        expand(branch, &prefix, paths);
    }
}

/// Splits at the commas that are in no inner braces.
fn branches(inner: &str) -> Vec<&str> {
    let (mut depth, mut start, mut branches) = (0, 0, Vec::new());
    for (at, character) in inner.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                branches.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    branches.push(&inner[start..]);
    branches
}
