//! The figures as a chart: a bar for each row and mode, by its ratio to routing, with its quartiles.

use std::fmt::Write as _;

use super::report::Figure;

const WIDTH: f64 = 760.0;
/// Where bars begin, and how long one of ratio 1 is at most.
const LEFT: f64 = 210.0;
const LINE: f64 = 22.0;
const GAP: f64 = 14.0;
/// One colour for each mode, distinguishable without colour sight too: they differ in lightness.
const COLOURS: [&str; 4] = ["#bdbdbd", "#8c510a", "#5ab4ac", "#01665e"];

/// The chart of all figures, in their order.
pub(crate) fn svg(figures: &[Figure]) -> String {
    let longest = figures.iter().map(|figure| figure.high).fold(1.0, f64::max);
    let scale = (WIDTH - LEFT - 70.0) / longest;
    let mut body = String::new();
    let (mut y, mut row, mut modes) = (GAP, None, Vec::new());
    for figure in figures {
        if row != Some(&figure.row) {
            y += GAP;
            row = Some(&figure.row);
            let _ = write!(
                body,
                "<text x=\"8\" y=\"{:.0}\" font-weight=\"bold\">{}</text>",
                y + 15.0,
                figure.row
            );
        }
        if !modes.contains(&figure.mode) {
            modes.push(figure.mode);
        }
        let place = modes.iter().position(|mode| *mode == figure.mode);
        let colour = COLOURS[place.unwrap_or(0) % COLOURS.len()];
        bar(&mut body, figure, y, (scale, colour));
        y += LINE;
    }
    let one = LEFT + scale;
    let height = y + GAP;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" \
         font-family=\"sans-serif\" font-size=\"13\" role=\"img\" \
         aria-label=\"Cost of a packet, as a ratio to plain routing\">\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\
         <line x1=\"{one:.1}\" x2=\"{one:.1}\" y1=\"{GAP}\" y2=\"{height:.0}\" stroke=\"#444444\" \
         stroke-dasharray=\"3 3\"/>{body}</svg>\n"
    )
}

fn bar(body: &mut String, figure: &Figure, y: f64, (scale, colour): (f64, &str)) {
    let end = LEFT + scale * figure.ratio;
    let (low, high) = (LEFT + scale * figure.low, LEFT + scale * figure.high);
    let middle = y + 9.0;
    let _ = write!(
        body,
        "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>\
         <rect x=\"{LEFT}\" y=\"{y:.0}\" width=\"{:.1}\" height=\"18\" fill=\"{colour}\"/>\
         <line x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\" stroke=\"#000000\"/>\
         <text x=\"{:.1}\" y=\"{:.0}\">{:.2}</text>",
        LEFT - 8.0,
        y + 14.0,
        figure.mode,
        end - LEFT,
        high.max(end) + 6.0,
        y + 14.0,
        figure.ratio,
    );
}
