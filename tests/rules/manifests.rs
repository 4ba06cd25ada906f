//! Who may depend on whom, read from the manifests.

use crate::tree::{read, refuse};

/// The dependencies of a crate by section, from its `Cargo.toml`.
fn dependencies(folder: &str, with_tests: bool) -> Vec<String> {
    let manifest = read(&format!("{folder}/Cargo.toml"));
    let mut is_listed = false;
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            let section = line.trim_matches(['[', ']']);
            is_listed = section.ends_with("dependencies")
                && (with_tests || !section.ends_with("dev-dependencies"));
        } else if is_listed && !line.is_empty() && !line.starts_with('#') {
            let name = line.split(['.', '=', ' ']).next().unwrap_or(line);
            found.push(name.trim_matches('"').to_owned());
        }
    }
    found
}

fn is_ours(name: &str) -> bool {
    name.starts_with("weighbridge")
}

#[test]
fn rooms_know_only_the_rooms_below_them() {
    let config = &["weighbridge-config"][..];
    let rooms = [
        ("config", &[][..]),
        ("registry", config),
        ("model-store", config),
        ("engine", config),
        ("gateway/protocol", config),
        ("gateway/grpc", &["weighbridge-config", "weighbridge-protocol"]),
        ("gateway/routing", config),
        ("gateway/judge", config),
        ("gateway/experiment", config),
        ("gateway/experiment", config),
        ("load-tests", &[]),
    ];
    let mut found = Vec::new();
    for (folder, allowed) in rooms {
        let depended = dependencies(folder, true);
        let ours = depended.iter().filter(|d| is_ours(d));
        let wrong = ours.filter(|d| !allowed.contains(&d.as_str()));
        found.extend(wrong.map(|d| format!("{folder}/Cargo.toml: {d}")));
    }
    let advice = "registry, model-store and engine are siblings: what two of them need belongs to \
                  config, what joins them to gateway; load-tests knows the wire only";
    refuse(&found, advice);
}

#[test]
fn libraries_have_their_own_errors_and_no_http() {
    const NOT_THERE: [&str; 6] = ["anyhow", "axum", "http", "hyper", "reqwest", "tower"];
    let mut found = Vec::new();
    for folder in [
        "config",
        "registry",
        "model-store",
        "engine",
        "gateway/protocol",
        "gateway/routing",
        "gateway/experiment",
    ] {
        let named = dependencies(folder, false);
        let wrong = named.iter().filter(|d| NOT_THERE.contains(&d.as_str()));
        found.extend(wrong.map(|d| format!("{folder}/Cargo.toml: {d}")));
    }
    refuse(&found, "a library has one Error with thiserror; only the gateway knows HTTP");
}

#[test]
fn only_the_engine_and_the_bare_server_depend_on_tract() {
    let mut found = Vec::new();
    for folder in [
        "config",
        "registry",
        "model-store",
        "gateway",
        "gateway/protocol",
        "gateway/routing",
        "gateway/experiment",
        "tests",
    ] {
        let named = dependencies(folder, true);
        let wrong = named.iter().filter(|d| d.starts_with("tract"));
        found.extend(wrong.map(|d| format!("{folder}/Cargo.toml: {d}")));
    }
    let for_production = dependencies("load-tests", false);
    let wrong = for_production.iter().filter(|d| d.starts_with("tract"));
    found.extend(wrong.map(|d| format!("load-tests/Cargo.toml: {d} (dev-dependencies only)")));
    refuse(&found, "depend on weighbridge-engine instead");
}

#[test]
fn dependencies_are_found_in_every_section() {
    let gateway = dependencies("gateway", false);
    assert!(gateway.iter().any(|d| d == "weighbridge-engine"), "{gateway:?}");
    assert!(gateway.iter().any(|d| d == "axum") && !gateway.iter().any(|d| d == "criterion"));
    assert!(dependencies("gateway", true).iter().any(|d| d == "criterion"));
}
