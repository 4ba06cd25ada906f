//! The comparison from end to end, with a second bare handler in the gateway's place: what is
//! tested is how servers are started, asked, loaded, compared and stopped.

use std::os::unix::fs::PermissionsExt;

use super::servers::find_program;
use super::*;

fn plan() -> Plan {
    Plan {
        connections: vec![1, 3],
        rounds: 2,
        measure: Duration::from_millis(200),
        warm_up: Duration::from_millis(20),
        only: None,
        bare: None,
        gateway: None,
        gateway_arguments: Vec::new(),
    }
}

/// A script that takes the gateway's arguments, and leaves its address where the gateway does.
fn stand_in(folder: &Path) -> PathBuf {
    let bare = find_program(None, "examples/bare", "cargo test").expect("cargo test built it");
    let script = format!(
        "#!/bin/sh\n[ \"$1 $2 $4\" = 'serve --model --data-dir' ] || exit 64\n\
         mkdir -p \"$5\"\nexec '{}' --model \"${{3#mlp=}}\" --listen \"$7\" >\"$5/listen-url\"\n",
        bare.display()
    );
    let path = folder.join("gateway");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn two_servers_are_compared_at_each_level() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan { gateway: Some(stand_in(folder.path())), ..plan() };
    let report = run(&plan, &Stop::default()).unwrap();
    assert_eq!(report.samples.len(), 8);
    let order: Vec<_> = report.samples.iter().take(4).map(|sample| sample.server).collect();
    assert_eq!(order, ["bare", "gateway", "gateway", "bare"]);
    assert!(report.samples.iter().all(|sample| sample.errors == 0 && sample.answers > 0));
    assert_eq!(report.levels.len(), 2);
    assert!(report.levels.iter().all(|level| level.gateway_over_bare.is_some()));
    let starts: Vec<_> = report.starts.iter().map(|start| (start.server, start.start)).collect();
    assert_eq!(starts, [("bare", "first"), ("gateway", "first"), ("gateway", "again")]);
    assert!(report.batches_missing.as_ref().is_some_and(|why| why.contains("admin-url")));
    assert!(report.to_string().contains("gateway/bare"));
}

#[test]
fn the_bare_half_is_measured_alone() {
    let plan = Plan { only: Some(Only::Bare), connections: vec![2], ..plan() };
    let report = run(&plan, &Stop::default()).unwrap();
    assert_eq!(report.samples.len(), 2);
    assert!(report.levels[0].gateway_over_bare.is_none());
}

#[test]
fn a_missing_program_is_named_with_the_way_to_build_it() {
    let error = find_program(None, "no-such-program", "cargo build --release").unwrap_err();
    let text = error.to_string();
    assert!(text.contains("no-such-program") && text.contains("cargo build --release"), "{text}");
    assert!(find_program(Some(Path::new("/nowhere")), "x", "y").is_err());
}
