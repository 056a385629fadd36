//! Broken files: configuration, folders, disks, secrets, certificates, groups, pins.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use kit::{SmallDisk, certify, certify_expired};

use super::Ground;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_broken_configuration_is_found_and_the_rest_is_looked_at_all_the_same() {
    let ground = Ground::with("[datapath]\nmoed = \"tc\"\n");
    ground.finds("config", "fault", "unknown key moed");
    ground.finds("folders", "skipped", "");
    ground.finds("kernel", "ok", "Linux");
    let ground = Ground::with("");
    ground.is_well("config");
    let file = ground.agent.config_file();
    set_mode(&file, 0o666);
    ground.finds("config", "fault", "others may write");
    ground.mends("config");
    assert_eq!(mode(&file), 0o644);
}

#[test]
fn folders_that_cannot_be_used_are_found_and_mended_where_that_is_safe() {
    let ground = Ground::with("");
    let below = |name: &str| ground.agent.folder().join(name);
    ground.finds("folders", "warning", "is not there yet");
    ground.mends("folders");
    assert_eq!(mode(&below("state")), 0o700);
    set_mode(&below("state"), 0o755);
    ground.finds("folders", "fault", "others may look into");
    ground.mends("folders");
    assert_eq!(mode(&below("state")), 0o700);

    fs::remove_dir(below("log")).unwrap();
    fs::write(below("log"), "").unwrap();
    ground.finds("folders", "fault", "is no folder");
    fs::remove_file(below("log")).unwrap();
    std::os::unix::fs::symlink(below("nowhere"), below("log")).unwrap();
    ground.finds("folders", "fault", "link to nothing");
    fs::remove_file(below("log")).unwrap();

    fs::rename(below("state"), below("other")).unwrap();
    std::os::unix::fs::symlink(below("other"), below("state")).unwrap();
    ground.finds("folders", "fault", "symbolic link");
    fs::remove_file(below("state")).unwrap();
    fs::create_dir(below("state")).unwrap();
    std::os::unix::fs::chown(below("state"), Some(65_534), None).unwrap();
    ground.finds("folders", "fault", "belongs to user 65534");
}

#[test]
fn a_full_disk_a_spoilt_registry_and_pins_elsewhere_are_found() {
    let ground = Ground::with("");
    let state = ground.agent.folder().join("state");
    {
        let disk = SmallDisk::mount(&state, 32 << 20);
        ground.finds("disk", "warning", "are left at");
        disk.fill();
        ground.finds("disk", "fault", "0 MiB are left");
    }
    fs::create_dir_all(&state).unwrap();
    ground.is_well("registry");
    fs::write(state.join("harbor.redb"), "").unwrap();
    ground.finds("registry", "fault", "is empty");
    fs::remove_file(state.join("harbor.redb")).unwrap();
    fs::create_dir(state.join("harbor.redb")).unwrap();
    ground.finds("registry", "fault", "is no file");

    ground.is_well("bpffs");
    ground.is_well("pins");
    fs::create_dir_all(ground.lab.bpf().join("v1")).unwrap();
    ground.finds("pins", "warning", "v1 holds tables from before");
    let file = ground.agent.config_file();
    let text = fs::read_to_string(&file).unwrap();
    let elsewhere = text.replace(&ground.lab.bpf().display().to_string(), "/tmp/not-a-bpffs");
    fs::write(&file, elsewhere).unwrap();
    ground.finds("bpffs", "fault", "not on a BPF file system");
}

#[test]
fn secrets_that_are_missing_short_or_open_are_found_and_closed() {
    let lab_files = tempfile::tempdir().unwrap();
    let file = |name: &str| lab_files.path().join(name);
    let text = format!(
        "[control]\nlisten = \"127.0.0.1:8442\"\ntoken_file = {:?}\n[gateway]\npassword_file = {:?}\n\
         [discovery]\ntoken_file = {:?}\n",
        file("control"),
        file("gateway"),
        file("announce"),
    );
    let ground = Ground::with(&text);
    fs::write(file("control"), "a-token-of-operators-0001\n").unwrap();
    fs::write(file("gateway"), "short\n").unwrap();
    set_mode(&file("control"), 0o644);
    set_mode(&file("gateway"), 0o640);
    ground.finds("secrets", "fault", "control.token_file: everybody may read");
    ground.finds("secrets", "fault", "gateway.password_file");
    ground.finds("secrets", "fault", "discovery.token_file");
    fs::write(file("gateway"), "a-password-of-platforms\n").unwrap();
    fs::write(file("announce"), "a-token-of-app-hosts-01\n").unwrap();
    set_mode(&file("announce"), 0o666);
    ground.mends("secrets");
    assert_eq!(mode(&file("control")), 0o640);
    assert_eq!(mode(&file("announce")), 0o660);
}

#[test]
fn certificates_that_are_missing_old_foreign_or_open_are_found() {
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str| files.path().join(name);
    let ports = file("ports");
    fs::create_dir(&ports).unwrap();
    let text = format!(
        "[tls]\nfolder = {ports:?}\n[control]\nlisten = \"127.0.0.1:8442\"\ntls_cert = {:?}\ntls_key = {:?}\n\
         tls_client_ca = {:?}\nadmin_subjects = [\"CN=x\"]\n",
        file("api.crt"),
        file("api.key"),
        file("ca.crt"),
    );
    let ground = Ground::with(&text);
    ground.finds("certificates", "fault", "control.tls_cert");
    ground.finds("certificates", "fault", "control.tls_client_ca");
    certify(files.path(), "api", "DNS:node.example");
    certify(files.path(), "ca", "DNS:ca.example");
    for key in ["api.key", "ca.key"] {
        set_mode(&file(key), 0o600);
    }
    // What kit makes lasts for three days.
    ground.finds("certificates", "warning", "expires in");
    certify_expired(&ports, "old", "DNS:old.example");
    set_mode(&ports.join("old.key"), 0o600);
    ground.finds("certificates", "fault", "expired");
    fs::remove_file(ports.join("old.key")).unwrap();
    ground.finds("certificates", "fault", "old.key");
    fs::remove_file(ports.join("old.crt")).unwrap();
    certify(&ports, "one", "DNS:one.example");
    certify(&ports, "two", "DNS:two.example");
    fs::rename(ports.join("two.key"), ports.join("one.key")).unwrap();
    fs::remove_file(ports.join("two.crt")).unwrap();
    set_mode(&ports.join("one.key"), 0o600);
    ground.finds("certificates", "fault", "one.");
    certify(&ports, "one", "DNS:one.example");
    set_mode(&ports.join("one.key"), 0o644);
    ground.finds("certificates", "fault", "everybody may read");
    let found = ground.found("certificates");
    assert!(
        found.iter().any(|item| item["can_mend"] == true),
        "{found:#?}"
    );
}

#[test]
fn groups_that_do_not_exist_and_wrong_files_of_app_hosts_are_found() {
    let hosts = tempfile::tempdir().unwrap();
    let text = format!(
        "[control]\nadmin_group = \"no-such-group\"\nread_group = \"nor-this\"\n[discovery]\nhosts = {:?}\n",
        hosts.path()
    );
    let ground = Ground::with(&text);
    ground.finds("groups", "warning", "no group no-such-group");
    ground.finds("groups", "warning", "no group nor-this");
    ground.is_well("app-hosts");
    fs::write(hosts.path().join("one.toml"), "deaf = \"one\"\n").unwrap();
    ground.finds("app-hosts", "fault", "one.toml");
    fs::remove_dir_all(hosts.path()).unwrap();
    ground.finds("app-hosts", "fault", "discovery.hosts");
}
