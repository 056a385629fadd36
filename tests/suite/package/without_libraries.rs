//! The tarball whose program needs no library, in a root directory that has nothing else.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use kit::{Lab, Process, Redis, V4, binary, eventually, finish, finish_within, patient, traffic};

use crate::registry::redis_of;

/// Makes the tarballs; `HARBOR_CTL_STATIC` names the program that needs no library.
fn tarball(folder: &Path) -> PathBuf {
    let is_named = env::var_os("HARBOR_CTL_STATIC").is_some();
    assert!(is_named, "HARBOR_CTL_STATIC: cargo xtask dist --static");
    let mut dist = Command::new(binary("xtask"));
    dist.env("HARBOR_CTL", binary("harbor-ctl"));
    dist.args(["dist", "--static", "--profile", "dev", "--out"])
        .arg(folder);
    let made = finish_within(patient(Duration::from_secs(300)), &mut dist).ok();
    let mut lines = made.stdout.lines();
    lines
        .find(|line| line.ends_with("_static.tar.gz"))
        .unwrap()
        .into()
}

/// Unpacks it where nothing else is but the folders that a system has, and files of names: the group's and
/// the registry's are looked up there, as everywhere.
fn bare(lab: &Lab, redis: &Redis) -> PathBuf {
    let packed = tempfile::tempdir().unwrap();
    let root = lab.folder().join("bare");
    fs::create_dir(&root).unwrap();
    let mut unpack = Command::new("tar");
    unpack
        .args(["--extract", "--gzip", "--file"])
        .arg(tarball(packed.path()));
    finish(unpack.arg("--directory").arg(&root)).ok();
    for folder in [
        "dev",
        "proc",
        "sys",
        "run/harbor",
        "var/lib/harbor",
        "var/log/harbor",
        "tmp",
    ] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::write(root.join("etc/group"), "root:x:0:\nharbor:x:990:\n").unwrap();
    fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
    let hosts = format!("{} registry.example\n", lab.app(V4, 1));
    fs::write(root.join("etc/hosts"), hosts).unwrap();
    let config = redis.config("one");
    let named = config.replace(&lab.app(V4, 1).to_string(), "registry.example");
    assert_ne!(named, config);
    fs::write(root.join("etc/harbor/harbor.toml"), named).unwrap();
    root
}

#[test]
#[ignore = "needs a program that was built without libraries"]
fn the_tarball_without_libraries_runs_in_a_bare_root() {
    let lab = Lab::routed();
    let redis = redis_of(&lab);
    let root = bare(&lab, &redis);
    // Its own namespace of mounts: what is mounted in the root is gone with the process.
    let inside = |words: &[&str]| {
        let script = format!(
            "mount --bind /dev {0}/dev && mount -t proc proc {0}/proc && mount -t sysfs sysfs {0}/sys && \
             mount --bind {1} {0}/sys/fs/bpf && exec chroot {0} \"$@\"",
            root.display(),
            lab.bpffs().display(),
        );
        let mut command = lab.node.command("unshare");
        command
            .args(["--mount", "sh", "-ec", &script, "sh"])
            .args(words);
        command
    };
    let ctl = |words: &[&str]| finish(&mut inside(&[&["/usr/bin/harbor-ctl"][..], words].concat()));
    assert!(ctl(&["version"]).ok().stdout.contains("harbor-ctl"));
    let mut agent = inside(&["/usr/bin/harbor-ctl", "agent"]);
    let _agent = Process::start(&mut agent, lab.folder(), "bare");
    eventually(patient(Duration::from_secs(30)), || {
        ctl(&["status", "--ready"]).code == 0
    });
    let app = SocketAddr::new(lab.app(V4, 0), 9_001);
    let _app = traffic::serve(&lab.apps[0], lab.folder(), "app1", &[app]);
    ctl(&[
        "ports",
        "create",
        "web",
        "--port",
        "35000",
        "--backend",
        &app.to_string(),
    ])
    .ok();
    let to = SocketAddr::new(lab.public(V4), 35_000);
    assert_eq!(traffic::connect(&lab.client, to, 20).errors, [""; 0]);
    let kept = redis.say(&["hlen", "{harbor:harbor}:services"]).stdout;
    assert_eq!(kept, "1\n", "it has found the registry by its name");
}

#[test]
fn a_program_that_needs_a_library_is_not_packed_as_one_that_needs_none() {
    let folder = tempfile::tempdir().unwrap();
    let mut dist = Command::new(binary("xtask"));
    dist.env("HARBOR_CTL", binary("harbor-ctl"))
        .env("HARBOR_CTL_STATIC", binary("harbor-ctl"));
    dist.args(["dist", "--static", "--profile", "dev", "--out"])
        .arg(folder.path());
    let refused = finish(&mut dist);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("libc.so.6"), "{}", refused.stderr);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
