//! The samples as a table in Markdown.

use std::fs;

use crate::{ground::Ground, measure::Sample};

/// What the figures are of, and the table's head.
pub(crate) fn header() {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    println!("Linux {}, UDP, frames of 64 octets.\n", kernel.trim());
    println!("| flows | mode | ns a packet | ratio to routing | quartiles | lost |");
    println!("|---|---|---|---|---|---|");
}

/// One line a mode.
pub(crate) fn rows(flows: u32, grounds: &[Ground], rounds: &[Vec<Sample>]) {
    for (index, ground) in grounds.iter().enumerate() {
        let of = |value: &dyn Fn(&[Sample]) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(|round| value(round)).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let ns = of(&|round| round[index].ns);
        let ratio = of(&|round| round[index].ns / round[0].ns);
        let lost = of(&|round| round[index].lost);
        println!(
            "| {flows} | {} | {:.0} | {:.2} | {:.2} - {:.2} | {:.2} % |",
            ground.mode.name(),
            quantile(&ns, 0.5),
            quantile(&ratio, 0.5),
            quantile(&ratio, 0.25),
            quantile(&ratio, 0.75),
            100.0 * quantile(&lost, 0.5),
        );
    }
}

/// Of sorted values, between neighbours where it falls between them.
fn quantile(values: &[f64], share: f64) -> f64 {
    let place = share * (values.len() - 1) as f64;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    values[low] + (values[high] - values[low]) * place.fract()
}
