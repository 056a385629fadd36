//! Who may sign in: one token, and the users of a file with their roles and hashes.
//!
//! A wrong name takes as long as a wrong password. Hashes never leave this module.

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::Path};

use argon2::{Argon2, PasswordHash, PasswordVerifier as _};
use sha2::{Digest as _, Sha256};

use crate::model::Secret;

/// Of a file of passwords, in bytes.
const LIMIT: u64 = 256 * 1024;
/// What one check may cost: KiB of memory, and rounds.
const DEAREST: (u32, u32) = (256 * 1024, 16);
/// What a name that nobody has is checked against.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// Signs in by a token alone.
const TOKEN: &str = "token";

/// What somebody may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Admin,
    Read,
}

/// Somebody who may sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) role: Role,
    /// Another one for another password, role or token.
    pub(super) mark: [u8; 32],
}

/// Those who may sign in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accounts {
    token: Option<Secret>,
    users: Vec<User>,
}

#[derive(Clone, Debug)]
struct User {
    name: String,
    role: Role,
    hash: Secret,
}

impl Accounts {
    /// Reads both files; what is wrong names the file and the line.
    pub(crate) fn read(token: Option<&Path>, passwords: Option<&Path>) -> io::Result<Self> {
        let named = |path: &Path, e: io::Error| {
            io::Error::new(e.kind(), format!("{}: {e}", path.display()))
        };
        let token = token
            .map(|path| Secret::read(path).map_err(|e| named(path, e)))
            .transpose()?;
        let users = match passwords {
            Some(path) => read_users(path).map_err(|e| named(path, e))?,
            None => Vec::new(),
        };
        Ok(Self { token, users })
    }

    /// Whether one can sign in by the token.
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Who this is, if it is somebody; takes a while, so it is called where nothing waits.
    pub(super) fn check(&self, name: &str, password: &str) -> Option<Account> {
        if name.is_empty() {
            let token = self.token.as_ref().filter(|own| own.is(password));
            return token.map(of_token);
        }
        let user = self.users.iter().find(|user| user.name == name);
        let hash = user.map_or(NOBODY, |user| user.hash.reveal());
        let hash = PasswordHash::new(hash).ok()?;
        let verified = Argon2::default().verify_password(password.as_bytes(), &hash);
        verified.ok()?;
        user.map(User::account)
    }

    /// Who has this mark still.
    pub(super) fn marked(&self, mark: [u8; 32]) -> Option<Account> {
        let all = self.users.iter().map(User::account);
        let mut all = all.chain(self.token.as_ref().map(of_token));
        all.find(|account| account.mark == mark)
    }
}

fn of_token(token: &Secret) -> Account {
    Account {
        name: TOKEN.to_owned(),
        role: Role::Admin,
        mark: Sha256::digest(format!("token {}", token.reveal())).into(),
    }
}

impl User {
    fn account(&self) -> Account {
        let Self { name, role, hash } = self;
        let whole = format!("user {name} {role:?} {}", hash.reveal());
        Account {
            name: name.clone(),
            role: *role,
            mark: Sha256::digest(whole).into(),
        }
    }
}

fn read_users(path: &Path) -> io::Result<Vec<User>> {
    let refuse = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    let about = fs::metadata(path)?;
    if about.permissions().mode() & 0o007 != 0 {
        return Err(refuse("everybody may read it: chmod o= it".into()));
    }
    if about.len() > LIMIT {
        return Err(refuse(format!("it is longer than {LIMIT} bytes")));
    }
    let text = fs::read_to_string(path)?;
    let mut users: Vec<User> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let user = user(line).map_err(|why| refuse(format!("line {number}: {why}")))?;
        if users.iter().any(|other| other.name == user.name) {
            return Err(refuse(format!("line {number}: {} stands twice", user.name)));
        }
        users.push(user);
    }
    if users.is_empty() {
        return Err(refuse("it names no user".into()));
    }
    Ok(users)
}

