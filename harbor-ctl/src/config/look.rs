//! Whether the files of a configuration are others than they were, without reading them.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{Source, drop_ins};

/// What the files look like: whoever writes one, puts one in its place or takes one away changes that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Look(Vec<(PathBuf, Option<[i64; 4]>)>);

/// Looks at the main file and at every drop-in.
pub(crate) fn look(source: &Source) -> Look {
    let drop_ins = drop_ins(&source.path).unwrap_or_default();
    let all = std::iter::once(source.path.clone()).chain(drop_ins);
    let seen = all.map(|path| {
        let found = of(&path);
        (path, found)
    });
    Look(seen.collect())
}

/// The time of the last change of any kind, which nobody sets, and which file it is.
fn of(path: &Path) -> Option<[i64; 4]> {
    let found = fs::metadata(path).ok()?;
    Some([
        found.ctime(),
        found.ctime_nsec(),
        found.size().cast_signed(),
        found.ino().cast_signed(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_done_to_a_file_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let (main, drop_ins) = (
            folder.path().join("harbor.toml"),
            folder.path().join("conf.d"),
        );
        let source = Source {
            path: main.clone(),
            must_exist: false,
            environment: Vec::new(),
            flags: Vec::new(),
        };
        let mut seen = vec![look(&source)];
        let mut is_seen = |what: &str| {
            assert!(!seen.contains(&look(&source)), "{what}");
            seen.push(look(&source));
            assert_eq!(seen.last(), Some(&look(&source)), "{what}");
        };
        fs::write(&main, "").unwrap();
        is_seen("made");
        fs::write(&main, "[log]\n").unwrap();
        is_seen("written");
        fs::create_dir(&drop_ins).unwrap();
        let own = drop_ins.join("1.toml");
        fs::write(&own, "1").unwrap();
        is_seen("a drop-in");
        fs::write(folder.path().join("new"), "2").unwrap();
        fs::rename(folder.path().join("new"), &own).unwrap();
        is_seen("another in its place");
        std::os::unix::fs::symlink("nothing", drop_ins.join("2.toml")).unwrap();
        is_seen("a link to nothing");
    }
}
