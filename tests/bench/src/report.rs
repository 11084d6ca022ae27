//! The figures: a table for people, a file for machines.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

/// Every figure measured, in the order of its measurement.
#[derive(Debug, Default)]
pub struct Report {
    figures: Vec<(String, Figure)>,
}

/// One figure.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figure {
    /// The middle one of the values measured.
    pub p50: f64,
    /// 99 of 100 are at most this; of rates, the smallest of the rounds.
    pub p99: f64,
    /// `ns`, `per_s`, `bytes` or `cpu_percent`.
    pub unit: &'static str,
    /// The figure it is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vs: Option<String>,
    /// Median of the rounds' ratios of the middle values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio_p50: Option<f64>,
    /// The same without confinement to one processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio_p50_unpinned: Option<f64>,
    /// What is promised of it, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promise: Option<Promise>,
}

/// A bound on a figure.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Promise {
    /// The ratio is at most this.
    RatioAtMost(f64),
    /// The ratio is at least this.
    RatioAtLeast(f64),
    /// The middle value is at most this.
    AtMost(f64),
    /// The middle value is at least this.
    AtLeast(f64),
}

impl Report {
    /// Adds one figure.
    pub fn add(&mut self, name: impl Into<String>, figure: Figure) {
        self.figures.push((name.into(), figure));
    }

    /// Whether every promise is kept.
    pub fn holds(&self) -> bool {
        self.figures.iter().all(|(_, figure)| figure.holds())
    }

    /// Writes the figures to `file`; others that stand there already stay.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn write(&self, file: &Path) -> Result<()> {
        let mut figures: BTreeMap<String, serde_json::Value> = fs::read_to_string(file)
            .ok()
            .and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok())
            .and_then(|mut report| serde_json::from_value(report["figures"].take()).ok())
            .unwrap_or_default();
        for (name, figure) in &self.figures {
            figures.insert(name.clone(), serde_json::to_value(figure)?);
        }
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        let text = serde_json::to_string_pretty(&serde_json::json!({ "figures": figures }))?;
        fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
    }
}

impl Figure {
    /// Whether what is promised of it is kept.
    pub fn holds(&self) -> bool {
        match self.promise {
            Some(Promise::RatioAtMost(bound)) => self.ratio_p50.is_some_and(|ratio| ratio <= bound),
            Some(Promise::RatioAtLeast(bound)) => {
                self.ratio_p50.is_some_and(|ratio| ratio >= bound)
            }
            Some(Promise::AtMost(bound)) => self.p50 <= bound,
            Some(Promise::AtLeast(bound)) => self.p50 >= bound,
            None => true,
        }
    }

    /// The promise and whether it is kept; empty without one.
    pub fn promise_in_words(&self) -> String {
        let bound = match self.promise {
            Some(Promise::RatioAtMost(bound)) => format!("≤ {bound:.2} ×"),
            Some(Promise::RatioAtLeast(bound)) => format!("≥ {bound:.2} ×"),
            Some(Promise::AtMost(bound)) => format!("≤ {}", shown(bound, self.unit)),
            Some(Promise::AtLeast(bound)) => format!("≥ {}", shown(bound, self.unit)),
            None => return String::new(),
        };
        format!("{bound} {}", if self.holds() { "✓" } else { "✗ NOT KEPT" })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["figure", "p50", "p99", "against", "ratio", "unpinned", "promise"];
        writeln!(
            f,
            "{:<22}{:>12}{:>12}  {:<16}{:>8}{:>10}  {}",
            header[0], header[1], header[2], header[3], header[4], header[5], header[6]
        )?;
        for (name, figure) in &self.figures {
            let ratio = |ratio: Option<f64>| ratio.map(|ratio| format!("{ratio:.2} ×"));
            writeln!(
                f,
                "{name:<22}{:>12}{:>12}  {:<16}{:>8}{:>10}  {}",
                shown(figure.p50, figure.unit),
                shown(figure.p99, figure.unit),
                figure.vs.as_deref().unwrap_or_default(),
                ratio(figure.ratio_p50).unwrap_or_default(),
                ratio(figure.ratio_p50_unpinned).unwrap_or_default(),
                figure.promise_in_words(),
            )?;
        }
        Ok(())
    }
}

/// The value as a person reads it.
pub fn shown(value: f64, unit: &str) -> String {
    match unit {
        "ns" if value.abs() >= 1e6 => format!("{:.2} ms", value / 1e6),
        "ns" => format!("{:.2} µs", value / 1e3),
        "per_s" => format!("{value:.0} /s"),
        "bytes" => format!("{:.1} MB", value / 1e6),
        _ => format!("{value:.2} %"),
    }
}
