//! Curves as SVG with logarithmic axes, so that proportional growth is a straight line of slope one. It is written by hand,
//! because a plotting library would be the largest dependency of the crate.

use serde::Serialize;

use crate::arithmetic::short;

/// A curve of growing cost.
#[derive(Clone, Debug, Serialize)]
pub struct Curve {
    /// Name of the file, without `.svg`.
    pub file: String,
    /// The title.
    pub title: String,
    /// The label of the horizontal axis.
    pub across: String,
    /// The label of the vertical axis.
    pub up: String,
    /// Names and points.
    pub series: Vec<(String, Vec<(f64, f64)>)>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 200.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 60.0;
const COLOURS: [&str; 4] = ["#1668b0", "#c4501b", "#3a8a3f", "#7a4fa3"];

/// A logarithmic axis over whole powers of ten.
struct Axis {
    first: f64,
    last: f64,
    start: f64,
    length: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>, start: f64, length: f64) -> Self {
        let (low, high) = values
            .filter(|v| *v > 0.0)
            .fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        let (first, last) = if low.is_finite() { (low.log10().floor(), high.log10().ceil()) } else { (0.0, 1.0) };
        Self { first, last: if last > first { last } else { first + 1.0 }, start, length }
    }

    fn place(&self, value: f64) -> f64 {
        self.start + self.length * (value.log10() - self.first) / (self.last - self.first)
    }

    fn marks(&self) -> impl Iterator<Item = f64> {
        let (first, last) = (self.first, self.last);
        std::iter::successors(Some(first), |power| Some(power + 1.0))
            .take_while(move |power| *power <= last)
            .map(|power| 10_f64.powf(power))
    }
}

impl Curve {
    /// Draws the curve.
    #[must_use]
    pub fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|(_, points)| points);
        let across = Axis::over(points().map(|p| p.0), LEFT, WIDTH - LEFT - RIGHT);
        let up = Axis::over(points().map(|p| p.1), HEIGHT - BOTTOM, -(HEIGHT - TOP - BOTTOM));
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
             <text x=\"{LEFT}\" y=\"24\" font-size=\"15\">{}</text>\n",
            escaped(&self.title)
        );
        for mark in across.marks() {
            let x = across.place(mark);
            svg.push_str(&format!(
                "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#dddddd\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
                bottom + 18.0,
                tick(mark)
            ));
        }
        for mark in up.marks() {
            let y = up.place(mark);
            svg.push_str(&format!(
                "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" stroke=\"#dddddd\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
                LEFT - 8.0,
                y + 4.0,
                tick(mark)
            ));
        }
        svg.push_str(&format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n\
             <text transform=\"translate(18 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
            (LEFT + right) / 2.0,
            HEIGHT - 16.0,
            escaped(&self.across),
            (TOP + bottom) / 2.0,
            escaped(&self.up)
        ));
        for (index, (name, points)) in self.series.iter().enumerate() {
            svg.push_str(&series(index, name, points, &across, &up));
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn series(index: usize, name: &str, points: &[(f64, f64)], across: &Axis, up: &Axis) -> String {
    let colour = COLOURS[index % COLOURS.len()];
    let places: Vec<String> =
        points.iter().map(|(x, y)| format!("{:.1},{:.1}", across.place(*x), up.place(*y))).collect();
    let mut svg =
        format!("<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>\n", places.join(" "));
    for (x, y) in points {
        let (left, top) = (across.place(*x), up.place(*y));
        svg.push_str(&format!(
            "<circle cx=\"{left:.1}\" cy=\"{top:.1}\" r=\"3.5\" fill=\"{colour}\"/>\
             <text x=\"{left:.1}\" y=\"{:.1}\" fill=\"{colour}\" text-anchor=\"middle\" font-size=\"11\">{}</text>\n",
            top - 8.0,
            short(*y)
        ));
    }
    let line = TOP + 20.0 * (index as f64 + 1.0);
    svg.push_str(&format!(
        "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"12\" height=\"12\" fill=\"{colour}\"/>\
         <text x=\"{:.1}\" y=\"{line:.1}\">{}</text>\n",
        WIDTH - RIGHT + 16.0,
        line - 10.0,
        WIDTH - RIGHT + 34.0,
        escaped(name)
    ));
    svg
}

fn tick(mark: f64) -> String {
    if mark < 1.0 { format!("{mark}") } else { short(mark).trim_end_matches(".00").trim_end_matches(".0").to_owned() }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenfold_value_lies_a_tenth_power_further() {
        let axis = Axis::over([100.0, 5_000.0].into_iter(), 0.0, 200.0);
        assert_eq!(axis.marks().collect::<Vec<_>>(), [100.0, 1_000.0, 10_000.0]);
        assert!((axis.place(1_000.0) - 100.0).abs() < 1e-9);
        assert!((axis.place(10_000.0) - 200.0).abs() < 1e-9);
    }

    #[test]
    fn every_point_is_drawn_and_text_is_escaped() {
        let curve = Curve {
            file: "arrears".into(),
            title: "a < b".into(),
            across: "lines".into(),
            up: "µs".into(),
            series: vec![("one & only".into(), vec![(1.0, 2.0), (10.0, 20.0)])],
        };
        let svg = curve.svg();
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(svg.contains("a &lt; b") && svg.contains("one &amp; only"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}
