//! Files that were spoilt from outside, in twenty-three ways: each is named or read, none is a panic
//! that nobody answers.

use std::{fs, path::Path};

use rand::{RngCore as _, SeedableRng as _, rngs::SmallRng};

use super::*;
use crate::registry::journal::{Journal, Position};

/// A way to spoil what a file holds.
type Way = (&'static str, fn(&mut Vec<u8>));

fn random(bytes: &mut [u8]) {
    SmallRng::seed_from_u64(7).fill_bytes(bytes);
}

fn flip(bytes: &mut [u8], step: usize) {
    for byte in bytes.iter_mut().step_by(step) {
        *byte ^= 0x55;
    }
}

const WAYS: [Way; 23] = [
    ("no bytes", |b| b.clear()),
    ("one byte", |b| b.truncate(1)),
    ("half of its name", |b| b.truncate(5)),
    ("its name alone", |b| b.truncate(9)),
    ("the header alone", |b| b.truncate(320)),
    ("one page", |b| b.truncate(4_096)),
    ("half of it", |b| b.truncate(b.len() / 2)),
    ("a page less", |b| b.truncate(b.len() - 4_096)),
    ("a byte less", |b| b.truncate(b.len() - 1)),
    ("a page of zeros more", |b| b.resize(b.len() + 4_096, 0)),
    ("bytes of chance more", |b| {
        let old = b.len();
        b.resize(old + 10_000, 0);
        random(&mut b[old..]);
    }),
    ("zeros", |b| b.fill(0)),
    ("ones", |b| b.fill(0xff)),
    ("chance", |b| random(b)),
    ("a text", |b| *b = b"no registry at all\n".repeat(1_000)),
    ("another name", |b| b[0] ^= 1),
    ("other flags", |b| b[9] ^= 0xff),
    ("another size of pages", |b| flip(&mut b[12..16], 1)),
    ("other regions", |b| flip(&mut b[16..64], 1)),
    ("no first root", |b| b[64..192].fill(0)),
    ("no second root", |b| b[192..320].fill(0)),
    ("a bit of each page", |b| flip(b, 4_096)),
    ("no pages", |b| b[4_096..].fill(0)),
];

/// What a file holds, spoilt in each way.
fn spoilt(path: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let whole = fs::read(path).unwrap();
    let spoil = |(name, way): Way| {
        let mut bytes = whole.clone();
        way(&mut bytes);
        (name, bytes)
    };
    WAYS.into_iter().map(spoil).collect()
}

#[tokio::test]
async fn a_registry_spoilt_in_each_way_is_named_or_read_and_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("harbor.redb");
    let mut all = Vec::new();
    {
        let registry = EmbeddedRegistry::open(&path).unwrap();
        for port in 35_000..35_040 {
            let one = service(&format!("s{port}"), port, Protocols::Both);
            all.push(registry.allocate(&one, Rests::Respected).await.unwrap());
        }
    }
    let mut named = 0;
    for (name, bytes) in spoilt(&path) {
        fs::write(&path, bytes).unwrap();
        let registry = match EmbeddedRegistry::open(&path) {
            Err(RegistryError::Spoilt { path: found, .. }) => {
                assert_eq!(found, path, "{name}");
                named += 1;
                continue;
            }
            opened => opened.unwrap_or_else(|error| panic!("{name}: {error}")),
        };
        let found = registry.load().await.unwrap().services;
        let is_whole = found.is_empty() || found == all;
        assert!(is_whole, "{name}: {} of 40", found.len());
        let more = service("more", 36_000, Protocols::Tcp);
        registry.allocate(&more, Rests::Ended).await.unwrap();
    }
    assert!(named >= 12, "{named} of {} are named", WAYS.len());
}

#[test]
fn a_journal_spoilt_in_each_way_is_set_aside_or_read_and_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.redb");
    let all: Vec<Service> = (1..40)
        .map(|port| service(&format!("s{port}"), port, Protocols::Tcp))
        .collect();
    let position = Position::default();
    Journal::open(&path)
        .unwrap()
        .replace(&all, &position)
        .unwrap();
    let mut read = 0;
    for (name, bytes) in spoilt(&path) {
        fs::write(&path, bytes).unwrap();
        let journal = Journal::open(&path).unwrap();
        let (found, _) = journal.read(&BackendRule::default()).unwrap();
        assert!(found.iter().all(|one| all.contains(one)), "{name}");
        read += usize::from(!found.is_empty());
        journal.write(&[("x".into(), None)], &position).unwrap();
    }
    let aside = fs::read_dir(folder.path()).unwrap().count() - 1;
    assert!(aside + read >= WAYS.len() - 1, "{aside} aside, {read} read");
}
