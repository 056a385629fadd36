//! Files that are no journal, rows that are no services, and what comes back of good ones.

use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::*;
use crate::model::{Protocols, testing::service};

#[test]
fn rows_come_back_one_by_one_and_a_bad_one_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.redb");
    let position = Position {
        incarnation: "x".into(),
        seq: 7,
    };
    let (one, two) = (
        service("a", 1, Protocols::Tcp),
        service("b", 2, Protocols::Udp),
    );
    {
        let journal = Journal::open(&path).unwrap();
        let mut bad = service("bad", 3, Protocols::Tcp);
        bad.name = "a\nb".into();
        let rows = [&one, &two, &bad].map(|s| (s.id.clone(), Some(s.clone())));
        journal.write(&rows, &position).unwrap();
        journal.write(&[(two.id.clone(), None)], &position).unwrap();
    }
    let journal = Journal::open(&path).unwrap();
    let found = journal.read(&BackendRule::default()).unwrap();
    assert_eq!(found, (vec![one], position));
}

/// Rows that say something wrong: none is taken for a service, none is missed.
fn skips(rows: u32) {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(&folder.path().join("journal.redb")).unwrap();
    let good = service("good", 1, Protocols::Both);
    let position = Position::default();
    let first = [(good.id.clone(), Some(good.clone()))];
    journal.write(&first, &position).unwrap();
    let whole = serde_json::to_vec(&good).unwrap();
    let mut random = SmallRng::seed_from_u64(2);
    let spoil = |transaction: &redb::WriteTransaction| {
        let mut table = transaction.open_table(SERVICES).unwrap();
        for number in 0..rows {
            let mut bytes = whole.clone();
            match random.random_range(0..3) {
                0 => bytes.truncate(random.random_range(0..bytes.len())),
                // A good record under another's id is no less wrong.
                1 => {}
                _ => {
                    let place = random.random_range(0..bytes.len());
                    bytes[place] = random.random_range(0..32);
                }
            }
            let id = format!("row {number}");
            table.insert(id.as_str(), bytes.as_slice()).unwrap();
        }
        Ok(())
    };
    journal.file().write(spoil).unwrap();
    let (read, _) = journal.read(&BackendRule::default()).unwrap();
    assert_eq!(read, vec![good]);
}

#[test]
fn malformed_rows_are_skipped_and_the_good_ones_found() {
    skips(20_000);
}

/// `cargo xtask soak malformed`
#[test]
#[ignore = "runs for a minute"]
fn a_million_malformed_rows_are_skipped() {
    skips(1_000_000);
}

/// Files spoilt in many ways are set aside, or read as something that was once written.
#[test]
fn a_spoilt_file_never_reads_as_anything_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.redb");
    let services: Vec<Service> = (1..40)
        .map(|port| service(&format!("s{port}"), port, Protocols::Tcp))
        .collect();
    let position = Position {
        incarnation: "x".into(),
        seq: 7,
    };
    for part in services.chunks(4) {
        let rows: Vec<_> = part
            .iter()
            .map(|s| (s.id.clone(), Some(s.clone())))
            .collect();
        Journal::open(&path)
            .unwrap()
            .write(&rows, &position)
            .unwrap();
    }
    let whole = std::fs::read(&path).unwrap();
    let mut random = SmallRng::seed_from_u64(1);
    for _ in 0..200 {
        let mut bytes = whole.clone();
        match random.random_range(0..4) {
            0 => bytes.truncate(random.random_range(0..bytes.len())),
            _ => {
                for _ in 0..random.random_range(1..200) {
                    let place = random.random_range(0..bytes.len());
                    bytes[place] ^= 1 << random.random_range(0..8);
                }
            }
        }
        std::fs::write(&path, bytes).unwrap();
        let journal = Journal::open(&path).unwrap();
        let (read, _) = journal.read(&BackendRule::default()).unwrap();
        assert!(read.iter().all(|one| services.contains(one)), "{read:?}");
        journal.write(&[("x".into(), None)], &position).unwrap();
    }
}

#[test]
fn files_that_are_no_journal_are_set_aside_each_under_its_own_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.redb");
    for text in ["no journal at all", "nor is this one"] {
        std::fs::write(&path, text.repeat(1_000)).unwrap();
        let journal = Journal::open(&path).unwrap();
        assert!(journal.read(&BackendRule::default()).unwrap().0.is_empty());
    }
    let aside = |end: &str| std::fs::read(path.with_extension(end)).unwrap();
    assert!(aside("unreadable").starts_with(b"no journal"));
    assert!(aside("unreadable-2").starts_with(b"nor is"));
}

/// Root may read everything, but not follow a link to itself.
#[test]
fn a_journal_that_cannot_be_opened_is_left_alone_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.redb");
    std::os::unix::fs::symlink(&path, &path).unwrap();
    let error = Journal::open(&path).unwrap_err();
    assert!(matches!(error, RegistryError::Unopened { .. }), "{error}");
    assert!(error.to_string().contains("journal.redb cannot be opened"));
    assert!(path.is_symlink());
}
