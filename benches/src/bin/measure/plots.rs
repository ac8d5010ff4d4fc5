//! The plots of the page, as SVG files. They must not know where their numbers come from.

use std::path::Path;

use pgworkflows_benches::Failure;
use plotters::prelude::*;

use crate::figures::number;

const WIDTH: u32 = 720;
const FONT: (&str, u32) = ("sans-serif", 15);
const TITLE: (&str, u32) = ("sans-serif", 18);
const COLOURS: [RGBColor; 5] = [
    RGBColor(31, 111, 139),
    RGBColor(153, 168, 178),
    RGBColor(200, 85, 61),
    RGBColor(88, 129, 87),
    RGBColor(109, 89, 122),
];

/// What each measurement leaves of the throughput, in percent, with the goal as a line.
pub(crate) fn shares(file: &Path, bars: &[(&str, f64)]) -> Result<(), Failure> {
    let goal = 90.0;
    let greatest = bars.iter().map(|(_, value)| *value).fold(100.0, f64::max);
    let top = bars.len() as f64;
    let area = SVGBackend::new(file, (WIDTH, 80 + 28 * bars.len() as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("Throughput against an empty database, %", TITLE)
        .margin(10)
        .set_label_area_size(LabelAreaPosition::Bottom, 30)
        .build_cartesian_2d(0.0..1.05 * greatest, top..0.0)?;
    chart.configure_mesh().disable_mesh().x_label_style(FONT).x_label_formatter(&whole).draw()?;
    for (row, (label, value)) in bars.iter().enumerate() {
        let row = row as f64;
        chart
            .draw_series([Rectangle::new([(0.0, row + 0.15), (*value, row + 0.85)], COLOURS[0].filled())])?;
        chart.draw_series([Text::new(
            format!("{label}: {value:.0}"),
            (2.0, row + 0.35),
            FONT.into_font().color(&WHITE),
        )])?;
    }
    chart.draw_series(LineSeries::new([(goal, 0.0), (goal, top)], COLOURS[2].stroke_width(2)))?;
    Ok(area.present()?)
}

/// Nanoseconds per event by the length of the history.
pub(crate) fn costs(file: &Path, curves: &[(&str, Vec<(f64, f64)>)]) -> Result<(), Failure> {
    let points = || curves.iter().flat_map(|(_, points)| points);
    let greatest = points().map(|(_, y)| *y).fold(1.0, f64::max);
    let longest = points().map(|(x, _)| *x).fold(100.0, f64::max);
    let area = SVGBackend::new(file, (WIDTH, 360)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("Replay: ns per event by events in the history", TITLE)
        .margin(10)
        .margin_right(40)
        .set_label_area_size(LabelAreaPosition::Left, 50)
        .set_label_area_size(LabelAreaPosition::Bottom, 30)
        .build_cartesian_2d((10.0..longest).log_scale(), 0.0..1.4 * greatest)?;
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh().light_line_style(WHITE).label_style(FONT);
    mesh.x_label_formatter(&whole).y_label_formatter(&whole).draw()?;
    for ((name, points), colour) in curves.iter().zip(COLOURS) {
        let line = LineSeries::new(points.iter().copied(), colour.stroke_width(2));
        chart
            .draw_series(line)?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
    }
    chart.configure_series_labels().position(SeriesLabelPosition::UpperRight).label_font(FONT).draw()?;
    Ok(area.present()?)
}

fn whole(value: &f64) -> String {
    number(value.round())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{costs, shares};

    #[test]
    fn plots_show_every_label() {
        let file = std::env::temp_dir().join(format!("pgworkflows-plot-{}.svg", std::process::id()));
        shares(&file, &[("over closed runs", 95.2), ("beside a writer", 80.0)]).unwrap();
        let bars = fs::read_to_string(&file).unwrap();
        costs(&file, &[("timers/bytes", vec![(10.0, 300.0), (100_000.0, 320.0)])]).unwrap();
        let lines = fs::read_to_string(&file).unwrap();
        fs::remove_file(&file).unwrap();

        for (plot, label) in
            [(&bars, "over closed runs"), (&bars, "beside a writer: 80"), (&lines, "timers/bytes")]
        {
            assert!(plot.starts_with("<svg ") && plot.contains(label), "{label} is not in {plot}");
        }
        // Empty plots are plots.
        shares(&file, &[]).unwrap();
        costs(&file, &[]).unwrap();
        fs::remove_file(&file).unwrap();
    }
}