/// `NAME:ROLE:HASH`
fn user(line: &str) -> Result<User, String> {
    let mut parts = line.splitn(3, ':');
    let (Some(name), Some(role), Some(hash)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("NAME:admin:HASH or NAME:read:HASH is expected".into());
    };
    crate::model::check_name("name", name).map_err(|refusal| refusal.description)?;
    let role = match role {
        "admin" => Role::Admin,
        "read" => Role::Read,
        _ => return Err("the role is neither admin nor read".into()),
    };
    let wrong = "the hash is none of argon2id: argon2 SALT -id -e prints one".to_owned();
    let parsed = PasswordHash::new(hash).map_err(|_| wrong.clone())?;
    if parsed.algorithm.as_str() != "argon2id" || parsed.hash.is_none() {
        return Err(wrong);
    }
    let cost = |name| parsed.params.get_decimal(name).unwrap_or(u32::MAX);
    if cost("m") > DEAREST.0 || cost("t") > DEAREST.1 {
        let (memory, rounds) = DEAREST;
        return Err(format!(
            "the hash is too dear: m={memory},t={rounds} is the most"
        ));
    }
    Ok(User {
        name: name.to_owned(),
        role,
        hash: Secret::from_file(hash),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::{Algorithm, Params, PasswordHasher as _, Version, password_hash::SaltString};

    fn hash(password: &str) -> String {
        let cheap = Params::new(64, 1, 1, None).unwrap();
        let salt = SaltString::from_b64("c29tZXNhbHQ").unwrap();
        let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, cheap);
        let hashed = hasher.hash_password(password.as_bytes(), &salt);
        hashed.unwrap().to_string()
    }

    fn read(text: &str, mode: u32) -> io::Result<Accounts> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Accounts::read(None, Some(&path))
    }

    #[test]
    fn users_sign_in_by_their_own_password_to_their_own_role() {
        let text = format!("# who\nann:admin:{}\nbob:read:{}\n", hash("a"), hash("b"));
        let accounts = read(&text, 0o600).unwrap();
        for (name, password, role) in [("ann", "a", Role::Admin), ("bob", "b", Role::Read)] {
            let account = accounts.check(name, password).unwrap();
            assert_eq!((account.name.as_str(), account.role), (name, role));
            assert_eq!(accounts.marked(account.mark), Some(account));
        }
        for (name, password) in [("ann", "b"), ("bob", ""), ("eve", "a"), ("", "a"), ("", "")] {
            assert_eq!(accounts.check(name, password), None, "{name}");
        }
        assert!(!format!("{accounts:?}").contains("argon2"));
    }

    #[test]
    fn a_mark_is_nobodys_once_the_role_or_the_password_is_another() {
        let line = |role: &str, password: &str| format!("ann:{role}:{}\n", hash(password));
        let ann = read(&line("admin", "a"), 0o600).unwrap();
        let mark = ann.check("ann", "a").unwrap().mark;
        for other in [line("read", "a"), line("admin", "b")] {
            assert_eq!(read(&other, 0o600).unwrap().marked(mark), None);
        }
    }

    #[test]
    fn a_name_that_nobody_has_is_checked_as_long_as_another() {
        let nobody = PasswordHash::new(NOBODY).unwrap();
        assert_eq!(nobody.params.get_decimal("m"), Some(19_456));
        let checked = Argon2::default().verify_password(b"x", &nobody);
        assert_eq!(checked, Err(argon2::password_hash::Error::Password));
    }

    #[test]
    fn a_wrong_line_is_named() {
        let good = hash("a");
        let dear = good.replace("m=64", "m=4194304");
        for (text, why) in [
            ("ann".to_owned(), "line 1: NAME"),
            (format!("\nann:root:{good}"), "line 2: the role"),
            ("ann:admin:secret".to_owned(), "line 1: the hash is none"),
            (format!("ann:admin:{dear}"), "too dear"),
            (format!("a b:read:{good}"), "line 1"),
            (
                format!("a:read:{good}\na:read:{good}"),
                "line 2: a stands twice",
            ),
            ("# nobody".to_owned(), "names no user"),
        ] {
            let error = read(&text, 0o600).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let open = read(&format!("ann:read:{good}"), 0o644).unwrap_err();
        assert!(open.to_string().contains("chmod"), "{open}");
    }
}
