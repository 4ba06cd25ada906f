//! Which part of the code may name what.

use crate::text::{code, words};
use crate::tree::{File, files, refuse};

/// Rust files of `folder` that are not tests, benches or examples.
fn sources(folder: &str) -> Vec<File> {
    let mut found = files(folder);
    found.retain(|f| f.path.ends_with(".rs") && !is_test(&f.path));
    found
}

fn is_test(path: &str) -> bool {
    let mut parts = path.split('/');
    path.starts_with("tests/")
        || parts.any(|p| {
            matches!(p, "tests" | "benches" | "examples" | "tests.rs" | "testing" | "testing.rs")
        })
}

/// Where the code of `file` has a line that `is_it`.
fn lines_of(file: &File, is_it: impl Fn(&str) -> bool) -> Vec<String> {
    let code = code(&file.text());
    let numbered = (1..).zip(code.lines());
    let broken = numbered.filter(|(_, line)| is_it(line));
    broken.map(|(number, line)| format!("{}:{number}: {}", file.path, line.trim())).collect()
}

fn lines(files: &[File], is_it: impl Fn(&str) -> bool) -> Vec<String> {
    files.iter().flat_map(|f| lines_of(f, &is_it)).collect()
}

#[test]
fn only_the_engine_names_tract() {
    // Tests may: some hold a file against tract, some know its words in a log.
    let mut elsewhere = sources("");
    // And `config` has the word that operators write for it.
    elsewhere.retain(|f| !f.path.starts_with("engine/") && !f.path.starts_with("config/"));
    let named =
        lines(&elsewhere, |line| words(line).any(|w| w == "tract" || w.starts_with("tract_")));
    refuse(
        &named,
        "ask weighbridge-engine for it: the rest of the code does not know which engine runs",
    );
}

#[test]
fn only_telemetry_records_metrics() {
    let mut elsewhere = sources("gateway");
    elsewhere.retain(|f| !f.path.starts_with("gateway/src/telemetry"));
    let records = |line: &str| {
        let words: Vec<&str> = words(line).collect();
        let of_metrics = line.contains("use metrics::") || line.contains(" metrics::");
        let is_call = ["counter!(", "gauge!(", "histogram!("].iter().any(|m| line.contains(m));
        let is_import =
            of_metrics && words.iter().any(|w| matches!(*w, "counter" | "gauge" | "histogram"));
        is_call || is_import || line.contains("\"weighbridge_")
    };
    let found = lines(&elsewhere, records);
    refuse(&found, "add an event to gateway/src/telemetry/events.rs and emit that");
}

#[test]
fn only_config_reads_the_environment() {
    let mut elsewhere = sources("");
    // A build script is told by cargo through the environment alone.
    elsewhere.retain(|f| {
        let is_free = f.path.starts_with("config/") || f.path.starts_with("load-tests/");
        !is_free && !f.path.ends_with("/build.rs")
    });
    let reads = |line: &str| {
        ["env::var(", "env::var_os(", "env::vars(", "env::vars_os("]
            .iter()
            .any(|c| line.contains(c))
    };
    let found = lines(&elsewhere, reads);
    refuse(&found, "read it in config/src/environment.rs and pass on a parsed value");
}

#[test]
fn only_one_file_builds_problems_for_the_wire() {
    let mut elsewhere = sources("gateway");
    elsewhere.retain(|f| f.path != "gateway/src/edge/problem.rs");
    let found = lines(&elsewhere, |line| line.contains("problem+json"));
    refuse(&found, "return a Problem: gateway/src/edge/problem.rs gives it its body and status");
}

#[test]
fn pure_code_has_no_clock_no_runtime_and_no_files() {
    let mut pure = sources("gateway/protocol/src");
    pure.extend(sources("gateway/routing/src"));
    pure.extend(sources("gateway/judge/src"));
    pure.extend(sources("gateway/experiment/src"));
    pure.extend(sources("gateway/experiment/src"));
    pure.extend(
        sources("gateway/src/serving").into_iter().filter(|f| f.path.ends_with("/batch.rs")),
    );
    let effect = |line: &str| {
        let calls = ["Instant::now", "std::fs", "std::net", "std::env", "std::thread"];
        calls.iter().any(|c| line.contains(c))
            || words(line).any(|w| matches!(w, "tokio" | "SystemTime" | "rand" | "tracing"))
    };
    let found = lines(&pure, effect);
    refuse(
        &found,
        "pure code takes time, chance and bytes as arguments: move the effect to its caller",
    );
}

#[test]
fn tasks_and_threads_are_spawned_where_a_stop_finds_them() {
    let spawns = |line: &str| {
        ["tokio::spawn(", "task::spawn(", "thread::spawn("].iter().any(|c| line.contains(c))
    };
    let found = lines(&sources("gateway"), spawns);
    refuse(&found, "spawn tasks on the TaskTracker and threads with a named std::thread::Builder");
}

#[test]
fn source_files_are_short() {
    const MOST_LINES: usize = 500;
    let long: Vec<String> = sources("")
        .iter()
        .map(|f| (&f.path, f.text().lines().count()))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect();
    refuse(
        &long,
        "split the file by noun, or move its tests to foo/tests.rs: 500 lines is the end",
    );
}
