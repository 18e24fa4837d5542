//! The results, as a table for people and as JSON for programs.

use std::collections::HashMap;
use std::path::Path;
use std::{fs, thread};

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::sample::Sample;

/// One figure.
pub struct Figure {
    /// Its name, by which a baseline is compared.
    name: String,
    value: f64,
    unit: &'static str,
    /// The least and the greatest measurement, where there were several.
    range: Option<(f64, f64)>,
    target: Option<Target>,
}

#[derive(Clone, Copy)]
struct Target {
    bound: Bound,
    /// Whether every machine can meet it, under any load.
    is_firm: bool,
}

#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Figure {
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, range: None, target: None }
    }

    /// The median of `sample`.
    pub fn median(name: impl Into<String>, sample: &Sample, unit: &'static str) -> Self {
        Self { range: Some(sample.range()), ..Self::new(name, sample.median(), unit) }
    }

    pub fn at_least(self, bound: f64) -> Self {
        Self { target: Some(Target { bound: Bound::AtLeast(bound), is_firm: false }), ..self }
    }

    pub fn at_most(self, bound: f64) -> Self {
        Self { target: Some(Target { bound: Bound::AtMost(bound), is_firm: false }), ..self }
    }

    /// Makes a run fail that misses the target.
    pub fn firm(self) -> Self {
        Self { target: self.target.map(|target| Target { is_firm: true, ..target }), ..self }
    }

    fn is_met(&self) -> bool {
        self.target.is_none_or(|target| match target.bound {
            Bound::AtLeast(bound) => self.value >= bound,
            Bound::AtMost(bound) => self.value <= bound,
        })
    }

    /// Whether it misses a firm target.
    pub fn is_failed(&self) -> bool {
        !self.is_met() && self.target.is_some_and(|target| target.is_firm)
    }

    fn to_json(&self) -> Value {
        let mut figure = json!({ "name": self.name, "value": self.value, "unit": self.unit });
        if let Some((least, greatest)) = self.range {
            figure["range"] = json!([least, greatest]);
        }
        match self.target.map(|target| target.bound) {
            Some(Bound::AtLeast(bound)) => figure["at_least"] = bound.into(),
            Some(Bound::AtMost(bound)) => figure["at_most"] = bound.into(),
            None => {}
        }
        figure
    }
}

/// The figures of an earlier run by their names.
pub struct Baseline(HashMap<String, f64>);

impl Baseline {
    /// Reads what [`save`] wrote.
    pub fn read(path: &str) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("BASELINE {path} cannot be read: {error}"));
        let run: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("BASELINE {path}: {error}"));
        let figures = run["figures"].as_array().into_iter().flatten();
        let named = |figure: &Value| Some((figure["name"].as_str()?.to_owned(), figure["value"].as_f64()?));
        Self(figures.filter_map(named).collect())
    }
}

/// Returns all figures in a table, beside those of `baseline`.
pub fn table(figures: &[Figure], baseline: Option<&Baseline>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let mut header = vec!["", "measured", "", "range", "target", ""];
    if baseline.is_some() {
        header.extend(["before", "change"]);
    }
    table.set_header(header);
    for figure in figures {
        let mut row = vec![
            figure.name.clone(),
            shown(figure.value),
            figure.unit.to_owned(),
            figure
                .range
                .map(|(least, greatest)| format!("{} to {}", shown(least), shown(greatest)))
                .unwrap_or_default(),
        ];
        row.extend(match figure.target.map(|target| target.bound) {
            Some(bound) => [bound.to_string(), if figure.is_met() { "met" } else { "MISSED" }.to_owned()],
            None => [String::new(), String::new()],
        });
        if let Some(before) = baseline.and_then(|baseline| baseline.0.get(&figure.name)) {
            row.extend([shown(*before), format!("{:+.0} %", (figure.value / before - 1.0) * 100.0)]);
        }
        table.add_row(row);
    }
    for number in [1, 3, 4, 6, 7] {
        if let Some(column) = table.column_mut(number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Writes all figures to `path` in JSON.
pub fn save(figures: &[Figure], path: &Path) {
    let processors = thread::available_parallelism().map_or(0, usize::from);
    let figures: Vec<_> = figures.iter().map(Figure::to_json).collect();
    let run = json!({ "version": env!("CARGO_PKG_VERSION"), "processors": processors, "figures": figures });
    fs::write(path, format!("{run:#}\n")).expect("write the figures");
}

/// Returns a value with its significant digits.
pub fn shown(value: f64) -> String {
    let digits = match value.abs() {
        value if value >= 100.0 || value.fract() == 0.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, "≥ {bound}"),
            Self::AtMost(bound) => write!(f, "≤ {bound}"),
        }
    }
}
