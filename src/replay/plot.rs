//! The fill test as a picture: what is allocated against what has arrived.

use plotters::prelude::*;

use super::fill::{CURVE_POINTS, Fill};
use super::run::PolicyResult;

const SIZE: (u32, u32) = (960, 600);
const LEGEND_WIDTH: u32 = 192;
const FONT: &str = "sans-serif";

/// Until here every policy places everything, in parts of what arrives at most: a plot that began with nothing
/// would show one straight line.
const START: f64 = 0.6;

/// Colours that most people can tell apart: of Okabe and Ito, then darker ones.
const COLOURS: [RGBColor; 12] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
    RGBColor(150, 150, 150),
    RGBColor(120, 60, 20),
    RGBColor(90, 0, 130),
    RGBColor(160, 170, 0),
    RGBColor(200, 0, 60),
];

/// An SVG of the mean allocated share of a resource against what has been asked for of it.
///
/// # Errors
/// What the drawing library says.
pub fn svg(resource: &str, fill: &Fill, results: &[PolicyResult]) -> Result<String, String> {
    let mut text = String::new();
    draw(&mut text, resource, fill, results).map_err(|error| error.to_string())?;
    Ok(text)
}

/// A policy, and what is allocated in percent against what is asked for in percent.
type Curve<'a> = (&'a str, Vec<(f64, f64)>);

fn draw(
    text: &mut String,
    resource: &str,
    fill: &Fill,
    results: &[PolicyResult],
) -> Result<(), Box<dyn std::error::Error>> {
    let end = fill.curve_level(CURVE_POINTS);
    let start = (START * end / 10.0).floor() * 10.0;
    let mut curves: Vec<Curve<'_>> = results.iter().map(|result| (result.name, curve(fill, result, start))).collect();
    // As they are at the right end, so that the legend reads as the picture does.
    let last = |curve: &Curve<'_>| curve.1.last().map_or(0.0, |point| point.1);
    curves.sort_by(|one, other| last(other).total_cmp(&last(one)));
    let shares = || curves.iter().flat_map(|(_, points)| points.iter().map(|point| point.1));
    let lowest = (shares().fold(f64::INFINITY, f64::min) / 5.0).floor().clamp(0.0, 19.0) * 5.0;
    let highest = (shares().fold(0.0, f64::max) / 5.0).ceil().clamp(lowest / 5.0 + 1.0, 20.0) * 5.0;

    let area = SVGBackend::with_string(text, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(format!("{resource} allocated as tasks arrive"), (FONT, 20))
        .margin(12)
        .x_label_area_size(48)
        .y_label_area_size(60)
        .margin_right(LEGEND_WIDTH)
        .build_cartesian_2d(start..end, lowest..highest)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(BLACK.mix(0.15))
        .x_desc(format!("{resource} asked for, % of what there is"))
        .y_desc(format!("{resource} allocated, % of what there is"))
        .x_label_formatter(&|share| format!("{share:.0}"))
        .y_label_formatter(&|share| format!("{share:.0}"))
        .label_style((FONT, 14))
        .axis_desc_style((FONT, 15))
        .draw()?;
    for (index, (_, points)) in curves.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?;
    }
    for (index, curve) in curves.iter().enumerate() {
        let (left, top) = ((SIZE.0 - LEGEND_WIDTH) as i32 + 12, 60 + 22 * index as i32);
        let colour = COLOURS[index % COLOURS.len()];
        area.draw(&PathElement::new([(left, top), (left + 24, top)], colour.stroke_width(3)))?;
        let label = format!("{} {:.1}", curve.0, last(curve));
        area.draw(&Text::new(label, (left + 32, top - 7), (FONT, 14)))?;
    }
    area.present()?;
    Ok(())
}

fn curve(fill: &Fill, result: &PolicyResult, start: f64) -> Vec<(f64, f64)> {
    let summary = result.fill.iter().flat_map(|summary| summary.curve.iter().enumerate());
    let points = summary.filter_map(|(point, share)| Some((fill.curve_level(point), share.mean()?)));
    points.filter(|point| point.0 >= start).collect()
}
