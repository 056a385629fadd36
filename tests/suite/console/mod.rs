//! The management console: by plain HTTP what attackers try, and by a real browser what people do.

mod attacks;
mod browser;
mod client;
mod crowds;
mod editors;
mod elsewhere;
mod everybody;
mod forms;
mod html;
mod keys;
mod live;
mod nodes;
mod pages;
mod refusals;
pub(crate) mod scale;
mod shots;
mod stored;
mod strangers;
mod tabs;
mod tls;
mod token;

use std::{fs, os::unix::fs::PermissionsExt as _};

use kit::{Config, Lab};

use crate::scene::Scene;

pub(crate) const LISTEN: &str = "127.0.0.1:9443";
/// Who may change, and who may look, each with a password.
pub(crate) const ADMIN: (&str, &str) = ("ann", "correct horse 1");
pub(crate) const READER: (&str, &str) = ("bob", "correct horse 2");
/// A user whose name is as long as names can be.
pub(crate) const LONG: &str = "user-of-the-longest-name-that-there-can-be-0123456789-0123456789";
/// As `argon2 SALT -id -e -m 10 -t 1 -p 1` prints them: cheap, as tests sign in often.
const HASHES: [&str; 2] = [
    "$argon2id$v=19$m=1024,t=1,p=1$c2FsdHNhbHRzYWx0$jydToiI/9m1aRQXB3rwkUmjFwmIARYyH2YallEA+/oc",
    "$argon2id$v=19$m=1024,t=1,p=1$c2FsdHNhbHRzYWx0$3T2+LG9K8rOHsU92QGDKKsGsydMmrXjU8k5U0BwtAT8",
];

/// An agent with a console, and apps behind nothing yet.
pub(crate) fn scene(more: &str) -> Scene {
    scene_on(|_| more.to_owned())
}

/// With lines that depend on the lab.
fn scene_on(more: impl FnOnce(&Lab) -> String) -> Scene {
    let lab = Lab::routed();
    let lines = console_lines(&lab) + &more(&lab);
    Scene::on(lab, &Config::with(&lines))
}

/// What switches the console on, with its users.
fn console_lines(lab: &Lab) -> String {
    let users = lab.folder().join("console.users");
    let [ann, bob] = HASHES;
    let (admin, reader) = (ADMIN.0, READER.0);
    let text = format!("{admin}:admin:{ann}\n{reader}:read:{bob}\n{LONG}:admin:{ann}\n");
    fs::write(&users, text).unwrap();
    fs::set_permissions(&users, fs::Permissions::from_mode(0o600)).unwrap();
    format!("[console]\nlisten = {LISTEN:?}\npassword_file = {users:?}\n")
}
