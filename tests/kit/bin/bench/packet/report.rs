//! The samples as a table in Markdown.

use std::fs;

use super::{ground::Ground, measure::Sample};
use crate::spread::Spread;

/// What the figures are of, and the table's head.
pub(crate) fn header() {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    println!("Linux {}, UDP, frames of 64 octets.\n", kernel.trim());
    println!("| flows | mode | ns a packet | ratio to routing | quartiles | lost |");
    println!("|---|---|---|---|---|---|");
}

/// One line a mode.
pub(crate) fn rows(flows: &str, grounds: &[Ground], rounds: &[Vec<Sample>]) {
    for (index, ground) in grounds.iter().enumerate() {
        let of =
            |value: &dyn Fn(&[Sample]) -> f64| Spread::of(rounds.iter().map(|round| value(round)));
        let ns = of(&|round| round[index].ns);
        let ratio = of(&|round| round[index].ns / round[0].ns);
        let lost = of(&|round| round[index].lost);
        println!(
            "| {flows} | {} | {:.0} | {:.2} | {:.2} - {:.2} | {:.2} % |",
            ground.mode.name(),
            ns.median(),
            ratio.median(),
            ratio.at(0.25),
            ratio.at(0.75),
            100.0 * lost.median(),
        );
    }
}
