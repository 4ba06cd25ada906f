//! What the values of a spec must fulfil, alone and together.

use std::time::Duration;

use super::{FORMAT, Percent, RateMargins, RolloutSpec, SpecMistake, Webhook};

/// More steps than anyone waits for.
const MOST_STEPS: usize = 32;
const MOST_WEBHOOKS: usize = 8;
const DAY: Duration = Duration::from_secs(86_400);

impl RolloutSpec {
    /// Everything that is wrong with the values.
    pub fn mistakes(&self) -> Vec<SpecMistake> {
        let mut found = Mistakes(Vec::new());
        self.check_steps(&mut found);
        self.check_times(&mut found);
        self.check_margins(&mut found);
        if self.format != FORMAT {
            found.add("format", format!("{}: this release reads format {FORMAT}", self.format));
        }
        if self.webhooks.len() > MOST_WEBHOOKS {
            found.add(
                "webhooks",
                format!("{} of them: at most {MOST_WEBHOOKS}", self.webhooks.len()),
            );
        }
        for (place, webhook) in self.webhooks.iter().enumerate() {
            if let Err(reason) = scheme_of(webhook) {
                found.add(format!("webhooks[{place}].url"), reason);
            }
        }
        found.0
    }

    fn check_steps(&self, found: &mut Mistakes) {
        if self.steps.is_empty() || self.steps.len() > MOST_STEPS {
            let came = self.steps.len();
            found.add("steps", format!("{came} steps: wanted 1 to {MOST_STEPS}"));
        }
        for (place, step) in self.steps.iter().enumerate() {
            let field = || format!("steps[{place}]");
            if *step == Percent::points(0) || *step >= Percent::whole(100) {
                found.add(field(), format!("{step}: wanted more than 0 and less than 100 percent (the promotion to all follows the last step)"));
            }
            if place > 0 && *step <= self.steps[place - 1] {
                let before = self.steps[place - 1];
                found.add(
                    field(),
                    format!("{step} after {before}: each step must be larger than the one before"),
                );
            }
        }
        for (place, weight) in self.approve.iter().enumerate() {
            if *weight != Percent::whole(100) && !self.steps.contains(weight) {
                found.add(
                    format!("approve[{place}]"),
                    format!("{weight} is not one of the steps, nor 100"),
                );
            }
        }
        if self.shadow.requests > 0 && self.shadow.percent == Percent::points(0) {
            found.add("shadow.percent", "0: a shadow stage without copies would never end; requests = 0 leaves the stage out");
        }
    }

    fn check_times(&self, found: &mut Mistakes) {
        let times = [
            ("step_min", self.step_min, Duration::ZERO, 7 * DAY),
            ("step_max", self.step_max, Duration::from_secs(1), 30 * DAY),
            ("warm_up.time", self.warm_up.time, Duration::ZERO, DAY),
            ("undo_window", self.undo_window, Duration::ZERO, 30 * DAY),
            ("window", self.window, Duration::from_secs(1), DAY),
            ("shadow.max", self.shadow.max, Duration::from_secs(1), 7 * DAY),
        ];
        for (field, came, least, most) in times {
            if !(least..=most).contains(&came) {
                let [came, least, most] = [came, least, most].map(humantime::format_duration);
                found.add(field, format!("{came}: wanted {least} to {most}"));
            }
        }
        if self.step_min >= self.step_max {
            found.add("step_min", "must be shorter than step_max");
        }
        if self.warm_up.time >= self.step_max {
            found.add(
                "warm_up.time",
                "must be shorter than step_max: nothing would ever be counted",
            );
        }
    }

    fn check_margins(&self, found: &mut Mistakes) {
        found.within("alpha", self.alpha, 1e-6, 0.2);
        found.within("beta", self.beta, 1e-6, 0.2);
        found.rates("err", &self.err);
        if let Some(margins) = &self.client_errors {
            found.rates("client_errors", margins);
        }
        if let Some(slo) = &self.slo {
            found.rates("slo.margins", &slo.margins);
            if slo.latency.is_zero() {
                found.add("slo.latency", "wanted a duration above 0");
            }
        }
        if let Some(reward) = &self.reward {
            found.rates("reward.margins", &reward.margins);
            if reward.metric.is_empty() || reward.metric.len() > 64 {
                found.add("reward.metric", "wanted a name of 1 to 64 characters");
            }
            if !reward.good_at_least.is_finite() {
                found.add("reward.good_at_least", "wanted a number");
            }
        }
        let (rollback, promote) = (self.latency.rollback_scale, self.latency.promote_scale);
        found.within("latency.rollback_scale", rollback, 1.0, 100.0);
        found.within("latency.promote_scale", promote, 1.0, 100.0);
        found.within("latency.harm", self.latency.harm, 0.0, 1.0);
        if promote < rollback {
            found.add("latency.promote_scale", format!("{promote} is below rollback_scale {rollback}: a canary between the two could neither go on nor back"));
        }
        found.within("guard.error_rate", self.guard.error_rate, 0.001, 0.9);
        found.within("guard.evidence", self.guard.evidence, 2.0, 1e12);
        found.within("guard.relative", self.guard.relative, 1.0, 1e12);
        found.within("outputs.absolute", self.outputs.absolute, 0.0, 1e12);
        found.within("outputs.relative", self.outputs.relative, 0.0, 1e12);
        found.within("outputs.max_share", self.outputs.max_share, 1e-6, 0.99);
        for (name, tolerance) in &self.outputs.of {
            found.within(format!("outputs.of.{name}.absolute"), tolerance.absolute, 0.0, 1e12);
            found.within(format!("outputs.of.{name}.relative"), tolerance.relative, 0.0, 1e12);
        }
    }
}

/// `http` or `https`, with a host and without credentials: those would be shown with the spec.
fn scheme_of(webhook: &Webhook) -> Result<(), String> {
    let shown: String = webhook.url.chars().take(200).collect();
    let rest = webhook.url.strip_prefix("https://").or(webhook.url.strip_prefix("http://"));
    let Some(rest) = rest else {
        return Err(format!("\"{shown}\": wanted http:// or https://"));
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() || host.starts_with(':') {
        return Err(format!("\"{shown}\": it names no host"));
    }
    if host.contains('@') {
        return Err("credentials in a URL are shown with the spec: leave them out".to_owned());
    }
    Ok(())
}

/// Mistakes as they are found.
pub(crate) struct Mistakes(pub(crate) Vec<SpecMistake>);

impl Mistakes {
    pub(crate) fn add(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        self.0.push(SpecMistake { field: field.into(), reason: reason.into() });
    }

    pub(crate) fn within(&mut self, field: impl Into<String>, came: f64, least: f64, most: f64) {
        // Not a number is in no range.
        if !(least..=most).contains(&came) {
            self.add(field, format!("{came}: wanted {least} to {most}"));
        }
    }

    fn rates(&mut self, stream: &str, margins: &RateMargins) {
        let (rollback, promote) = (margins.rollback_pp, margins.promote_pp);
        self.within(format!("{stream}.rollback_pp"), rollback, 0.0, 50.0);
        self.within(format!("{stream}.promote_pp"), promote, 0.001, 50.0);
        self.within(format!("{stream}.harm"), margins.harm, 0.0, 1.0);
        if promote < rollback {
            self.add(
                format!("{stream}.promote_pp"),
                format!("{promote} is below rollback_pp {rollback}: a canary between the two could neither go on nor back"),
            );
        }
    }
}
