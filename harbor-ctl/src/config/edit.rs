//! Changes one value in the configuration file: comments and order kept, the whole checked before
//! the file is replaced, and replaced in one step.

use std::{
    io::{self, ErrorKind},
    path::Path,
};

use toml_edit::{Document, DocumentMut, Item, Table, TableLike};

use crate::model::{Refusal, RefusalKind, meanwhile};

use super::{
    Loaded, Source,
    keys::Key,
    load_text,
    problem::ConfigError,
    read_file,
    replace::{alone, replace},
    value::{Origin, Value},
};

/// Why a value was not set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EditError {
    /// The new value, or something else in the file, is not valid.
    #[error("{0}")]
    Invalid(#[from] ConfigError),
    /// A stronger layer says another value: the file would not matter.
    #[error("{key} is set by {origin}, which is stronger than the file")]
    Overruled { key: String, origin: String },
    /// Another value than the editor saw.
    #[error("{}", .0.description)]
    Meanwhile(Box<Refusal>),
    #[error("{path} cannot be written: {source}")]
    Write { path: String, source: io::Error },
}

impl From<EditError> for Refusal {
    fn from(error: EditError) -> Self {
        let kind = match error {
            EditError::Invalid(error) => return Self::from(error).field("value"),
            EditError::Meanwhile(refusal) => return *refusal,
            EditError::Overruled { .. } => RefusalKind::Conflict,
            EditError::Write { ref source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                RefusalKind::Denied
            }
            EditError::Write { .. } => RefusalKind::Failed,
        };
        Self::new(kind, error.to_string()).field("value")
    }
}

/// Sets `key` in the source's file; answers the configuration as it is then.
pub(crate) fn set_value(source: &Source, key: &Key, words: &str) -> Result<Loaded, EditError> {
    set_value_if(source, key, words, None)
}

/// The same, where the files still say what was seen.
pub(crate) fn set_value_if(
    source: &Source,
    key: &Key,
    words: &str,
    seen: Option<&str>,
) -> Result<Loaded, EditError> {
    let value = Value::from_words(key, words).map_err(|message| invalid(source, message))?;
    let _alone = alone(&source.path).map_err(|error| unwritten(&source.path, error))?;
    let old = match read_file(&source.path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(ConfigError::unreadable(&source.path, &error).into()),
    };
    if let Some(seen) = seen {
        is_still(source, &old, key, seen)?;
    }
    let text = with_value(&old, key, &value).map_err(|message| invalid(source, message))?;
    let loaded = load_text(source, &text)?;
    let origin = loaded
        .entries
        .get(&key.path())
        .map(|entry| entry.origin.clone());
    match origin {
        Some(Origin::File { path, .. }) if path == source.path => {}
        Some(origin) => {
            return Err(EditError::Overruled {
                key: key.path(),
                origin: origin.to_string(),
            });
        }
        None => unreachable!("every key has at least its default"),
    }
    replace(&source.path, &text).map_err(|error| unwritten(&source.path, error))?;
    Ok(loaded)
}

/// What is not valid was nobody's value.
fn is_still(source: &Source, text: &str, key: &Key, seen: &str) -> Result<(), EditError> {
    let Ok(loaded) = load_text(source, text) else {
        return Ok(());
    };
    let now = loaded.entries.get(&key.path());
    let now = now.map(|entry| entry.value.plain()).unwrap_or_default();
    match now == seen {
        true => Ok(()),
        false => Err(EditError::Meanwhile(Box::new(meanwhile(&key.path(), &now)))),
    }
}

fn unwritten(path: &Path, source: io::Error) -> EditError {
    let path = path.display().to_string();
    EditError::Write { path, source }
}

/// Takes `key` out of the source's file, so that weaker layers or the default decide; answers the
/// configuration as it is then. What is not there is out already.
pub(crate) fn unset_value(source: &Source, key: &Key) -> Result<Loaded, EditError> {
    let _alone = alone(&source.path).map_err(|error| unwritten(&source.path, error))?;
    let old = match read_file(&source.path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(ConfigError::unreadable(&source.path, &error).into()),
    };
    let text = without_value(&old, key).map_err(|message| invalid(source, message))?;
    let loaded = load_text(source, &text)?;
    if text != old {
        replace(&source.path, &text).map_err(|error| unwritten(&source.path, error))?;
    }
    Ok(loaded)
}

