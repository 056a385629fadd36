//! What was carried in the last hour: the place of the chart that the script draws, and the same in numbers.

use maud::{Markup, html};

use super::{
    layout::table,
    samples::{Sample, Samples},
};
use crate::model::format_rate;

/// Minutes of a row of the table.
const STEP: u64 = 5;

/// Of all ports, or of one.
pub(super) fn chart(samples: &Samples, port: Option<(&str, &Option<String>)>) -> Markup {
    let (port, unknown) = (
        port.map(|(id, _)| id),
        port.and_then(|(_, why)| why.as_ref()),
    );
    let (_, now) = samples.latest(port);
    if let (Some(why), Some(_)) = (unknown, now) {
        // Nothing is counted here of what another node carries.
        return html! {
            section { h2 { "Traffic" } p { "Not known: " (why) "." } }
        };
    }
    html! {
        section {
            h2 { "Traffic" }
            div.chart data-port=[port] role="img" aria-label="Bits per second and flows of the last hour" {}
            p #carried {
                @match now {
                    Some(now) => {
                        "Now: " (format_rate(now.in_bps)) " from clients, " (format_rate(now.out_bps))
                        " to clients, flows: " (now.flows)
                    }
                    None => "Now: not known, the datapath does not answer."
                }
            }
            details {
                summary { "The last hour in numbers" }
                (numbers(samples, port))
            }
        }
    }
}

/// The mean of each five minutes, the latest first.
fn numbers(samples: &Samples, port: Option<&str>) -> Markup {
    let series = samples.series(port);
    let last = series.last().map_or(0, |(at, _)| *at);
    let rows = (0..60 / STEP).filter_map(|place| {
        let to = last.checked_sub(place * STEP * 60)?;
        let from = to.checked_sub(STEP * 60)?;
        let within = |(at, own): &&(u64, Sample)| *at > from && *at <= to && own.is_known();
        let own: Vec<&Sample> = series.iter().filter(within).map(|(_, s)| s).collect();
        let mean = |value: fn(&Sample) -> f32| {
            own.iter().map(|sample| value(sample)).sum::<f32>() / own.len() as f32
        };
        let means = (mean(|s| s.inward), mean(|s| s.outward), mean(|s| s.flows));
        (!own.is_empty()).then_some((place * STEP, means))
    });
    let rows = html! {
        @for (ago, (inward, outward, flows)) in rows {
            tr {
                th scope="row" { (ago + STEP) " to " (ago) " minutes ago" }
                td.number { (format_rate(inward as u64)) }
                td.number { (format_rate(outward as u64)) }
                td.number { (flows.round()) }
            }
        }
    };
    table(
        "The last hour",
        &["When", "From clients", "To clients", "Flows"],
        &rows,
    )
}
