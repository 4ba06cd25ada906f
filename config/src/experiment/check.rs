//! What the values of a spec must fulfil, alone and together.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{
    Bandit, DAY, ExperimentSpec, FORMAT, HOLDOUT, MOST_VARIANTS, Metric, MetricKind, PerUnit,
    Thompson,
};
use crate::rollout::check::Mistakes;
use crate::rollout::{Percent, SpecMistake};

const MOST_GUARDRAILS: usize = 10;
const MOST_OVERRIDES: usize = 1_000;
/// A unit's key, in bytes.
pub const LONGEST_UNIT: usize = 256;
/// The words of `weighbridge-variant` for answers that no experiment chose.
const TAKEN: [&str; 5] = ["stable", "canary", "variant", "pinned", HOLDOUT];
/// Below this an interval's width rests on too few units for its approximation.
const LEAST_UNITS: u64 = 100;

impl ExperimentSpec {
    /// Everything that is wrong with the values.
    pub fn mistakes(&self) -> Vec<SpecMistake> {
        let mut found = Mistakes(Vec::new());
        if self.format != FORMAT {
            found.add("format", format!("{}: this release reads format {FORMAT}", self.format));
        }
        word(&mut found, "name", &self.name);
        self.check_variants(&mut found);
        self.check_units(&mut found);
        self.check_metrics(&mut found);
        found.within("alpha", self.alpha, 1e-6, 0.2);
        if !(1_000..=1_000_000_000).contains(&self.n0) {
            found.add("n0", format!("{}: wanted 1000 to 1000000000 units", self.n0));
        }
        if !(LEAST_UNITS..=1_000_000).contains(&self.min_units) {
            let came = self.min_units;
            found.add("min_units", format!("{came}: wanted {LEAST_UNITS} to 1000000 units"));
        }
        if let Bandit::Thompson(thompson) = &self.bandit {
            self.check_bandit(thompson, &mut found);
        }
        found.0
    }

    fn check_variants(&self, found: &mut Mistakes) {
        let count = self.variants.len();
        if !(2..=MOST_VARIANTS).contains(&count) {
            found.add("variants", format!("{count} of them: wanted 2 to {MOST_VARIANTS}"));
        }
        let mut names = BTreeSet::new();
        for (place, variant) in self.variants.iter().enumerate() {
            let name = format!("variants[{place}].name");
            word(found, &name, &variant.name);
            if TAKEN.contains(&variant.name.as_str()) {
                found.add(&name, format!("\"{}\" has a meaning of its own in the header weighbridge-variant: wanted another name", variant.name));
            }
            if !names.insert(&variant.name) {
                found.add(&name, format!("\"{}\" is named twice", variant.name));
            }
            if variant.weight == Percent::points(0) {
                found.add(format!("variants[{place}].weight"), "0: wanted more than 0 percent");
            }
        }
        let sum: u64 = self.variants.iter().map(|v| u64::from(v.weight.as_points())).sum();
        if sum != u64::from(Percent::whole(100).as_points()) {
            let sum = crate::split::percent(sum);
            found.add("variants", format!("the weights sum to {sum}, wanted 100%"));
        }
    }

    fn check_units(&self, found: &mut Mistakes) {
        if self.overrides.len() > MOST_OVERRIDES {
            let came = self.overrides.len();
            found.add("overrides", format!("{came} of them: at most {MOST_OVERRIDES}"));
        }
        for (unit, variant) in &self.overrides {
            let shown: String = unit.chars().take(64).collect();
            let field = format!("overrides.{shown}");
            if unit.is_empty() || unit.len() > LONGEST_UNIT {
                found.add(&field, format!("wanted a unit of 1 to {LONGEST_UNIT} bytes"));
            }
            if self.place_of(variant).is_none() {
                let known: Vec<&str> = self.variants.iter().map(|v| v.name.as_str()).collect();
                let shown: String = variant.chars().take(64).collect();
                found.add(
                    field,
                    format!("\"{shown}\" is no variant: wanted one of {}", known.join(", ")),
                );
            }
        }
        if let Some(layer) = &self.layer {
            word(found, "layer.name", &layer.name);
            if layer.share == Percent::points(0) {
                found.add("layer.share", "0: wanted more than 0 percent of the layer");
            }
            let end = layer.share.as_points() + layer.from.map_or(0, Percent::as_points);
            if end > Percent::whole(100).as_points() {
                let end = crate::split::percent(u64::from(end));
                found.add("layer.from", format!("with layer.share it ends at {end}, behind 100%"));
            }
        }
        if self.holdout > Percent::whole(50) {
            found.add("holdout", format!("{}: wanted at most 50 percent", self.holdout));
        }
    }

