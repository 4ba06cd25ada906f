//! Line charts as SVG, written by hand: numbers go in, text comes out.

use std::fmt::Write;

const WIDTH: f64 = 760.0;
/// Of one panel, its margins included.
const HEIGHT: f64 = 300.0;
const HEAD: f64 = 40.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 170.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 50.0;

/// Panels one below the other over the same horizontal axis.
#[derive(Debug, Clone)]
pub struct Chart {
    pub title: String,
    pub x_label: String,
    pub panels: Vec<Panel>,
}

/// Lines over a common vertical axis from 0.
#[derive(Debug, Clone)]
pub struct Panel {
    pub y_label: String,
    pub lines: Vec<Line>,
}

/// Points in the order in which they are connected.
#[derive(Debug, Clone)]
pub struct Line {
    pub name: String,
    pub colour: &'static str,
    /// Dashed and without dots: a limit or a comparison, nothing measured.
    pub is_guide: bool,
    pub points: Vec<(f64, f64)>,
}

/// The picture. Points that are not finite or below 0 are left out.
pub fn svg(chart: &Chart) -> String {
    let height = HEAD + HEIGHT * chart.panels.len() as f64;
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"25\" font-size=\"15\">{}</text>\n",
        escaped(&chart.title)
    );
    let every = |panel: &Panel| panel.lines.iter().flat_map(Line::drawn).collect::<Vec<_>>();
    let right = chart.panels.iter().flat_map(every).map(|(x, _)| x).fold(0.0, f64::max);
    for (index, panel) in chart.panels.iter().enumerate() {
        let highest = every(panel).into_iter().map(|(_, y)| y).fold(0.0, f64::max);
        let frame = Frame {
            top: HEAD + HEIGHT * index as f64 + TOP,
            x: Axis::up_to(right),
            y: Axis::up_to(highest),
        };
        frame.draw(&mut out, panel, &chart.x_label);
    }
    out.push_str("</svg>\n");
    out
}

impl Line {
    fn drawn(&self) -> impl Iterator<Item = (f64, f64)> {
        let is_in = |value: f64| value.is_finite() && value >= 0.0;
        self.points.iter().copied().filter(move |&(x, y)| is_in(x) && is_in(y))
    }
}

/// From 0 to `end`, with a mark at each `step`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Axis {
    step: f64,
    end: f64,
}

impl Axis {
    /// Marks at 1, 2 or 5 times a power of ten: four to ten of them.
    fn up_to(greatest: f64) -> Self {
        let greatest = if greatest > 0.0 { greatest } else { 1.0 };
        let power = 10f64.powf(greatest.log10().floor());
        let units = greatest / power;
        let step = power
            * match units {
                ..2.0 => 0.2,
                2.0..5.0 => 0.5,
                _ => 1.0,
            };
        // A greatest value on a mark needs no further one, whatever the rounding.
        let end = ((greatest / step - 1e-9).ceil() * step).max(step);
        Self { step, end }
    }

    fn marks(self) -> impl Iterator<Item = f64> {
        (0..=(self.end / self.step).round() as u32).map(move |index| f64::from(index) * self.step)
    }

    fn label(self, mark: f64) -> String {
        let digits = (-self.step.log10().floor()).max(0.0) as usize;
        format!("{mark:.digits$}")
    }
}

/// Where a panel's lines go.
#[derive(Debug)]
struct Frame {
    top: f64,
    x: Axis,
    y: Axis,
}

impl Frame {
    fn bottom(&self) -> f64 {
        self.top + HEIGHT - TOP - BOTTOM
    }

    fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let across = LEFT + x / self.x.end * (WIDTH - LEFT - RIGHT);
        (across, self.bottom() - y / self.y.end * (self.bottom() - self.top))
    }

    fn draw(&self, out: &mut String, panel: &Panel, x_label: &str) {
        let (bottom, right) = (self.bottom(), WIDTH - RIGHT);
        for mark in self.y.marks() {
            let (_, y) = self.place((0.0, mark));
            let _ = write!(
                out,
                "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\n\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
                LEFT - 6.0,
                y + 4.0,
                self.y.label(mark)
            );
        }
        for mark in self.x.marks() {
            let (x, _) = self.place((mark, 0.0));
            let _ = write!(
                out,
                "<line x1=\"{x:.1}\" y1=\"{bottom:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\" \
                 stroke=\"black\"/>\n\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
                bottom + 5.0,
                bottom + 18.0,
                self.x.label(mark)
            );
        }
        let (middle, centre) = ((LEFT + right) / 2.0, (self.top + bottom) / 2.0);
        let _ = write!(
            out,
            "<path d=\"M{LEFT} {:.1}V{bottom:.1}H{right}\" fill=\"none\" stroke=\"black\"/>\n\
             <text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n\
             <text x=\"18\" y=\"{centre:.1}\" text-anchor=\"middle\" \
             transform=\"rotate(-90 18 {centre:.1})\">{}</text>\n",
            self.top,
            bottom + 36.0,
            escaped(x_label),
            escaped(&panel.y_label)
        );
        for (index, line) in panel.lines.iter().enumerate() {
            self.draw_line(out, line, self.top + 8.0 + 18.0 * index as f64);
        }
    }

    fn draw_line(&self, out: &mut String, line: &Line, legend: f64) {
        let Line { colour, is_guide, .. } = *line;
        let dashes = if is_guide { " stroke-dasharray=\"5 4\"" } else { "" };
        let places: Vec<(f64, f64)> = line.drawn().map(|point| self.place(point)).collect();
        let points: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let (from, to) = (WIDTH - RIGHT + 12.0, WIDTH - RIGHT + 34.0);
        let _ = write!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>\n\
             <line x1=\"{from}\" y1=\"{legend:.1}\" x2=\"{to}\" y2=\"{legend:.1}\" \
             stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
            points.join(" "),
            to + 6.0,
            legend + 4.0,
            escaped(&line.name)
        );
        if !is_guide {
            for (x, y) in places {
                let _ = writeln!(
                    out,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"
                );
            }
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> Chart {
        let line = |name: &str, is_guide, points: &[(f64, f64)]| Line {
            name: name.to_owned(),
            colour: "#1f77b4",
            is_guide,
            points: points.to_vec(),
        };
        let measured = [(100.0, 99.0), (200.0, 180.0), (600.0, 175.0), (700.0, f64::NAN)];
        Chart {
            title: "a < b & c".to_owned(),
            x_label: "offered".to_owned(),
            panels: vec![
                Panel {
                    y_label: "goodput".to_owned(),
                    lines: vec![line("goodput", false, &measured)],
                },
                Panel {
                    y_label: "ms".to_owned(),
                    lines: vec![line("limit", true, &[(0.0, 200.0), (600.0, 200.0)])],
                },
            ],
        }
    }

    #[test]
    fn axes_end_at_or_just_above_the_greatest_value() {
        for (greatest, step, end) in
            [(180.0, 20.0, 180.0), (600.0, 100.0, 600.0), (0.31, 0.05, 0.35), (0.0, 0.2, 1.0)]
        {
            let axis = Axis::up_to(greatest);
            assert!((axis.step - step).abs() < 1e-9 && (axis.end - end).abs() < 1e-9, "{axis:?}");
            assert!((4..=11).contains(&axis.marks().count()), "{axis:?}");
        }
        let axis = Axis::up_to(0.31);
        assert_eq!(axis.label(axis.step), "0.05");
        assert_eq!(Axis::up_to(600.0).label(100.0), "100");
    }

    #[test]
    fn the_picture_is_whole_and_within_its_frame() {
        let svg = svg(&chart());
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("a &lt; b &amp; c") && !svg.contains("NaN"));
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert_eq!(svg.matches("<circle").count(), 3, "measured points only, those with a place");
        for tag in ["svg", "text"] {
            let (opened, closed) = (format!("<{tag} "), format!("</{tag}>"));
            assert_eq!(svg.matches(&opened).count(), svg.matches(&closed).count(), "{tag}");
        }
        let height = HEAD + 2.0 * HEIGHT;
        for (name, limit) in [("cx", WIDTH), ("cy", height), ("x", WIDTH), ("y2", height)] {
            for piece in svg.split(&format!(" {name}=\"")).skip(1) {
                let value: f64 = piece.split('"').next().unwrap().parse().unwrap();
                assert!((0.0..=limit).contains(&value), "{name} {value}");
            }
        }
        // More is higher: smaller in the picture's coordinates.
        let frame = Frame { top: 0.0, x: Axis::up_to(600.0), y: Axis::up_to(200.0) };
        let (low, high) = (frame.place((100.0, 50.0)), frame.place((200.0, 150.0)));
        assert!(low.0 < high.0 && low.1 > high.1);
    }
}