fn invalid(source: &Source, message: String) -> EditError {
    let place = source.path.display().to_string();
    EditError::Invalid(ConfigError {
        problems: vec![super::Problem {
            place,
            message,
            fix: None,
        }],
    })
}

/// The text with one value changed; everything else stays as it is.
fn with_value(text: &str, key: &Key, value: &Value) -> Result<String, String> {
    let mut document: DocumentMut = text
        .parse()
        .map_err(|error: toml_edit::TomlError| error.message().to_owned())?;
    let section = document
        .entry(key.section)
        .or_insert_with(|| Item::Table(Table::new()));
    let Some(table) = section.as_table_like_mut() else {
        return Err(format!("{} is not a section", key.section));
    };
    let mut fresh: toml_edit::Value = value
        .to_string()
        .parse()
        .map_err(|error: toml_edit::TomlError| error.message().to_owned())?;
    keep_decor(table, key.name, &mut fresh);
    table.insert(key.name, Item::Value(fresh));
    Ok(document.to_string())
}

/// The text without one value; comments, also the one behind it, stay as they are.
fn without_value(text: &str, key: &Key) -> Result<String, String> {
    let wrong = |error: toml_edit::TomlError| error.message().to_owned();
    let spanned = Document::parse(text).map_err(wrong)?;
    let section = spanned.get(key.section).and_then(Item::as_table_like);
    let Some((name, item)) = section.and_then(|table| table.get_key_value(key.name)) else {
        return Ok(text.to_owned());
    };
    if let (Some(name), Some(value)) = (name.span(), item.span()) {
        let start = text[..name.start].rfind('\n').map_or(0, |line| line + 1);
        let rest = &text[value.end..];
        let end = value.end + rest.find('\n').map_or(rest.len(), |line| line + 1);
        let (before, behind) = (&text[start..name.start], text[value.end..end].trim());
        // A line of its own, or with its section in front.
        let is_alone = before.trim().is_empty() || before.trim_end().ends_with('.');
        if is_alone && (behind.is_empty() || behind.starts_with('#')) {
            let kept = match behind {
                "" => String::new(),
                comment => format!("{comment}\n"),
            };
            return Ok(format!("{}{kept}{}", &text[..start], &text[end..]));
        }
    }
    let mut document: DocumentMut = text.parse().map_err(wrong)?;
    if let Some(table) = document[key.section].as_table_like_mut() {
        table.remove(key.name);
    }
    Ok(document.to_string())
}