    fn check_metrics(&self, found: &mut Mistakes) {
        metric(found, "metrics.primary", &self.metrics.primary);
        let guardrails = &self.metrics.guardrails;
        if guardrails.len() > MOST_GUARDRAILS {
            let came = guardrails.len();
            found.add("metrics.guardrails", format!("{came} of them: at most {MOST_GUARDRAILS}"));
        }
        let mut names = BTreeSet::from([&self.metrics.primary.name]);
        for (place, guardrail) in guardrails.iter().enumerate() {
            let field = format!("metrics.guardrails[{place}]");
            metric(found, &field, guardrail);
            if guardrail.margin <= 0.0 {
                found.add(
                    format!("{field}.margin"),
                    "wanted more than 0: that nothing at all got worse can never be shown",
                );
            }
            if !names.insert(&guardrail.name) {
                found
                    .add(format!("{field}.name"), format!("\"{}\" is named twice", guardrail.name));
            }
        }
    }

    fn check_bandit(&self, thompson: &Thompson, found: &mut Mistakes) {
        let field = |name: &str| format!("bandit.thompson.{name}");
        let second = Duration::from_secs(1);
        time(found, &field("every"), thompson.every, second, DAY);
        time(found, &field("horizon"), thompson.horizon, second, 365 * DAY);
        if let Some(half_life) = thompson.half_life {
            time(found, &field("half_life"), half_life, Duration::from_secs(60), 365 * DAY);
        }
        if thompson.every >= thompson.horizon {
            found.add(
                field("every"),
                "must be shorter than horizon: the weights would never change",
            );
        }
        let most = Percent::whole(100).as_points() / self.variants.len().max(1) as u32;
        let (least, most) = (Percent::whole(1), Percent::points(most));
        if !(least..=most).contains(&thompson.floor) {
            let (came, count) = (thompson.floor, self.variants.len());
            found.add(
                field("floor"),
                format!("{came}: wanted {least} to {most}, since there are {count} variants"),
            );
        }
        for (place, variant) in self.variants.iter().enumerate() {
            if variant.weight < thompson.floor {
                let (weight, floor) = (variant.weight, thompson.floor);
                found.add(
                    format!("variants[{place}].weight"),
                    format!("{weight} is below bandit.thompson.floor {floor}"),
                );
            }
        }
    }
}

/// Names become headers, labels and parts of a path.
fn word(found: &mut Mistakes, field: &str, text: &str) {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !begins || text.len() > 64 || !text.bytes().all(fits) {
        let shown: String = text.chars().take(64).collect();
        found.add(field, format!("\"{shown}\": wanted 1 to 64 letters, digits, dots, underscores or dashes, the first a letter or digit"));
    }
}

fn metric(found: &mut Mistakes, field: &str, metric: &Metric) {
    word(found, &format!("{field}.name"), &metric.name);
    time(found, &format!("{field}.window"), metric.window, Duration::from_secs(1), 90 * DAY);
    let most = if metric.kind == MetricKind::Binary { 0.99 } else { 1e12 };
    found.within(format!("{field}.margin"), metric.margin, 0.0, most);
    match (metric.kind, metric.per_unit) {
        (MetricKind::Binary, Some(PerUnit::Mean | PerUnit::Sum)) => found.add(
            format!("{field}.per_unit"),
            "a binary metric is 1 for a unit with any 1: leave it out",
        ),
        (MetricKind::Binary | MetricKind::Real, _) => {}
    }
}

fn time(found: &mut Mistakes, field: &str, came: Duration, least: Duration, most: Duration) {
    if !(least..=most).contains(&came) {
        let [came, least, most] = [came, least, most].map(shown);
        found.add(field, format!("{came}: wanted {least} to {most}"));
    }
}

/// In days where it can: 90 days are no "2months 29days" to anyone.
fn shown(of: Duration) -> String {
    const DAY_SECONDS: u64 = DAY.as_secs();
    match of.as_secs() {
        seconds
            if seconds >= DAY_SECONDS
                && of == Duration::from_secs(seconds / DAY_SECONDS * DAY_SECONDS) =>
        {
            format!("{}d", seconds / DAY_SECONDS)
        }
        _ => humantime::format_duration(of).to_string(),
    }
}
