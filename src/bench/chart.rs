//! Line charts as SVG. Each carries its own style, so that one that is taken out of its page looks the same.

use std::fmt::Write as _;

/// Size of a chart in its own units, which the page scales.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 320.0;

/// Room beside the plot for labels.
const LEFT: f64 = 84.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 52.0;

/// Lines with names of their own in [`STYLE`].
const SERIES_MAX: usize = 3;

/// Colours that most people can tell apart (of Okabe and Ito), on light and on dark ground.
const STYLE: &str = "\
svg{background:#fff;color:#222;font:13px sans-serif}text{fill:currentColor}.title{font-size:16px;font-weight:bold}\
.grid{stroke:currentColor;stroke-opacity:.18}.line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}\
.line0{stroke:#0072b2}.line1{stroke:#d55e00}.line2{stroke:#009e73}\
@media(prefers-color-scheme:dark){svg{background:#16181c;color:#ddd}\
.line0{stroke:#56b4e9}.line1{stroke:#e69f00}.line2{stroke:#2fd6a3}}";

/// Text as it may stand in HTML and SVG, in attributes too.
pub fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, character| {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
        escaped
    })
}

/// One axis: what it shows, where it begins and ends, and what is written at which places.
#[derive(Clone, Debug)]
pub struct Axis {
    label: &'static str,
    logarithmic: bool,
    low: f64,
    high: f64,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From 0 to the next tick from `high` on.
    pub fn linear(label: &'static str, high: f64) -> Self {
        let high = if high > 0.0 && high.is_finite() { high } else { 1.0 };
        let decade = 10f64.powf((high / 6.0).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * decade).into_iter().find(|step| high / step <= 6.0);
        let step = step.unwrap_or(10.0 * decade);
        let count = (high / step).ceil();
        let ticks = (0..=count as u32).map(|tick| tick_at(f64::from(tick) * step)).collect();
        Self { label, logarithmic: false, low: 0.0, high: count * step, ticks }
    }

    /// From the tick before `low` to the next from `high` on, by powers of ten, and parts of them where these are few.
    pub fn logarithmic(label: &'static str, low: f64, high: f64) -> Self {
        let low = if low > 0.0 && low.is_finite() { low } else { 1.0 };
        let high = if high.is_finite() { high.max(low) } else { low };
        let factors: &[f64] = if high / low <= 1e3 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let decades = low.log10().floor() as i32..=high.log10().ceil() as i32 + 1;
        let places: Vec<f64> = decades.flat_map(|k| factors.iter().map(move |factor| factor * 10f64.powi(k))).collect();
        let first = places.iter().rposition(|place| *place <= low).unwrap_or(0);
        let last = places.iter().position(|place| *place >= high && *place > places[first]).unwrap_or(places.len() - 1);
        let ticks = places[first..=last].iter().map(|place| tick_at(*place)).collect();
        Self { label, logarithmic: true, low: places[first], high: places[last], ticks }
    }

    /// Percentiles up to that of the rarest of `count` values, spread as HdrHistogram does: at 1 / (1 - quantile).
    pub fn percentiles(count: u64) -> Self {
        let high = count.max(10) as f64;
        let nines = (1..=high.log10().floor() as i32).map(|nines| {
            let share = 100.0 - 100.0 * 10f64.powi(-nines);
            (10f64.powi(nines), format!("{share:.*} %", (nines - 2).max(0) as usize))
        });
        let ticks = [(1.0, "0 %".to_owned()), (2.0, "50 %".to_owned())].into_iter().chain(nines).collect();
        Self { label: "percentile", logarithmic: true, low: 1.0, high, ticks }
    }

    /// Where a value is between the axis' ends, 0 to 1.
    fn share(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        share.clamp(0.0, 1.0)
    }
}

/// A tick with its value, which is short where it is round.
fn tick_at(value: f64) -> (f64, String) {
    let text = match value {
        value if value >= 1e6 => format!("{} M", rounded(value / 1e6)),
        value if value >= 1e4 => format!("{} k", rounded(value / 1e3)),
        value => rounded(value),
    };
    (value, text)
}

