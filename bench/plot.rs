//! The throughput as a picture: bars of MB/s, for each QoS the daemon beside the ceiling.

use std::fmt::Write as _;

use super::report::shown;
use super::sample::Sample;
use super::throughput::{SIZE, Throughput};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 440.0;
/// The positions of the axes.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 700.0;
const TOP: f64 = 70.0;
const BOTTOM: f64 = 370.0;
/// Width of a bar.
const BAR: f64 = 48.0;
/// Half the width of the end of a whisker.
const CAP: f64 = 6.0;
/// Most horizontal lines.
const LINES: f64 = 8.0;
/// The bars in order, and their colours (Okabe and Ito: safe for colour-blind readers).
const BARS: [(&str, &str); 3] = [
    ("ceiling: a bare publisher", "#999999"),
    ("daemon, module in store", "#0072b2"),
    ("daemon, from registry", "#e69f00"),
];

/// Returns the picture in SVG.
pub fn svg(throughputs: &[Throughput]) -> String {
    let highest = throughputs.iter().flat_map(bars).map(|sample| sample.range().1).fold(1.0, f64::max);
    let scale = Scale { step: step(highest / LINES), highest };
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">"#
    );
    let title = format!("Delivering a module of {} MB through mosquitto", SIZE / 1_000_000);
    rectangle(&mut svg, (0.0, 0.0), (WIDTH, HEIGHT), "white");
    text(&mut svg, (LEFT, 26.0), r#"font-size="17""#, &title);
    text(&mut svg, (LEFT, 46.0), "", &sentence(throughputs));
    axes(&mut svg, &scale);
    legend(&mut svg);
    #[allow(clippy::cast_precision_loss, reason = "three groups")]
    let width = (RIGHT - LEFT) / throughputs.len() as f64;
    let mut middle = LEFT + width / 2.0;
    for throughput in throughputs {
        let mut left = middle - BAR * 1.5;
        for (sample, (_, colour)) in bars(throughput).into_iter().zip(BARS) {
            bar(&mut svg, &scale, left, sample, colour);
            left += BAR;
        }
        text(&mut svg, (middle, BOTTOM + 20.0), CENTRED, &format!("QoS {}", throughput.qos));
        middle += width;
    }
    svg.push_str("</svg>\n");
    svg
}

const CENTRED: &str = r#"text-anchor="middle""#;

fn bars(throughput: &Throughput) -> [&Sample; 3] {
    [&throughput.ceiling, &throughput.warm, &throughput.cold]
}

/// The result in one sentence.
fn sentence(throughputs: &[Throughput]) -> String {
    let ratios = throughputs.iter().map(|throughput| throughput.warm.median() / throughput.ceiling.median());
    let (least, greatest) = Sample::of(ratios).range();
    format!(
        "From its store, the daemon delivers at {} to {} of the speed of a bare publisher.",
        shown(least),
        shown(greatest)
    )
}

struct Scale {
    /// Distance of two horizontal lines, MB/s.
    step: f64,
    highest: f64,
}

impl Scale {
    fn top(&self) -> f64 {
        (self.highest / self.step).ceil() * self.step
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * value / self.top()
    }
}

/// Returns the next round number from `least` on: 1, 2 or 5 with zeros.
fn step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power).into_iter().find(|step| *step >= least).unwrap_or(least)
}

fn axes(svg: &mut String, scale: &Scale) {
    let mut value = 0.0;
    while value <= scale.top() {
        let y = scale.y(value);
        line(svg, (LEFT, y), (RIGHT, y), if value == 0.0 { "black" } else { "#dddddd" });
        text(svg, (LEFT - 8.0, y + 4.0), r#"text-anchor="end""#, &shown(value));
        value += scale.step;
    }
    let middle = f64::midpoint(TOP, BOTTOM);
    let upright = format!(r#"{CENTRED} transform="rotate(-90 20 {middle})""#);
    text(svg, (20.0, middle), &upright, "MB of module per second");
}

fn legend(svg: &mut String) {
    let mut left = LEFT;
    for (name, colour) in BARS {
        rectangle(svg, (left, BOTTOM + 38.0), (12.0, 12.0), colour);
        text(svg, (left + 18.0, BOTTOM + 49.0), "", name);
        left += 195.0;
    }
    text(
        svg,
        (RIGHT, BOTTOM + 66.0),
        r##"text-anchor="end" font-size="11" fill="#555555""##,
        "bars: medians; whiskers: least and greatest",
    );
}

/// Draws the median, and the range around it.
fn bar(svg: &mut String, scale: &Scale, left: f64, sample: &Sample, colour: &str) {
    let (median, (least, greatest), middle) = (sample.median(), sample.range(), left + BAR / 2.0);
    let (high, low) = (scale.y(greatest), scale.y(least));
    rectangle(svg, (left + 2.0, scale.y(median)), (BAR - 4.0, BOTTOM - scale.y(median)), colour);
    line(svg, (middle, high), (middle, low), "black");
    for y in [high, low] {
        line(svg, (middle - CAP, y), (middle + CAP, y), "black");
    }
    text(svg, (middle, BOTTOM - 6.0), &format!(r#"{CENTRED} fill="white""#), &shown(median));
}

fn rectangle(svg: &mut String, (x, y): (f64, f64), (width, height): (f64, f64), colour: &str) {
    // Writing to a string cannot fail; so below.
    let _ = write!(svg, r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="{colour}"/>"#);
}

fn line(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64), colour: &str) {
    let _ = write!(svg, r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{colour}"/>"#);
}

fn text(svg: &mut String, (x, y): (f64, f64), attributes: &str, text: &str) {
    let _ = write!(svg, r#"<text x="{x:.1}" y="{y:.1}" {attributes}>{text}</text>"#);
}
