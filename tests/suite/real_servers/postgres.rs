//! PostgreSQL and its own benchmark.

use std::{
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
};

use kit::{Lab, eventually, finish};
use nix::unistd::User;

use super::{MINUTES, Server, addresses};
use crate::scene::FAMILIES;

#[test]
fn postgresql_serves_its_benchmark_without_a_failed_transaction() {
    let lab = Lab::routed();
    let data = cluster(&lab);
    let programs = programs();
    let server = programs.join("postgres");
    let mut command = lab.apps[0].command("setpriv");
    command.args(IDENTITY).arg(&server).arg("-D").arg(&data);
    command.current_dir(&data);
    let postgres = Server::start(lab, "postgres", &mut command);
    for family in FAMILIES {
        let to = postgres.port(family, 5432);
        let run = |program: &str, words: &[&str]| {
            let login = ["-h", "HOST", "-p", "PORT", "-U", "harbor"];
            let program = programs.join(program).display().to_string();
            postgres.client(to, &[&[program.as_str()], &login[..], words].concat())
        };
        let one = ["-d", "postgres", "-Atc", "select 1"];
        eventually(MINUTES, || run("psql", &one).stdout == "1\n");
        run("pgbench", &["-i", "-q", "postgres"]).ok();
        let said = run("pgbench", &["-c", "4", "-j", "2", "-t", "200", "postgres"]);
        let said = said.ok().stdout;
        assert!(said.contains("processed: 800/800"), "{said}");
        assert!(said.contains("failed transactions: 0 "), "{said}");
        // A connection for each transaction: the opening is what Harbor decides.
        let anew = ["-C", "-c", "2", "-t", "50", "-S", "postgres"];
        let said = run("pgbench", &anew).ok().stdout;
        assert!(said.contains("processed: 100/100"), "{said}");
    }
}

/// PostgreSQL refuses to run as root.
const IDENTITY: [&str; 3] = ["--reuid=postgres", "--regid=postgres", "--clear-groups"];

/// Where Debian keeps a version's programs; the newest.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").unwrap().flatten();
    let folders = versions.map(|entry| entry.path().join("bin"));
    let newest = folders
        .filter(|folder| folder.join("postgres").exists())
        .max();
    newest.expect("a PostgreSQL server is installed")
}

/// A cluster of its own, which trusts everybody and keeps nothing.
fn cluster(lab: &Lab) -> PathBuf {
    let home = lab.folder().join("postgres");
    fs::create_dir(&home).unwrap();
    give(&home);
    let data = home.join("data");
    let mut command = Command::new("setpriv");
    command.args(IDENTITY).arg(programs().join("initdb"));
    command.args(["--no-sync", "--auth=trust", "--username=harbor", "-D"]);
    finish(command.arg(&data).current_dir(&home)).ok();
    let own = addresses(lab).map(|address| address.to_string()).join(",");
    let settings = format!(
        "listen_addresses = '{own}'\nunix_socket_directories = ''\nfsync = off\n\
         max_connections = 20\nshared_buffers = 16MB\n"
    );
    fs::write(data.join("postgresql.conf"), settings).unwrap();
    let everybody = "host all all 0.0.0.0/0 trust\nhost all all ::/0 trust\n";
    fs::write(data.join("pg_hba.conf"), everybody).unwrap();
    data
}

fn give(folder: &Path) {
    let user = User::from_name("postgres")
        .unwrap()
        .expect("the package's user");
    chown(folder, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
}
