//! Keys and certificates that sign themselves, made by openssl.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::finish;

/// Makes `NAME.key` and `NAME.crt` in a folder, for this subject's alternative name (`IP:...` or
/// `DNS:...`); the certificate's file.
#[track_caller]
pub fn certify(folder: &Path, name: &str, alternative: &str) -> PathBuf {
    let mut openssl = Command::new("openssl");
    openssl.current_dir(folder);
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt"]);
    openssl.args(["ec_paramgen_curve:prime256v1", "-nodes", "-days", "3"]);
    openssl.args(["-keyout", &format!("{name}.key")]);
    openssl.args(["-out", &format!("{name}.crt")]);
    openssl.args(["-subj", &format!("/CN={name}")]);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    openssl.args(["-addext", &format!("subjectAltName={alternative}")]);
    finish(&mut openssl).ok();
    folder.join(format!("{name}.crt"))
}

/// As [`certify`], but what it makes is over since 2020.
#[track_caller]
pub fn certify_expired(folder: &Path, name: &str, alternative: &str) {
    certify_until((folder, name), alternative, "20200201000000Z");
}

/// As [`certify`], but what it makes is over so many seconds from now.
#[track_caller]
pub fn certify_briefly(folder: &Path, name: &str, alternative: &str, seconds: u32) {
    let mut date = Command::new("date");
    date.args([
        "--utc",
        &format!("--date={seconds} seconds"),
        "+%Y%m%d%H%M%SZ",
    ]);
    let end = finish(&mut date).ok().stdout;
    certify_until((folder, name), alternative, end.trim());
}

fn certify_until((folder, name): (&Path, &str), alternative: &str, end: &str) {
    let config = "[ca]\ndefault_ca = own\n[own]\ndatabase = index\nnew_certs_dir = .\nserial = serial\n\
                  default_md = sha256\npolicy = any\n[any]\ncommonName = supplied\n\
                  [req]\ndistinguished_name = name\n[name]\n";
    let authority = folder.join(format!("{name}-authority"));
    fs::create_dir_all(&authority).unwrap();
    fs::write(authority.join("index"), "").unwrap();
    fs::write(authority.join("serial"), "01\n").unwrap();
    let names = format!("[names]\nsubjectAltName = {alternative}\n");
    fs::write(authority.join("config"), format!("{config}{names}")).unwrap();
    let (key, certificate) = (format!("../{name}.key"), format!("../{name}.crt"));
    let run = |words: &[&str]| {
        let mut openssl = Command::new("openssl");
        finish(openssl.current_dir(&authority).args(words)).ok();
    };
    let curve = ["-pkeyopt", "ec_paramgen_curve:prime256v1"];
    let request = [
        "req", "-new", "-newkey", "ec", "-nodes", "-config", "config",
    ];
    let subject = ["-subj", "/CN=x", "-keyout", &key, "-out", "request"];
    run(&[&request[..], &curve, &subject].concat());
    let sign = ["ca", "-batch", "-selfsign", "-notext", "-config", "config"];
    let dates = ["-startdate", "20200101000000Z", "-enddate", end];
    let files = ["-keyfile", &key, "-in", "request", "-out", &certificate];
    let names = ["-extensions", "names"];
    run(&[&sign[..], &dates, &files, &names].concat());
}
