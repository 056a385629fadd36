//! Circles of files inside a module: a file that names another which, by whatever detour, names it.
//!
//! A reader can take the files of a module one after the other only where there are none.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{agent, uses::SourceFile};

/// How many files of a module still stand in circles. A number here only ever becomes smaller.
const LEFT: &[(&str, usize)] = &[
    ("allocator", 2),
    ("api", 3),
    ("cli", 7),
    ("config", 2),
    ("console", 3),
    ("controller", 11),
    ("datapath", 7),
    ("dea", 2),
    ("forwarding", 5),
    ("gateway", 6),
    ("model", 6),
    ("proxy", 19),
    ("registry", 5),
    ("views", 5),
];

/// A file as a module's path: `a/b.rs` and `a/b/mod.rs` are both `a::b`.
type Place = Vec<String>;

fn place(path: &Path) -> Place {
    let path = path.with_extension("");
    let mut place: Place = path
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    place.pop_if(|last| last == "mod");
    place
}

/// Whom each file names, of the files of its own top-level module.
fn arrows(files: &[SourceFile]) -> BTreeMap<Place, BTreeSet<Place>> {
    let is_test = |file: &SourceFile| file.path.iter().any(|part| part == "tests");
    let files: Vec<&SourceFile> = files
        .iter()
        .filter(|file| !file.is_test() && !is_test(file))
        .collect();
    let places: BTreeSet<Place> = files.iter().map(|file| place(&file.path)).collect();
    let named = |from: &Place, path: &[String]| -> Option<Place> {
        let (mut whole, mut rest) = (from.clone(), path);
        match path[0].as_str() {
            "crate" => (whole, rest) = (Vec::new(), &path[1..]),
            "self" => rest = &path[1..],
            "super" => {}
            child => {
                whole.push(child.to_owned());
                let is_child = places.contains(&whole);
                whole.pop();
                is_child.then_some(())?;
            }
        }
        while let Some(("super", later)) = rest.split_first().map(|(f, r)| (f.as_str(), r)) {
            whole.pop();
            rest = later;
        }
        whole.extend(rest.iter().filter(|part| *part != "self").cloned());
        while !whole.is_empty() && !places.contains(&whole) {
            whole.pop();
        }
        let is_near = whole.first() == from.first() && !whole.is_empty() && whole != *from;
        is_near.then_some(whole)
    };
    let of = |file: &&SourceFile| {
        let from = place(&file.path);
        let uses = file.uses();
        let to = uses.iter().filter_map(|path| named(&from, path)).collect();
        (from, to)
    };
    files.iter().map(of).collect()
}

/// Everything that can be reached from a file.
fn reach<'a>(arrows: &'a BTreeMap<Place, BTreeSet<Place>>, from: &Place) -> BTreeSet<&'a Place> {
    let mut seen = BTreeSet::new();
    let mut next: Vec<&Place> = arrows.get(from).into_iter().flatten().collect();
    while let Some(place) = next.pop() {
        if seen.insert(place) {
            next.extend(arrows.get(place).into_iter().flatten());
        }
    }
    seen
}

/// Files that can be reached from themselves, by top-level module.
fn circles(files: &[SourceFile]) -> BTreeMap<String, Vec<String>> {
    let arrows = arrows(files);
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for place in arrows.keys().filter(|place| !place.is_empty()) {
        if reach(&arrows, place).contains(place) {
            found
                .entry(place[0].clone())
                .or_default()
                .push(place.join("::"));
        }
    }
    found
}

#[test]
fn circles_of_files_inside_modules_become_no_more() {
    let found = circles(&agent());
    let left = |module: &str| {
        let entry = LEFT.iter().find(|(name, _)| *name == module);
        entry.map_or(0, |(_, count)| *count)
    };
    for (module, files) in &found {
        assert!(files.len() <= left(module), "{module}: {files:?}");
    }
    for (module, count) in LEFT {
        let now = found.get(*module).map_or(0, Vec::len);
        assert_eq!(now, *count, "{module} is better than its entry in the list");
    }
}

#[test]
fn a_circle_is_noticed_by_whatever_path_it_goes() {
    let file = |path: &str, text: &str| SourceFile::new(path.into(), text.into());
    let files = [
        file("a/mod.rs", "mod b;\nmod c;\nmod d;\nuse b::B;"),
        file("a/b.rs", "use super::c::C;"),
        file("a/c.rs", "use crate::a::b::{self, B};"),
        file("a/d.rs", "use super::b::B;\n// use super::d::D;"),
    ];
    let found = circles(&files);
    assert_eq!(found["a"], ["a::b", "a::c"]);
}