fn rounded(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A line: its points from left to right, with gaps where there is nothing.
#[derive(Clone, Debug)]
pub struct Series {
    pub name: &'static str,
    pub points: Vec<Option<(f64, f64)>>,
}

/// A chart of lines, `SERIES_MAX` at most.
#[derive(Clone, Debug)]
pub struct Chart {
    pub title: &'static str,
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
}

impl Chart {
    /// The chart as an SVG element, which is a whole file as well.
    pub fn svg(&self) -> String {
        debug_assert!(self.series.len() <= SERIES_MAX, "{} lines", self.series.len());
        let title = escape(self.title);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"{title}\"><style>{STYLE}</style><text class=\"title\" x=\"{LEFT}\" y=\"22\">{title}</text>\n"
        );
        self.append_axes(&mut svg);
        let mut left = LEFT;
        for (number, series) in self.series.iter().enumerate() {
            self.append_line(&mut svg, number, series);
            let name = escape(series.name);
            let end = left + 22.0;
            append(&mut svg, format_args!("<path class=\"line line{number}\" d=\"M{left} 40H{end}\"/>"));
            append(&mut svg, format_args!("<text x=\"{}\" y=\"44\">{name}</text>\n", end + 6.0));
            left = end + 30.0 + 8.0 * series.name.len() as f64;
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn append_axes(&self, svg: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (value, text) in &self.x.ticks {
            let (x, text) = (self.x_of(*value), escape(text));
            append(svg, format_args!("<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/>"));
            append(
                svg,
                format_args!("<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>\n", bottom + 18.0),
            );
        }
        for (value, text) in &self.y.ticks {
            let (y, text) = (self.y_of(*value), escape(text));
            append(svg, format_args!("<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>"));
            append(
                svg,
                format_args!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>\n", LEFT - 8.0, y + 4.5),
            );
        }
        let (middle_x, middle_y) = ((LEFT + right) / 2.0, (TOP + bottom) / 2.0);
        append(svg, format_args!("<text x=\"{middle_x}\" y=\"{}\" text-anchor=\"middle\">", HEIGHT - 12.0));
        append(svg, format_args!("{}</text>\n", escape(self.x.label)));
        append(svg, format_args!("<text transform=\"translate(18 {middle_y}) rotate(-90)\" text-anchor=\"middle\">"));
        append(svg, format_args!("{}</text>\n", escape(self.y.label)));
    }

    fn append_line(&self, svg: &mut String, number: usize, series: &Series) {
        append(svg, format_args!("<path class=\"line line{number}\" d=\""));
        let mut drawing = false;
        for point in &series.points {
            if let Some((x, y)) = point {
                let (x, y) = (self.x_of(*x), self.y_of(*y));
                // A point alone is a dot: a line of no length with round ends.
                append(svg, format_args!("{}{x:.1} {y:.1}", if drawing { "L" } else { "M" }));
                svg.push_str(if drawing { "" } else { "h0" });
            }
            drawing = point.is_some();
        }
        svg.push_str("\"/>\n");
    }

    fn x_of(&self, value: f64) -> f64 {
        LEFT + self.x.share(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y_of(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.share(value) * (HEIGHT - TOP - BOTTOM)
    }
}

fn append(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    _ = text.write_fmt(arguments);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn ticks_are_round_and_enclose_the_values() {
        let cases: [(Axis, &[&str]); 9] = [
            (Axis::linear("", 5.0), &["0", "1", "2", "3", "4", "5"]),
            (Axis::linear("", 0.55), &["0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6"]),
            (Axis::linear("", 41_000.0), &["0", "10 k", "20 k", "30 k", "40 k", "50 k"]),
            (Axis::linear("", 0.0), &["0", "0.2", "0.4", "0.6", "0.8", "1"]),
            (Axis::logarithmic("", 3.0, 60.0), &["2", "5", "10", "20", "50", "100"]),
            (Axis::logarithmic("", 10.0, 10.0), &["10", "20"]),
            (Axis::logarithmic("", 0.7, 4e6), &["0.1", "1", "10", "100", "1000", "10 k", "100 k", "1 M", "10 M"]),
            (Axis::percentiles(0), &["0 %", "50 %", "90 %"]),
            (Axis::percentiles(123_456), &["0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"]),
        ];
        for (axis, expected) in cases {
            assert_eq!(texts(&axis), expected, "{axis:?}");
        }
    }

    #[test]
    fn values_are_within_the_plot_whatever_they_are() {
        for value in [-1.0, 0.0, 1.0, 1e300, f64::INFINITY] {
            for axis in [Axis::linear("", 5.0), Axis::logarithmic("", 1.0, 10.0), Axis::percentiles(100)] {
                assert!((0.0..=1.0).contains(&axis.share(value)), "{value} {axis:?}");
            }
        }
        for (low, high) in [(0.0, 0.0), (f64::NAN, f64::NAN), (1.0, f64::INFINITY)] {
            assert!(Axis::logarithmic("", low, high).ticks.len() > 1);
            assert!(Axis::linear("", high).ticks.len() > 1);
        }
    }

    #[test]
    fn lines_have_gaps_and_points_alone_are_dots() {
        let points = vec![Some((0.0, 0.0)), Some((1.0, 1.0)), None, Some((1.0, 0.0))];
        let series = vec![Series { name: "a<b", points }];
        let (x, y) = (Axis::linear("x", 1.0), Axis::linear("y", 1.0));
        let svg = Chart { title: "A & B", x, y, series }.svg();
        assert!(svg.contains("d=\"M84.0 268.0h0L876.0 56.0M876.0 268.0h0\""), "{svg}");
        assert!(svg.contains("a&lt;b</text>") && svg.contains("A &amp; B</text>"), "{svg}");
    }

    #[test]
    fn what_has_a_meaning_in_html_is_escaped() {
        assert_eq!(escape("<a href=\"x\">'&"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
    }
}
