//! The throughput of drains over time, as an SVG written by hand.

use std::fmt::Write;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 450.0;
/// Where the axes are.
const LEFT: f64 = 90.0;
const RIGHT: f64 = 840.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 360.0;

/// Commits come in steps, a batch each: a rate is that of half a second around its time.
const WINDOW: f64 = 0.5;
const STEP: f64 = 0.1;

/// Told apart also by those who don't see red and green.
const COLORS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"];

/// From the times and sums of records of each drain.
pub fn throughput(drains: &[Vec<(f64, u64)>]) -> String {
    let lines: Vec<Vec<(f64, f64)>> = drains.iter().map(|progress| rates(progress)).collect();
    let points = || lines.iter().flatten();
    let longest = points().map(|(at, _)| *at).fold(1.0, f64::max);
    let fastest = points().map(|(_, rate)| *rate).fold(1.0, f64::max);
    let (step_x, step_y) = (tick(longest), tick(fastest));
    let scale = Scale { x: (longest / step_x).ceil() * step_x, y: (fastest / step_y).ceil() * step_y };

    let mut svg = String::new();
    let _ = writeln!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13" fill="#222">
<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>
<text x="{LEFT}" y="28" font-size="16">Records committed a second while a backlog is drained</text>"##
    );
    draw_axes(&mut svg, scale, step_x, step_y);
    for (index, line) in lines.iter().enumerate() {
        draw_line(&mut svg, scale, line, index);
    }
    svg.push_str("</svg>\n");
    svg
}

/// The values at the ends of the axes.
#[derive(Clone, Copy)]
struct Scale {
    x: f64,
    y: f64,
}

impl Scale {
    fn x(self, seconds: f64) -> f64 {
        LEFT + seconds / self.x * (RIGHT - LEFT)
    }

    fn y(self, rate: f64) -> f64 {
        BOTTOM - rate / self.y * (BOTTOM - TOP)
    }
}

/// A round number that divides the axis into four to ten parts.
fn tick(most: f64) -> f64 {
    let power = 10_f64.powf(most.log10().floor());
    [0.1, 0.2, 0.5, 1.0].into_iter().map(|part| part * power).find(|tick| most / tick <= 10.0).unwrap_or(power)
}

fn draw_axes(svg: &mut String, scale: Scale, step_x: f64, step_y: f64) {
    for index in 0..=count(scale.y, step_y) {
        let (rate, y) = (f64::from(index) * step_y, scale.y(f64::from(index) * step_y));
        let _ = writeln!(svg, r##"<line x1="{LEFT}" y1="{y:.1}" x2="{RIGHT}" y2="{y:.1}" stroke="#ddd"/>"##);
        let _ = writeln!(
            svg,
            r#"<text x="{}" y="{:.1}" text-anchor="end">{}</text>"#,
            LEFT - 8.0,
            y + 4.0,
            thousands(rate)
        );
    }
    for index in 0..=count(scale.x, step_x) {
        let (seconds, x) = (f64::from(index) * step_x, scale.x(f64::from(index) * step_x));
        let _ = writeln!(svg, r##"<line x1="{x:.1}" y1="{BOTTOM}" x2="{x:.1}" y2="{}" stroke="#222"/>"##, BOTTOM + 5.0);
        let digits = usize::from(step_x < 1.0);
        let _ =
            writeln!(svg, r#"<text x="{x:.1}" y="{}" text-anchor="middle">{seconds:.digits$}</text>"#, BOTTOM + 20.0);
    }
    let middle = f64::midpoint(TOP, BOTTOM);
    let _ = writeln!(
        svg,
        r##"<polyline points="{LEFT},{TOP} {LEFT},{BOTTOM} {RIGHT},{BOTTOM}" fill="none" stroke="#222"/>
<text x="{}" y="{}" text-anchor="middle">seconds since the first record was read</text>
<text x="16" y="{middle}" text-anchor="middle" transform="rotate(-90 16 {middle})">records/s, over {WINDOW} s</text>"##,
        f64::midpoint(LEFT, RIGHT),
        BOTTOM + 44.0,
    );
}

fn count(end: f64, step: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most ten")]
    let count = (end / step).round() as u32;
    count
}

/// Rates at the axis are whole thousands, unless nearly nothing was drained.
fn thousands(rate: f64) -> String {
    if rate >= 1_000.0 {
        format!("{:.0},{:03.0}", (rate / 1_000.0).floor(), rate % 1_000.0)
    } else {
        format!("{rate:.0}")
    }
}

fn draw_line(svg: &mut String, scale: Scale, line: &[(f64, f64)], index: usize) {
    let color = COLORS[index % COLORS.len()];
    let points: Vec<String> =
        line.iter().map(|(at, rate)| format!("{:.1},{:.1}", scale.x(*at), scale.y(*rate))).collect();
    let _ = writeln!(
        svg,
        r#"<polyline points="{}" fill="none" stroke="{color}" stroke-width="2" stroke-linejoin="round"/>"#,
        points.join(" ")
    );
    let x = LEFT + 90.0 * (index % 8) as f64;
    let y = BOTTOM + 70.0;
    let _ = writeln!(svg, r#"<rect x="{x}" y="{}" width="14" height="4" fill="{color}"/>"#, y - 6.0);
    let _ = writeln!(svg, r#"<text x="{}" y="{y}">drain {}</text>"#, x + 20.0, index + 1);
}

/// The rate at equal distances, each over the window around it, as far as the drain lasts.
fn rates(progress: &[(f64, u64)]) -> Vec<(f64, f64)> {
    let Some(total) = progress.last().map(|(_, sum)| *sum) else { return Vec::new() };
    let end = progress.iter().find(|(_, sum)| *sum == total).map_or(0.0, |(at, _)| *at);
    let mut rates = Vec::new();
    let mut at = 0.0;
    while at <= end {
        let (from, to) = ((at - WINDOW / 2.0).max(0.0), (at + WINDOW / 2.0).min(end));
        rates.push((at, (sum_at(progress, to) - sum_at(progress, from)) / (to - from).max(STEP)));
        at += STEP;
    }
    rates
}

/// Between two looks, as if commits were even.
fn sum_at(progress: &[(f64, u64)], at: f64) -> f64 {
    let next = progress.partition_point(|(seen, _)| *seen < at);
    let point = |index: usize| progress.get(index).map(|(at, sum)| (*at, *sum as f64));
    match (next.checked_sub(1).and_then(point), point(next)) {
        (Some((t0, s0)), Some((t1, s1))) if t1 > t0 => s0 + (s1 - s0) * (at - t0) / (t1 - t0),
        (_, Some((_, sum))) | (Some((_, sum)), None) => sum,
        (None, None) => 0.0,
    }
}
