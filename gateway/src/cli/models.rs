//! `models`: the models and where their traffic goes.

use super::Globals;
use super::error::CliError;
use super::show;
use super::wire::{Models, ServedModel};

const NONE: &str = "no models yet: weighbridge push NAME FILE.onnx";

pub async fn run(globals: &Globals) -> Result<(), CliError> {
    let answer = globals.client()?.get("models").await?;
    if globals.json {
        return show::json(&answer);
    }
    show::print(&listed(&answer.parse::<Models>()?.models))
}

fn listed(models: &[ServedModel]) -> String {
    let heading = ["MODEL", "TRAFFIC", "VERSIONS", "LOADED", "ALIASES", "REVISION"];
    show::table(&heading, models.iter().map(row).collect(), NONE)
}

fn row(served: &ServedModel) -> Vec<String> {
    let model = &served.model;
    let numbers = || model.versions.iter().map(|record| record.version);
    let aliases = model.aliases.iter().map(|(alias, version)| format!("{alias}={version}"));
    vec![
        model.name.to_string(),
        show::or_nothing(model.route.as_ref().map(|route| &route.split)),
        show::list(numbers()),
        show::list(numbers().filter(|version| served.loaded(*version) == "yes")),
        show::list(aliases),
        model.revision.to_string(),
    ]
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::report::tests::record;

    /// A model with version 1 stable, version 2 the canary and version 3 rejected.
    pub fn model() -> Value {
        let mut versions = Vec::new();
        for (number, state) in [
            (1, json!({"state": "ready"})),
            (2, json!({"state": "ready"})),
            (3, json!({"state": "rejected", "reason": "no operator Foo"})),
        ] {
            let mut version = record(state, json!({"load_ms": 12.0, "memory_bytes": 2048}));
            version["version"] = json!(number);
            versions.push(version);
        }
        let route = |sequence, split| {
            json!({
                "sequence": sequence, "split": split, "cause": "set", "set_at": 0,
                "set_by": "key:wbk_ab", "previous": null,
            })
        };
        json!({
            "name": "fraud", "revision": 7, "settings": {"max_batch_size": 8},
            "route": route(2, json!([
                {"version": 2, "weight": 500}, {"version": 1, "weight": 9500}
            ])),
            "previous_route": route(1, json!([{"version": 1, "weight": 10_000}])),
            "aliases": {"champion": 1}, "versions": versions, "created_at": 0,
            "serving": {
                "1": {"state": "loaded"},
                "2": {"state": "failed", "reason": "out of memory"},
                "3": {"state": "a_later_state"},
            },
            "a_later_member": true,
        })
    }

    #[test]
    fn models_are_listed_with_their_traffic() {
        let served: ServedModel = serde_json::from_value(model()).unwrap();
        let shown = listed(&[served]);
        let wanted = "\
MODEL  TRAFFIC     VERSIONS  LOADED  ALIASES     REVISION
fraud  1=95% 2=5%  1 2 3     1       champion=1  7";
        assert_eq!(shown, wanted);
        assert_eq!(listed(&[]), NONE);
    }
}
