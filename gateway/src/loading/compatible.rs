//! Whether a version may take stable's place without its callers noticing.
//!
//! Decided from what the registry holds and the report of the check, so that a check that is
//! done again after a restart decides the same.

use weighbridge_config::{Signature, Version};
use weighbridge_registry::{Model, VersionRecord};

use super::report::Report;

/// How a version's signature compares with stable's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compared {
    /// Nothing to say.
    Alike,
    /// Something that people should know.
    Remark(String),
    /// Why the version may not take traffic.
    Refused(String),
}

/// Compares the signature that a check found with that of the model's stable version. Without a
/// route there is none.
pub fn compare_with_stable(model: &Model, record: &VersionRecord, report: &Report) -> Compared {
    // Past half of the traffic a rollout's canary is the heaviest version, and not yet the one
    // that callers rely on.
    let active = model.rollout.as_ref().filter(|rollout| rollout.is_active());
    let routed = || model.route.as_ref().map(|route| route.split.stable());
    let stable = active.map(|rollout| rollout.from).or_else(routed);
    let (Some(stable), Some(found)) = (stable.filter(|v| *v != record.version), &report.signature)
    else {
        return Compared::Alike;
    };
    let Some(known) = signature_of(model, stable) else {
        return Compared::Remark(format!(
            "its signature was not compared: that of version {stable}, which is stable, is unknown"
        ));
    };
    let changes = found.incompatibilities(&known);
    if changes.is_empty() {
        return Compared::Alike;
    }
    let changes = told(&changes);
    if record.info.allow_incompatible {
        return Compared::Remark(format!(
            "breaks callers of version {stable}, which was stable then, as --allow-incompatible \
             allowed: {changes}"
        ));
    }
    Compared::Refused(format!(
        "its signature breaks callers of version {stable}, which is stable: {changes}; if that is \
         meant, push again with --allow-incompatible"
    ))
}

/// So many changes are told; of the rest only the count. A model may have hundreds of inputs.
const MOST_TOLD: usize = 20;

fn told(changes: &[String]) -> String {
    let first = changes[..changes.len().min(MOST_TOLD)].join("; ");
    match changes.len().saturating_sub(MOST_TOLD) {
        0 => first,
        rest => format!("{first}; and {rest} more"),
    }
}

fn signature_of(model: &Model, version: Version) -> Option<Signature> {
    let report = model.version(version)?.report.clone()?;
    // What a later release reports may not be known here; a signature has one form.
    serde_json::from_value(report.get("signature")?.clone()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn signature(width: i64) -> Value {
        json!({
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, width]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
            "batchable": true,
        })
    }

    fn record(number: u32, report: &Value, allow_incompatible: bool) -> Value {
        json!({
            "model": "m", "version": number, "digest": "ab".repeat(32), "manifest": {"files": []},
            "state": "ready", "report": report, "created_at": 0, "created_by": "system",
            "info": {"allow_incompatible": allow_incompatible}, "checked_at": null,
        })
    }

    /// A model whose version 1, with this report, has 60 % of the traffic and version 2 the rest.
    fn model(report: &Value) -> Model {
        let split = json!([{"version": 1, "weight": 6000}, {"version": 2, "weight": 4000}]);
        let model = json!({
            "name": "m", "revision": 1, "settings": {}, "previous_route": null, "aliases": {},
            "route": {"sequence": 1, "split": split, "cause": "set", "set_at": 0, "set_by": "s"},
            "versions": [record(1, report, false), record(2, &Value::Null, false)],
            "created_at": 0,
        });
        serde_json::from_value(model).unwrap()
    }

    fn compared(model: &Model, width: i64, allow: bool) -> Compared {
        let record = serde_json::from_value(record(3, &Value::Null, allow)).unwrap();
        let signature = serde_json::from_value(signature(width)).unwrap();
        let report = Report { signature: Some(signature), ..Report::default() };
        compare_with_stable(model, &record, &report)
    }

    #[test]
    fn a_signature_is_compared_with_that_of_stable() {
        let model = model(&json!({"signature": signature(4), "a_later_field": [1]}));
        assert_eq!(compared(&model, 4, false), Compared::Alike);
        let change = "input \"x\": shape [-1, 5] came, stable has [-1, 4] (axis 1 is 5, not 4)";
        let Compared::Refused(reason) = compared(&model, 5, false) else { panic!("not refused") };
        let wanted = format!(
            "its signature breaks callers of version 1, which is stable: {change}; if that is \
             meant, push again with --allow-incompatible"
        );
        assert_eq!(reason, wanted);
        let Compared::Remark(remark) = compared(&model, 5, true) else { panic!("no remark") };
        assert!(remark.contains(change) && remark.contains("allowed"), "{remark}");
        assert_eq!(compared(&model, 4, true), Compared::Alike);
    }

    #[test]
    fn of_many_changes_the_first_are_told_and_the_rest_is_counted() {
        let (known, mut found) = (signature(4), signature(4));
        let input = |i: u32| json!({"name": format!("c{i}"), "datatype": "FP32", "shape": []});
        found["inputs"] = (0..100).map(input).collect();
        let model = model(&json!({"signature": known}));
        let record = serde_json::from_value(record(3, &Value::Null, false)).unwrap();
        let report = Report { signature: serde_json::from_value(found).ok(), ..Report::default() };
        let refused = compare_with_stable(&model, &record, &report);
        let Compared::Refused(reason) = refused else { panic!("{refused:?}") };
        assert!(reason.contains("input \"c18\"") && !reason.contains("input \"c19\""), "{reason}");
        assert!(reason.contains("; and 81 more; if that is meant"), "{reason}");
    }

    #[test]
    fn without_a_route_there_is_nothing_to_compare_with() {
        let mut model = model(&json!({"signature": signature(4)}));
        model.route = None;
        assert_eq!(compared(&model, 5, false), Compared::Alike);
    }

    #[test]
    fn a_stable_version_without_a_known_signature_is_remarked_upon() {
        for report in [json!(null), json!({}), json!({"signature": {"inputs": 1}})] {
            let found = compared(&model(&report), 5, false);
            assert!(matches!(&found, Compared::Remark(r) if r.contains("version 1")), "{found:?}");
        }
    }
}
