//! Changes one value in the configuration file: comments and order kept, the whole checked before
//! the file is replaced, and replaced in one step.

use std::{
    fs,
    io::{ErrorKind, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use toml_edit::{Document, DocumentMut, Item, Table, TableLike};

use crate::model::{Refusal, RefusalKind};

use super::{ConfigError, Key, Loaded, Origin, Source, Value, load_text};

/// Why a value was not set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EditError {
    /// The new value, or something else in the file, is not valid.
    #[error("{0}")]
    Invalid(#[from] ConfigError),
    /// A stronger layer says another value: the file would not matter.
    #[error("{key} is set by {origin}, which is stronger than the file")]
    Overruled { key: String, origin: String },
    #[error("{path} cannot be written: {source}")]
    Write {
        path: String,
        source: std::io::Error,
    },
}

impl From<EditError> for Refusal {
    fn from(error: EditError) -> Self {
        let kind = match error {
            EditError::Invalid(error) => return Self::from(error).field("value"),
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
    let value = Value::from_words(key, words).map_err(|message| invalid(source, message))?;
    let old = match fs::read_to_string(&source.path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(ConfigError::unreadable(&source.path, &error).into()),
    };
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
    replace(&source.path, &text).map_err(|error| EditError::Write {
        path: source.path.display().to_string(),
        source: error,
    })?;
    Ok(loaded)
}

/// Takes `key` out of the source's file, so that weaker layers or the default decide; answers the
/// configuration as it is then. What is not there is out already.
pub(crate) fn unset_value(source: &Source, key: &Key) -> Result<Loaded, EditError> {
    let old = match fs::read_to_string(&source.path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(ConfigError::unreadable(&source.path, &error).into()),
    };
    let text = without_value(&old, key).map_err(|message| invalid(source, message))?;
    let loaded = load_text(source, &text)?;
    if text != old {
        replace(&source.path, &text).map_err(|error| EditError::Write {
            path: source.path.display().to_string(),
            source: error,
        })?;
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

/// Temporary file, fsync, rename, fsync of the directory: the old text or the new one, never half.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = target.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory)?;
    let mode = fs::metadata(&target).map_or(0o644, |metadata| metadata.permissions().mode());
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory.join(format!(".{name}.{}.new", std::process::id()));
    let written = (|| {
        let mut file = fs::File::create(&temporary)?;
        file.set_permissions(fs::Permissions::from_mode(mode & 0o7777))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &target)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
        return written;
    }
    fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
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
}
