//! Plots as SVG, written here: lines over a linear, logarithmic or named axis, and stacked bars.
//!
//! No plotting library is worth its dependencies for four plots. Every text that comes from outside is escaped.

use std::fmt::Write as _;

use super::{Curve, Report};

mod axis;

use axis::{Axis, Scale};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 200.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;
/// Told apart also by people who do not see all colours (Okabe and Ito's set).
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#666666", "#000000"];

/// How a plot is drawn.
struct Style {
    name: &'static str,
    title: &'static str,
    x: &'static str,
    y: &'static str,
    x_scale: Scale,
    y_scale: Scale,
}

const STYLES: [Style; 6] = [
    Style {
        name: "rate_by_size",
        title: "Frames a second between two pods, by frame size",
        x: "bytes a frame",
        y: "million frames/s received",
        x_scale: Scale::Named,
        y_scale: Scale::Linear,
    },
    Style {
        name: "rate_by_flows",
        title: "64-byte frames a second between two pods, by flows",
        x: "flows",
        y: "million frames/s received",
        x_scale: Scale::Log,
        y_scale: Scale::Linear,
    },
    Style {
        name: "rate_by_macs",
        title: "64-byte frames a second between two pods, by MAC addresses",
        x: "MAC addresses",
        y: "million frames/s received",
        x_scale: Scale::Log,
        y_scale: Scale::Linear,
    },
    Style {
        name: "latency",
        title: "Latency of 64-byte frames",
        x: "percentile",
        y: "microseconds",
        x_scale: Scale::Percentile,
        y_scale: Scale::Log,
    },
    Style {
        name: "cycles_by_ports",
        title: "Busy cycles a frame, by ports in use",
        x: "ports",
        y: "cycles a frame",
        x_scale: Scale::Log,
        y_scale: Scale::Linear,
    },
    Style {
        name: "rate_by_chain",
        title: "Frame hops a second through a chain of pods",
        x: "pods that forward",
        y: "million hops/s",
        x_scale: Scale::Named,
        y_scale: Scale::Linear,
    },
];

/// Name of the plot of stages, whose curves are one a stage.
pub const STAGES: &str = "cycles_by_stage";

/// All plots that there is something to draw for: name and content.
#[must_use]
pub fn plots(report: &Report) -> Vec<(String, String)> {
    let of = |name: &str| -> Vec<&Curve> {
        report.curves.iter().filter(|curve| curve.plot == name && !curve.points.is_empty()).collect()
    };
    let mut plots: Vec<(String, String)> = STYLES
        .iter()
        .map(|style| (style, of(style.name)))
        .filter(|(_, curves)| !curves.is_empty())
        .map(|(style, curves)| (style.name.to_owned(), lines(style, &curves)))
        .collect();
    let stages = of(STAGES);
    if !stages.is_empty() {
        plots.push((STAGES.into(), bars(&stages)));
    }
    plots
}

fn lines(style: &Style, curves: &[&Curve]) -> String {
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let x = Axis::new(style.x_scale, all().map(|point| point.0), LEFT, WIDTH - RIGHT);
    let y = Axis::new(style.y_scale, all().map(|point| point.1), HEIGHT - BOTTOM, TOP);
    let mut svg = frame(style.title, style.x, style.y);
    grid(&mut svg, &x, &y);
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let place = |(at, value): &(f64, f64)| (x.place(*at), y.place(*value));
        let mut points: Vec<(f64, f64)> = curve.points.iter().map(place).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            svg,
            r#"<polyline fill="none" stroke="{colour}" stroke-width="2" points="{}"/>"#,
            path.join(" ")
        );
        for (x, y) in points {
            let _ = writeln!(svg, r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"/>"#);
        }
    }
    legend(&mut svg, curves);
    svg + "</svg>\n"
}