/// A comment behind the old value stays behind the new one.
fn keep_decor(table: &dyn TableLike, name: &str, fresh: &mut toml_edit::Value) {
    if let Some(old) = table.get(name).and_then(Item::as_value) {
        *fresh.decor_mut() = old.decor().clone();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt as _, PermissionsExt as _},
        thread,
    };

    use super::*;
    use crate::config::find_key;

    fn source(path: &Path) -> Source {
        Source {
            path: path.to_owned(),
            must_exist: false,
            environment: vec![],
            flags: vec![],
        }
    }

    #[test]
    fn comments_and_order_stay() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("h.toml");
        fs::write(
            &path,
            "# mine\n[ports]\nrest = \"5s\"\nrange = \"36000-36010\" # small\n",
        )
        .unwrap();
        let key = find_key("port_range").unwrap();
        let loaded = set_value(&source(&path), key, "37000-37010").unwrap();
        assert_eq!(loaded.config.range.to_string(), "37000-37010");
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "# mine\n[ports]\nrest = \"5s\"\nrange = \"37000-37010\" # small\n"
        );
    }

    #[test]
    fn what_somebody_else_has_written_meanwhile_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("h.toml");
        let key = find_key("log.keep").unwrap();
        // Edited by hand, and not read again yet.
        fs::write(&path, "[log]\nkeep = 4\n").unwrap();
        let error = set_value_if(&source(&path), key, "5", Some("7")).unwrap_err();
        assert_eq!(Refusal::from(error).kind, RefusalKind::Conflict);
        assert_eq!(fs::read_to_string(&path).unwrap(), "[log]\nkeep = 4\n");
        set_value_if(&source(&path), key, "5", Some("4")).unwrap();
        // What cannot be read is mended.
        fs::write(&path, "[log]\nkeep = \"some\"\n").unwrap();
        set_value_if(&source(&path), key, "6", Some("5")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "[log]\nkeep = 6\n");
    }

    #[test]
    fn a_missing_file_and_section_are_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/h.toml");
        set_value(&source(&path), find_key("log.keep").unwrap(), "3").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "[log]\nkeep = 3\n");
    }

    #[test]
    fn an_invalid_value_leaves_the_file_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("h.toml");
        fs::write(&path, "[log]\nkeep = 3\n").unwrap();
        let key = find_key("ports.range").unwrap();
        let error = set_value(&source(&path), key, "20000-21000").unwrap_err();
        assert!(error.to_string().contains("overlaps"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "[log]\nkeep = 3\n");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn unset_takes_the_value_and_leaves_every_comment() {
        let key = find_key("ports.range").unwrap();
        for (text, left) in [
            (
                "# mine\n[ports]\n# why\nrange = \"36000-36010\" # small\nrest = \"5s\"\n",
                "# mine\n[ports]\n# why\n# small\nrest = \"5s\"\n",
            ),
            ("ports.range = \"36000-36010\"\n# end\n", "# end\n"),
            ("[ports]\nrange = \"36000-36010\"", "[ports]\n"),
            (
                "ports = {range = \"36000-36010\", rest = \"5s\"}\n",
                "ports = {rest = \"5s\"}\n",
            ),
            ("[log]\nkeep = 3\n", "[log]\nkeep = 3\n"),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("h.toml");
            fs::write(&path, text).unwrap();
            let loaded = unset_value(&source(&path), key).unwrap();
            assert_eq!(loaded.config.range.to_string(), "35000-40000");
            let now = fs::read_to_string(&path).unwrap();
            assert_eq!(now.replace("{ ", "{").replace(" }", "}"), left);
        }
    }

    #[test]
    fn a_stronger_layer_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("h.toml");
        let mut source = source(&path);
        source.environment = vec![("HARBOR_LOG__KEEP".into(), "9".into())];
        let error = set_value(&source, find_key("log.keep").unwrap(), "3").unwrap_err();
        assert!(error.to_string().contains("HARBOR_LOG__KEEP"), "{error}");
        assert!(!path.exists());
    }

    #[test]
    fn a_file_keeps_its_owner_its_group_and_its_links() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("real.toml"), "[log]\nkeep = 3\n").unwrap();
        fs::set_permissions(at("real.toml"), fs::Permissions::from_mode(0o640)).unwrap();
        // Only root may give a file away.
        let is_root = std::os::unix::fs::chown(at("real.toml"), Some(12), Some(34)).is_ok();
        std::os::unix::fs::symlink("real.toml", at("link.toml")).unwrap();
        std::os::unix::fs::symlink("none.toml", at("dangling.toml")).unwrap();
        let key = find_key("log.keep").unwrap();
        set_value(&source(&at("link.toml")), key, "4").unwrap();
        set_value(&source(&at("dangling.toml")), key, "5").unwrap();
        assert!(fs::symlink_metadata(at("link.toml")).unwrap().is_symlink());
        assert_eq!(
            fs::read_to_string(at("none.toml")).unwrap(),
            "[log]\nkeep = 5\n"
        );
        let kept = fs::metadata(at("real.toml")).unwrap();
        assert_eq!(kept.permissions().mode() & 0o777, 0o640);
        if is_root {
            assert_eq!((kept.uid(), kept.gid()), (12, 34));
        }
        fs::hard_link(at("real.toml"), at("other.toml")).unwrap();
        set_value(&source(&at("real.toml")), key, "6").unwrap();
        assert_eq!(
            fs::read_to_string(at("other.toml")).unwrap(),
            "[log]\nkeep = 6\n"
        );
    }

    #[test]
    fn of_many_edits_at_once_none_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("h.toml");
        let edits = [
            ("log.keep", "3"),
            ("ports.rest", "7s"),
            ("policy.drain", "9s"),
            ("health.fall", "5"),
            ("health.rise", "4"),
            ("ports.range", "36000-36010"),
        ];
        thread::scope(|scope| {
            for (name, value) in edits {
                let source = source(&path);
                scope.spawn(move || set_value(&source, find_key(name).unwrap(), value).unwrap());
            }
        });
        let loaded = super::super::load(&source(&path)).unwrap();
        for (name, value) in edits {
            assert_eq!(loaded.entries[name].value.plain(), value, "{name}");
        }
    }
}
