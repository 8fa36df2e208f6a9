use super::*;
use crate::machine::Machine;

fn curve(plot: &str, name: &str, points: &[(f64, f64)]) -> Curve {
    Curve { plot: plot.into(), name: name.into(), points: points.to_vec() }
}

fn report() -> Report {
    let mut report = Report::new(Machine::default(), "t".into());
    report.curves = vec![
        curve("rate_by_size", "podswitch", &[(64.0, 12.0), (0.0, 7.0), (1518.0, 5.0)]),
        curve("rate_by_size", "a <b> & \"c\"\u{7}", &[(64.0, 8.0)]),
        curve("rate_by_flows", "podswitch", &[(1.0, 12.0), (1e6, 11.0)]),
        curve("latency", "podswitch, 50 %", &[(50.0, 4.0), (99.99, 80.0)]),
        curve("latency", "never measured", &[]),
        curve(STAGES, "take", &[(64.0, 20.0), (1500.0, 21.0)]),
        curve(STAGES, "emit", &[(64.0, 50.0), (1500.0, 300.0)]),
    ];
    report
}

/// A strict enough reader: every element closed in order, attributes quoted, no stray characters.
fn check(svg: &str) -> usize {
    let (mut open, mut elements, mut rest) = (Vec::new(), 0, svg);
    while let Some(at) = rest.find('<') {
        let text = &rest[..at];
        assert!(!text.contains('>'), "a stray > in {text:?}");
        for (place, _) in text.match_indices('&') {
            let entity = &text[place..];
            assert!(["&amp;", "&lt;", "&gt;", "&quot;"].iter().any(|e| entity.starts_with(e)), "{entity:?}");
        }
        let end = at + rest[at..].find('>').expect("an element ends");
        let element = &rest[at + 1..end];
        assert!(!element.contains('<'), "{element:?}");
        assert_eq!(element.matches('"').count() % 2, 0, "{element:?}");
        elements += 1;
        match element.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "{element:?}"),
            None if element.ends_with('/') => {}
            None => open.push(element.split_whitespace().next().unwrap()),
        }
        rest = &rest[end + 1..];
    }
    assert_eq!(open, [""; 0]);
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    assert!(!svg.chars().any(|c| c.is_control() && c != '\n'));
    elements
}

#[test]
fn every_plot_is_well_formed() {
    let plots = plots(&report());
    let names: Vec<&str> = plots.iter().map(|plot| plot.0.as_str()).collect();
    assert_eq!(names, ["rate_by_size", "rate_by_flows", "latency", STAGES]);
    for (name, svg) in &plots {
        assert!(svg.starts_with("<svg xmlns="), "{name}");
        assert!(check(svg) > 20, "{name}");
    }
}

#[test]
fn names_from_outside_are_escaped() {
    let (_, svg) = plots(&report()).remove(0);
    assert!(svg.contains("a &lt;b&gt; &amp; &quot;c&quot;</text>"), "{svg}");
}

#[test]
fn what_was_not_measured_is_not_drawn() {
    let svg = plots(&report()).remove(2).1;
    assert!(!svg.contains("never measured"));
    assert_eq!(plots(&Report::new(Machine::default(), "t".into())), []);
}

#[test]
fn higher_values_are_drawn_higher() {
    let (_, svg) = plots(&report()).remove(1);
    let points = svg.split_once("points=\"").unwrap().1.split_once('"').unwrap().0;
    let y: Vec<f64> =
        points.split(' ').map(|point| point.split_once(',').unwrap().1.parse().unwrap()).collect();
    assert!(y[0] < y[1], "{points}");
}

#[test]
fn stages_are_stacked_without_gaps() {
    let svg = plots(&report()).remove(3).1;
    let attribute = |line: &str, name: &str| -> f64 {
        let rest = line.split_once(&format!(" {name}=\"")).unwrap().1;
        rest.split_once('"').unwrap().0.parse().unwrap()
    };
    let bars: Vec<&str> =
        svg.lines().filter(|line| line.starts_with("<rect x") && !line.contains("\"12\" h")).collect();
    assert_eq!(bars.len(), 4);
    let (lower, upper) = (bars[0], bars[1]);
    let top_of_lower = attribute(lower, "y");
    let bottom_of_upper = attribute(upper, "y") + attribute(upper, "height");
    assert!((top_of_lower - bottom_of_upper).abs() < 0.2, "{lower} {upper}");
}