/// Stacked bars: a curve is a stage, the first one lowest, and its x names the bar.
fn bars(stages: &[&Curve]) -> String {
    let mut bars: Vec<f64> =
        stages.iter().flat_map(|stage| stage.points.iter().map(|point| point.0)).collect();
    bars.sort_by(f64::total_cmp);
    bars.dedup();
    let height = |bar: f64| -> f64 { stages.iter().map(|stage| value_at(stage, bar)).sum() };
    let y = Axis::new(Scale::Linear, bars.iter().map(|bar| height(*bar)), HEIGHT - BOTTOM, TOP);
    let x = Axis::new(Scale::Named, bars.iter().copied(), LEFT, WIDTH - RIGHT);
    let mut svg = frame("Where podswitch's cycles go", "bytes a frame", "busy cycles a frame");
    grid(&mut svg, &x, &y);
    let width = (WIDTH - RIGHT - LEFT) / bars.len() as f64 * 0.6;
    for bar in &bars {
        let mut below = 0.0;
        for (stage, colour) in stages.iter().zip(COLOURS.iter().cycle()) {
            let value = value_at(stage, *bar);
            let (top, bottom) = (y.place(below + value), y.place(below));
            let (left, height) = (x.place(*bar) - width / 2.0, bottom - top);
            let _ = writeln!(
                svg,
                r#"<rect x="{left:.1}" y="{top:.1}" width="{width:.1}" height="{height:.1}" fill="{colour}"/>"#
            );
            below += value;
        }
    }
    legend(&mut svg, stages);
    svg + "</svg>\n"
}

fn value_at(curve: &Curve, x: f64) -> f64 {
    curve.points.iter().filter(|point| point.0 == x).map(|point| point.1).sum()
}

fn frame(title: &str, x: &str, y: &str) -> String {
    let (middle_x, middle_y) = (f64::midpoint(LEFT, WIDTH - RIGHT), f64::midpoint(TOP, HEIGHT - BOTTOM));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let _ = writeln!(svg, r#"<text x="{LEFT}" y="28" font-size="16">{}</text>"#, escape(title));
    let bottom = HEIGHT - 16.0;
    let _ = writeln!(svg, r#"<text x="{middle_x}" y="{bottom}" text-anchor="middle">{}</text>"#, escape(x));
    let _ = writeln!(
        svg,
        r#"<text transform="translate(20 {middle_y}) rotate(-90)" text-anchor="middle">{}</text>"#,
        escape(y)
    );
    svg
}

fn grid(svg: &mut String, x: &Axis, y: &Axis) {
    let (right, low) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for (value, label) in y.ticks() {
        let at = y.place(value);
        let _ = writeln!(svg, r##"<path d="M{LEFT} {at:.1}H{right}" stroke="#dddddd"/>"##);
        let (left, down) = (LEFT - 8.0, at + 4.0);
        let _ = writeln!(svg, r#"<text x="{left}" y="{down:.1}" text-anchor="end">{label}</text>"#);
    }
    for (value, label) in x.ticks() {
        let (at, down) = (x.place(value), low + 18.0);
        let _ = writeln!(svg, r##"<path d="M{at:.1} {TOP}V{low}" stroke="#eeeeee"/>"##);
        let _ = writeln!(svg, r#"<text x="{at:.1}" y="{down}" text-anchor="middle">{label}</text>"#);
    }
    let _ = writeln!(svg, r#"<path d="M{LEFT} {TOP}V{low}H{right}" fill="none" stroke="black"/>"#);
}

fn legend(svg: &mut String, curves: &[&Curve]) {
    for ((row, curve), colour) in curves.iter().enumerate().zip(COLOURS.iter().cycle()) {
        let (left, at) = (WIDTH - RIGHT + 16.0, TOP + 18.0 * row as f64);
        let (text, down) = (left + 20.0, at + 9.0);
        let _ = writeln!(svg, r#"<rect x="{left}" y="{at}" width="12" height="10" fill="{colour}"/>"#);
        let _ = writeln!(svg, r#"<text x="{text}" y="{down}">{}</text>"#, escape(&curve.name));
    }
}

fn escape(text: &str) -> String {
    let visible = text.chars().filter(|c| !c.is_control());
    visible.fold(String::new(), |mut out, c| {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            c => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests;
