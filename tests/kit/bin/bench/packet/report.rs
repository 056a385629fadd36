//! The samples as figures: a table in Markdown, JSON, and a chart.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{chart, ground::Ground, measure::Sample};
use crate::spread::Spread;

/// What all rounds of one row have found of one mode.
pub(crate) struct Figure {
    pub(crate) row: String,
    pub(crate) mode: &'static str,
    /// Median nanoseconds a packet.
    pub(crate) ns: f64,
    /// Median ratio to the first mode of the same round, and its quartiles.
    pub(crate) ratio: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// Median share of frames that did not arrive.
    pub(crate) lost: f64,
}

/// What the figures are of, and the table's head.
pub(crate) fn header() {
    println!("Linux {}, UDP, frames of 64 octets.\n", kernel());
    println!("| row | mode | ns a packet | ratio to routing | quartiles | lost |");
    println!("|---|---|---|---|---|---|");
}

fn kernel() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    text.trim().to_owned()
}

/// One figure a mode; each is printed as a line of the table.
pub(crate) fn figures(row: &str, grounds: &[Ground], rounds: &[Vec<Sample>]) -> Vec<Figure> {
    let figure = |(index, ground): (usize, &Ground)| {
        let of =
            |value: &dyn Fn(&[Sample]) -> f64| Spread::of(rounds.iter().map(|round| value(round)));
        let ratio = of(&|round| round[index].ns / round[0].ns);
        let figure = Figure {
            row: row.to_owned(),
            mode: ground.mode.name(),
            ns: of(&|round| round[index].ns).median(),
            ratio: ratio.median(),
            low: ratio.at(0.25),
            high: ratio.at(0.75),
            lost: of(&|round| round[index].lost).median(),
        };
        println!(
            "| {row} | {} | {:.0} | {:.2} | {:.2} - {:.2} | {:.2} % |",
            figure.mode,
            figure.ns,
            figure.ratio,
            figure.low,
            figure.high,
            100.0 * figure.lost,
        );
        figure
    };
    grounds.iter().enumerate().map(figure).collect()
}

/// Writes all figures as JSON.
pub(crate) fn write_json(path: &Path, rounds: usize, figures: &[Figure]) -> Result<()> {
    let rows = figures.iter().map(|figure| {
        json!({
            "row": figure.row, "mode": figure.mode, "ns": figure.ns, "ratio": figure.ratio,
            "lower_quartile": figure.low, "upper_quartile": figure.high, "lost": figure.lost,
        })
    });
    let rows: Vec<Value> = rows.collect();
    let text = json!({"kernel": kernel(), "rounds": rounds, "figures": rows}).to_string();
    fs::write(path, text + "\n").with_context(|| path.display().to_string())
}

/// Writes all figures as a chart.
pub(crate) fn write_svg(path: &Path, figures: &[Figure]) -> Result<()> {
    fs::write(path, chart::svg(figures)).with_context(|| path.display().to_string())
}
