//! A file that fails, is cut, is moved, and is none.

use super::*;

fn put(file: &File) -> Result<(), RegistryError> {
    file.write(|transaction| {
        let mut table = transaction.open_table(PROBE).map_err(engine)?;
        table.insert("a", &b"1"[..]).map_err(engine)?;
        Ok(())
    })
}

/// Asks until it is time to try again.
fn eventually(holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < end, "not within 10 s");
        std::thread::yield_now();
    }
}

#[test]
fn a_file_that_fails_is_opened_anew_and_works_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = File::open(&folder.path().join("a.redb")).unwrap();
    let failing = |_: &WriteTransaction| -> Result<(), RegistryError> {
        Err(engine(io::Error::from(io::ErrorKind::StorageFull)))
    };
    let error = file.write(failing).unwrap_err();
    assert!(matches!(error, RegistryError::Failed(_)), "{error}");
    let reason = file.trouble().unwrap().reason;
    assert!(reason.contains("a.redb: no storage space"), "{reason}");
    // At once nothing is tried.
    assert!(put(&file).is_err());
    eventually(|| put(&file).is_ok());
    file.look();
    assert_eq!(file.trouble(), None);
}

#[test]
fn a_panic_of_the_library_is_a_failure_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let file = File::open(&folder.path().join("a.redb")).unwrap();
    let error = file.write(|_| -> Result<(), _> { panic!("spoilt") });
    assert!(matches!(error, Err(RegistryError::Failed(_))));
    eventually(|| put(&file).is_ok());
}

#[test]
fn a_file_that_is_moved_away_is_missed_and_never_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (path, aside) = (folder.path().join("a.redb"), folder.path().join("b"));
    let file = File::open(&path).unwrap();
    fs::rename(&path, &aside).unwrap();
    file.look();
    assert!(file.trouble().unwrap().reason.contains("gone"));
    file.look();
    assert!(put(&file).is_err() && !path.exists());
    fs::rename(&aside, &path).unwrap();
    eventually(|| {
        file.look();
        file.trouble().is_none()
    });
    put(&file).unwrap();
}

#[test]
fn what_is_no_file_or_may_not_be_read_is_named_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.redb");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = File::open(&path).unwrap_err();
    assert!(matches!(error, RegistryError::Spoilt { .. }), "{error}");
    let below = File::open(&folder.path().join("none/a.redb")).unwrap_err();
    assert!(matches!(below, RegistryError::Unopened { .. }), "{below}");
}
