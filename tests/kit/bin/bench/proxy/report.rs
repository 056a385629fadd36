//! The samples as a table in Markdown.

use std::fs;

use super::{client::Sample, ground::Way};
use crate::spread::Spread;

/// Where HAProxy is among the ways: what others are divided by.
const HAPROXY: usize = 1;

/// What is shown, and where it is in a sample.
type Figure = (&'static str, fn(&Sample) -> f64);

/// Each figure with its quartiles, and its ratio to HAProxy's of the same round.
pub(crate) fn print(ways: &[Way], rounds: &[Vec<Sample>]) {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    println!("Linux {}, {} rounds.\n", kernel.trim(), rounds.len());
    println!("| | way | median | quartiles | by HAProxy | quartiles |");
    println!("|---|---|---|---|---|---|");
    let figures: [Figure; 6] = [
        ("connections a second", |sample| sample.rate),
        ("CPU a connection, µs", |sample| sample.connection),
        ("question to answer, median, µs", |sample| sample.median),
        ("the same, 99th percentile, µs", |sample| sample.late),
        ("CPU a KB in bulk, ns", |sample| sample.kilobyte),
        ("bulk, Gbit/s", |sample| sample.gigabits),
    ];
    for (figure, of) in figures {
        for (index, way) in ways.iter().enumerate() {
            let own = Spread::of(rounds.iter().map(|round| of(&round[index])));
            let ratio = |round: &Vec<Sample>| of(&round[index]) / of(&round[HAPROXY]);
            let ratio = Spread::of(rounds.iter().map(ratio));
            println!(
                "| {figure} | {} | {:.1} | {:.1} - {:.1} | {:.2} | {:.2} - {:.2} |",
                way.name,
                own.median(),
                own.at(0.25),
                own.at(0.75),
                ratio.median(),
                ratio.at(0.25),
                ratio.at(0.75),
            );
        }
    }
}
