//! What commands read of a verdict: the evidence of its streams, as bars, and its counts.
//!
//! A verdict is the server's record (`weighbridge-judge`) and may be that of a later release, so
//! members are looked up one by one: what is missing is not shown. Logarithms are natural.

use serde::Deserialize;
use serde_json::Value;

/// So that both bars fit into 80 columns.
const WIDTH: usize = 12;

/// The evidence of one stream.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Stream {
    stream: String,
    /// That the canary is worse than it may be...
    log_e: Option<f64>,
    /// ...which decides from here on...
    log_e_required: Option<f64>,
    /// ...once enough has been seen.
    floor: Option<Floor>,
    /// That the canary is good enough to go on...
    log_v: Option<f64>,
    /// ...which is enough from here on.
    log_v_required: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Floor {
    seen: u64,
    wanted: u64,
}

/// The streams that a verdict names.
pub fn streams(verdict: &Value) -> Vec<Stream> {
    let streams = verdict["seen"]["streams"].as_array().into_iter().flatten();
    streams.filter_map(|stream| Stream::deserialize(stream).ok()).collect()
}

/// Requests of the canary since its rollout began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub requests: u64,
    /// Those that the canary failed and stable answered.
    pub rescued: u64,
    /// Those that the canary failed and nobody answered.
    pub failed: u64,
}

/// The counts of a verdict; None when it has none, as in the shadow stage.
pub fn counts(verdict: &Value) -> Option<Counts> {
    let outcomes = &verdict["seen"]["total"]["canary"];
    let of = |outcome: &str| outcomes[outcome].as_u64();
    let (ok, err, client_error) = (of("ok")?, of("err")?, of("client_error")?);
    let requests = ok.saturating_add(err).saturating_add(client_error);
    let rescued = verdict["about"]["rescued"].as_u64()?;
    Some(Counts { requests, rescued, failed: err.saturating_sub(rescued) })
}

/// A line for each stream, under a heading; empty without streams.
pub fn lines(streams: &[Stream]) -> Vec<String> {
    let names = streams.iter().map(|stream| stream.stream.chars().count());
    let Some(width) = names.max() else { return Vec::new() };
    // A bar, the odds, and a remark.
    let column = WIDTH + 32;
    let mut lines =
        vec![format!("{:width$}  {:column$}{}", "", "evidence against it", "evidence for it")];
    for stream in streams {
        let floor = stream.floor.as_ref().filter(|floor| floor.seen < floor.wanted);
        let few = floor.map(|Floor { seen, wanted }| format!(", {seen} of {wanted} seen"));
        let against = shown(stream.log_e, stream.log_e_required) + &few.unwrap_or_default();
        let for_it = shown(stream.log_v, stream.log_v_required);
        let line = format!("{:width$}  {against:column$}{for_it}", stream.stream);
        lines.push(line.trim_end().to_owned());
    }
    lines
}

/// A few words for a log: `err 12 of 250 : 1`.
pub fn words(streams: &[Stream]) -> String {
    let known = streams.iter().filter_map(|stream| {
        let (log, required) = (stream.log_e?, stream.log_e_required?);
        Some(format!("{} {} of {} : 1", stream.stream, odds(log), odds(required)))
    });
    known.collect::<Vec<_>>().join(", ")
}

fn shown(log: Option<f64>, required: Option<f64>) -> String {
    match (log, required) {
        (Some(log), Some(required)) => {
            format!("[{}] {} of {} : 1", bar(log, required), odds(log), odds(required))
        }
        _ => String::new(),
    }
}

/// A bar on a scale of logarithms, from 1 : 1 (empty) to what is required (full).
fn bar(log: f64, required: f64) -> String {
    let part = if required > 0.0 { (log / required).clamp(0.0, 1.0) } else { 0.0 };
    // Only what is required fills it. Not a number fills nothing.
    let filled = (part * WIDTH as f64) as usize;
    format!("{}{}", "#".repeat(filled), "-".repeat(WIDTH - filled))
}

/// Evidence as people say it: the first number of `373 : 1`.
fn odds(log: f64) -> String {
    match log.exp() {
        odds if odds.is_nan() => "?".to_owned(),
        odds if odds < 9.95 => format!("{odds:.1}"),
        odds if odds < 1e6 => format!("{odds:.0}"),
        _ => format!("10^{:.0}", log / std::f64::consts::LN_10),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bars_grow_with_the_logarithm() {
        let required = 250_f64.ln();
        for (evidence, filled) in
            [(0.001, 0), (1.0, 0), (250_f64.sqrt() * 1.01, 6), (249.0, 11), (250.0, 12), (1e9, 12)]
        {
            let bar = bar(f64::ln(evidence), required);
            assert_eq!(bar.matches('#').count(), filled, "{evidence}: {bar}");
            assert_eq!(bar.len(), WIDTH);
        }
        for (log, required) in [(f64::NAN, 1.0), (1.0, 0.0), (1.0, -1.0), (1.0, f64::NAN)] {
            assert_eq!(bar(log, required).matches('#').count(), 0);
        }
    }

    #[test]
    fn evidence_is_told_as_odds() {
        for (evidence, told) in
            [(0.3, "0.3"), (1.0, "1.0"), (9.94, "9.9"), (373.2, "373"), (1e12, "10^12")]
        {
            assert_eq!(odds(f64::ln(evidence)), told);
        }
        assert_eq!(odds(1e9), "10^434294482");
        assert_eq!(odds(f64::NAN), "?");
    }

    #[test]
    fn each_stream_has_a_line_with_what_is_known() {
        let verdict = json!({"decision": "stay", "seen": {"stage": "live", "streams": [
            {"stream": "err", "log_e": 12_f64.ln(), "log_e_required": 250_f64.ln(),
             "floor": {"seen": 2, "wanted": 3}, "log_v": 0.0, "log_v_required": 20_f64.ln()},
            {"stream": "rank", "log_e": null, "log_e_required": 1.0, "of_a_later_release": 1},
            {"nameless": true},
        ]}});
        let streams = streams(&verdict);
        assert_eq!(streams.len(), 2);
        let lines = lines(&streams);
        let parts: Vec<Vec<&str>> = lines.iter().map(|line| line.split("  ").collect()).collect();
        let told = |line: usize| -> Vec<&str> {
            parts[line].iter().map(|part| part.trim()).filter(|part| !part.is_empty()).collect()
        };
        assert_eq!(told(0), ["evidence against it", "evidence for it"]);
        let against = "[#####-------] 12 of 250 : 1, 2 of 3 seen";
        assert_eq!(told(1), ["err", against, "[------------] 1.0 of 20 : 1"]);
        assert_eq!(told(2), ["rank"]);
        assert_eq!(lines[0].find("evidence for"), lines[1].find("[----"));
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
        assert_eq!(words(&streams), "err 12 of 250 : 1");
    }

    #[test]
    fn what_is_no_verdict_says_nothing() {
        for other in [json!(null), json!({"seen": 1}), json!({"seen": {"streams": {}}}), json!([])]
        {
            assert_eq!(lines(&streams(&other)), Vec::<String>::new());
            assert_eq!(counts(&other), None);
        }
    }

    #[test]
    fn failures_that_nobody_answered_are_those_that_were_not_rescued() {
        let outcomes = json!({"ok": 90, "err": 8, "client_error": 2, "unit_err": 7});
        let verdict = json!({
            "about": {"rescued": 6}, "seen": {"stage": "live", "total": {"canary": outcomes}},
        });
        let wanted = Counts { requests: 100, rescued: 6, failed: 2 };
        assert_eq!(counts(&verdict), Some(wanted));
    }
}
