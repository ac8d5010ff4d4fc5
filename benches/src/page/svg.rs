//! Plots as SVG, drawn by hand: bars and lines are all that the page needs. It must not know what they show.

use std::fmt::Write;

/// One bar.
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) value: f64,
}

const WIDTH: f64 = 720.0;
const ROW: f64 = 26.0;
const TOP: f64 = 40.0;
const LEFT: f64 = 200.0;
const COLOURS: [&str; 5] = ["#1f6f8b", "#99a8b2", "#c8553d", "#588157", "#6d597a"];

/// Bars from left to right, with a goal as an upright line.
pub(super) fn bars(title: &str, bars: &[Bar], goal: f64) -> String {
    let height = TOP + ROW * bars.len() as f64 + 10.0;
    let greatest = bars.iter().map(|bar| bar.value).fold(goal, f64::max);
    let scale = (WIDTH - LEFT - 60.0) / greatest;
    let mut svg = open(title, height);
    for (index, bar) in bars.iter().enumerate() {
        let y = TOP + ROW * index as f64;
        text(&mut svg, LEFT - 8.0, y + 15.0, "end", &bar.label);
        let (width, colour) = (bar.value * scale, COLOURS[0]);
        let _ = writeln!(
            svg,
            "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"18\" fill=\"{colour}\"/>"
        );
        text(&mut svg, LEFT + width + 6.0, y + 15.0, "start", &format!("{:.0}", bar.value));
    }
    line(&mut svg, (LEFT + goal * scale, TOP - 6.0), (LEFT + goal * scale, height - 6.0), COLOURS[2]);
    close(svg)
}

/// Lines over a logarithmic x axis, from zero up.
pub(super) fn lines(title: &str, series: &[(String, Vec<(f64, f64)>)]) -> String {
    let (height, bottom, left) = (360.0, 320.0, 60.0);
    let points = || series.iter().flat_map(|(_, points)| points);
    let greatest = points().map(|(_, y)| *y).fold(1.0, f64::max);
    let (first, last) = points().fold((f64::MAX, 1.0_f64), |(a, b), (x, _)| (a.min(*x), b.max(*x)));
    let first = first.min(last);
    let span = (last.log10() - first.log10()).max(1.0);
    let x = |value: f64| left + (value.log10() - first.log10()) / span * (WIDTH - left - 200.0);
    let y = |value: f64| bottom - value / greatest * (bottom - TOP);
    let mut svg = open(title, height);
    line(&mut svg, (left, bottom), (WIDTH - 140.0, bottom), "#444");
    line(&mut svg, (left, bottom), (left, TOP), "#444");
    text(&mut svg, left - 6.0, TOP + 5.0, "end", &format!("{greatest:.0}"));
    text(&mut svg, left - 6.0, bottom, "end", "0");
    for (index, (name, points)) in series.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        for pair in points.windows(2) {
            line(&mut svg, (x(pair[0].0), y(pair[0].1)), (x(pair[1].0), y(pair[1].1)), colour);
        }
        for (at, _) in points.iter().filter(|_| index == 0) {
            text(&mut svg, x(*at), bottom + 18.0, "middle", &format!("{at:.0}"));
        }
        let place = TOP + 18.0 * index as f64;
        line(&mut svg, (WIDTH - 160.0, place), (WIDTH - 140.0, place), colour);
        text(&mut svg, WIDTH - 134.0, place + 4.0, "start", name);
    }
    close(svg)
}

fn open(title: &str, height: f64) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    text(&mut svg, 12.0, 22.0, "start", title);
    svg
}

fn close(svg: String) -> String {
    svg + "</svg>\n"
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\" stroke-width=\"2\"/>"
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, content: &str) {
    let content = content.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{content}</text>");
}

#[cfg(test)]
mod tests {
    use super::{Bar, bars, lines};

    #[test]
    fn plots_hold_every_label_and_escape_it() {
        let bar = Bar { label: "a < b".to_owned(), value: 95.0 };
        let svg = bars("shares", &[bar], 90.0);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(svg.contains(">a &lt; b</text>") && svg.contains(">95</text>"));

        let svg = lines("cost", &[("x".to_owned(), vec![(10.0, 5.0), (100.0, 6.0)])]);
        assert_eq!(svg.matches("<line ").count(), 4, "two axes, one segment, one key");
        assert!(lines("nothing", &[]).ends_with("</svg>\n"));
    }
}
