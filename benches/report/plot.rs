//! The growth plot: small multiples over the size of the world, on a logarithmic axis.
//!
//! Input: series. Output: an SVG with colours for light and for dark pages, and a ground of its own for a viewer that knows
//! neither. Values begin at zero, so that what looks flat is flat.

use std::fmt::Write;

use crate::form::Series;

/// A part of the picture: the series whose names begin so.
struct Panel {
    title: &'static str,
    axis: &'static str,
    prefixes: &'static [&'static str],
}

const PANELS: [Panel; 6] = [
    Panel { title: "Event latency", axis: "endpoints", prefixes: &["event latency"] },
    Panel { title: "Full compile", axis: "endpoints", prefixes: &["full compile"] },
    Panel { title: "Rules in the kernel", axis: "endpoints", prefixes: &["rules"] },
    Panel { title: "New TCP connections", axis: "endpoints", prefixes: &["new connections"] },
    Panel { title: "First start", axis: "endpoints", prefixes: &["first start"] },
    Panel { title: "A NEW packet", axis: "classes or networks", prefixes: &["a NEW packet"] },
];

const COLUMNS: usize = 2;
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 270.0;
/// Between a panel's edge and its axes: left, right, top without the legend, bottom.
const LEFT: f64 = 66.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 46.0;
/// Height of a line of the legend.
const LEGEND: f64 = 17.0;
/// Classes of colours.
const COLOURS: usize = 5;

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#1f2328}\
    .title{font-size:14px;font-weight:600}\
    .ground{fill:#ffffff}.grid{stroke:#d8dee4;stroke-width:1}\
    .line{fill:none!important;stroke-width:2}\
    .s0{stroke:#0860ca;fill:#0860ca}.s1{stroke:#bc4c00;fill:#bc4c00}.s2{stroke:#1a7f37;fill:#1a7f37}\
    .s3{stroke:#8250df;fill:#8250df}.s4{stroke:#656d76;fill:#656d76}\
    @media (prefers-color-scheme:dark){text{fill:#e6edf3}.ground{fill:#0d1117}.grid{stroke:#30363d}\
    .s0{stroke:#58a6ff;fill:#58a6ff}.s1{stroke:#f0883e;fill:#f0883e}.s2{stroke:#3fb950;fill:#3fb950}\
    .s3{stroke:#bc8cff;fill:#bc8cff}.s4{stroke:#8b949e;fill:#8b949e}}";

/// Draws the panels for which there is anything; `None` if there is nothing at all.
pub(crate) fn draw(series: &[Series]) -> Option<String> {
    let of_panel = |panel: &Panel| {
        let begins = |series: &&Series| panel.prefixes.iter().any(|prefix| series.name.starts_with(prefix));
        series.iter().filter(begins).filter(|series| !series.points.is_empty()).collect::<Vec<_>>()
    };
    let panels: Vec<(&Panel, Vec<&Series>)> =
        PANELS.iter().map(|panel| (panel, of_panel(panel))).filter(|(_, series)| !series.is_empty()).collect();
    if panels.is_empty() {
        return None;
    }
    let (width, height) = (COLUMNS as f64 * WIDTH, panels.len().div_ceil(COLUMNS) as f64 * HEIGHT);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-label=\"Growth with the size of the world\">\n<style>{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>\n"
    );
    for (index, (panel, series)) in panels.iter().enumerate() {
        let (x, y) = ((index % COLUMNS) as f64 * WIDTH, (index / COLUMNS) as f64 * HEIGHT);
        write(&mut svg, format_args!("<g transform=\"translate({x} {y})\">\n"));
        Drawing::new(series).draw(&mut svg, panel);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

/// One panel's scales.
struct Drawing<'a> {
    series: &'a [&'a Series],
    /// Powers of ten of the axis: the first and the last.
    decades: (f64, f64),
    /// Distance of the values' lines, and how many there are above zero.
    step: f64,
    steps: usize,
    top: f64,
}

impl<'a> Drawing<'a> {
    fn new(series: &'a [&'a Series]) -> Drawing<'a> {
        let points = || series.iter().flat_map(|series| &series.points);
        let least = points().map(|(x, _)| x.log10()).fold(f64::INFINITY, f64::min).floor();
        let most = points().map(|(x, _)| x.log10()).fold(least + 1.0, f64::max).ceil();
        let step = nice(points().map(|(_, y)| *y).fold(0.0, f64::max) / 4.0);
        let highest = points().map(|(_, y)| (y / step).ceil()).fold(1.0, f64::max);
        let steps = (1..=8).find(|steps| *steps as f64 >= highest).unwrap_or(8);
        let legend = if series.len() > 1 { LEGEND * series.len() as f64 } else { 0.0 };
        Drawing { series, decades: (least, most), step, steps, top: TOP + legend }
    }

    fn x(&self, value: f64) -> f64 {
        let (least, most) = self.decades;
        LEFT + (WIDTH - LEFT - RIGHT) * (value.log10() - least) / (most - least)
    }

    fn y(&self, value: f64) -> f64 {
        let bottom = HEIGHT - BOTTOM;
        bottom - (bottom - self.top) * value / (self.step * self.steps as f64)
    }

    fn draw(&self, svg: &mut String, panel: &Panel) {
        let unit = &self.series[0].unit;
        let unit = if unit.is_empty() { String::new() } else { format!(" ({unit})") };
        write(svg, format_args!("<text class=\"title\" x=\"{LEFT}\" y=\"24\">{}{unit}</text>\n", panel.title));
        for step in 0..=self.steps {
            let value = self.step * step as f64;
            let (y, right) = (self.y(value), WIDTH - RIGHT);
            write(svg, format_args!("<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>\n"));
            let (x, y) = (LEFT - 8.0, y + 4.0);
            write(svg, format_args!("<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{}</text>\n", number(value)));
        }
        let mut decade = self.decades.0;
        while decade <= self.decades.1 {
            let (x, y) = (self.x(10_f64.powf(decade)), HEIGHT - BOTTOM + 18.0);
            let label = number(10_f64.powf(decade));
            write(svg, format_args!("<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{label}</text>\n"));
            decade += 1.0;
        }
        let (x, y) = ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - BOTTOM + 36.0);
        write(svg, format_args!("<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{}</text>\n", panel.axis));
        for (index, series) in self.series.iter().enumerate() {
            self.draw_series(svg, series, index);
        }
    }

    fn draw_series(&self, svg: &mut String, series: &Series, index: usize) {
        let colour = index % COLOURS;
        // Of a single series, the panel's title says what it is.
        if self.series.len() > 1 {
            let (text, y) = (LEFT + 16.0, TOP + LEGEND * index as f64);
            write(svg, format_args!("<circle class=\"s{colour}\" cx=\"{}\" cy=\"{y}\" r=\"4\"/>\n", LEFT + 4.0));
            write(svg, format_args!("<text x=\"{text}\" y=\"{}\">{}</text>\n", y + 4.0, escaped(&series.name)));
        }
        let points: Vec<String> =
            series.points.iter().map(|(x, y)| format!("{:.1},{:.1}", self.x(*x), self.y(*y))).collect();
        write(svg, format_args!("<polyline class=\"line s{colour}\" points=\"{}\"/>\n", points.join(" ")));
        for (x, y) in &series.points {
            let title = format!("{}: {}", number(*x), number(*y));
            write(
                svg,
                format_args!(
                    "<circle class=\"s{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"><title>{title}</title></circle>\n",
                    self.x(*x),
                    self.y(*y)
                ),
            );
        }
    }
}

fn write(svg: &mut String, part: std::fmt::Arguments<'_>) {
    svg.write_fmt(part).expect("a String takes everything");
}

/// The next of 1, 2, 5, 10, 20, ...
fn nice(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let decade = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|part| part * decade).into_iter().find(|nice| *nice >= value).unwrap_or(10.0 * decade)
}

/// With as many digits as tell something, and commas between thousands.
fn number(value: f64) -> String {
    if value > 0.0 && value < 10.0 && value.fract().abs() > 1e-9 {
        let text = format!("{value:.2}");
        return text.trim_end_matches('0').to_owned();
    }
    let digits = format!("{value:.0}");
    let groups = digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group).into_owned());
    groups.collect::<Vec<_>>().join(",")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
