//! Pages that follow from the code.

use crate::text::without_comments;
use crate::tree::{read, refuse, root};

/// A call that a listener answers, such as `GET /v2/models`.
type Call = String;

/// The strings in double quotes of `code`, without escapes.
fn strings(code: &str) -> Vec<&str> {
    code.split('"').skip(1).step_by(2).collect()
}

/// What stands between the parenthesis that opens at `open` and the one that closes it.
fn in_parentheses(code: &str, open: usize) -> &str {
    let mut depth = 0;
    for (at, char) in code[open..].char_indices() {
        match char {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &code[open + 1..open + at];
        }
    }
    panic!("a parenthesis that never closes in gateway/src/api/routes.rs");
}

/// The calls of the routes in `code`, each path behind `prefix`.
fn calls(code: &str, prefix: &str) -> Vec<Call> {
    let mut found = Vec::new();
    for (at, start) in code.match_indices(".route(") {
        let route = in_parentheses(code, at + start.len() - 1);
        let path = strings(route).first().copied().expect("a route has a path");
        for (verb, call) in [
            ("GET", "get("),
            ("POST", "post("),
            ("PUT", "put("),
            ("PATCH", "patch("),
            ("DELETE", "delete("),
        ] {
            let is_start = |at: usize| {
                !route[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
            };
            if route.match_indices(call).any(|(at, _)| is_start(at)) {
                // The router cannot split a segment: handlers do.
                let is_v1_verb = verb == "POST" && path.starts_with("/v1/");
                let ends: &[&str] =
                    if is_v1_verb { &[":predict", ":classify", ":regress"] } else { &[""] };
                found.extend(ends.iter().map(|end| format!("{verb} {prefix}{path}{end}")));
            }
        }
    }
    found
}

/// Every call of both listeners.
fn routed() -> Vec<Call> {
    let code = without_comments(&read("gateway/src/api/routes.rs"));
    let (data, rest) = code.split_once("pub fn admin").expect("fn data stands before fn admin");
    let (nested, open) = rest.split_once(".nest(\"/admin/v1\"").expect("the admin API is nested");
    let mut found = calls(data, "");
    assert!(found.len() > 15, "too few routes of the data listener were found: {found:?}");
    found.extend(calls(nested, "/admin/v1"));
    found.extend(calls(open, ""));
    found.sort();
    found.dedup();
    found
}

/// The calls that a page has as the first cell of a table row: `| \`GET /v2\` | …`.
fn documented(page: &str) -> Vec<Call> {
    let cells = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let calls = cells.filter_map(|rest| rest.split_once('`')).map(|(call, _)| call.to_owned());
    calls.filter(|call| call.contains(" /")).collect()
}

#[test]
fn every_route_is_on_the_api_page() {
    let (routed, documented) = (routed(), documented(&read("docs/api.md")));
    let missing =
        routed.iter().filter(|c| !documented.contains(c)).map(|c| format!("{c}: not described"));
    let gone =
        documented.iter().filter(|c| !routed.contains(c)).map(|c| format!("{c}: no such route"));
    let found: Vec<String> = missing.chain(gone).collect();
    refuse(
        &found,
        "describe it in a table of docs/api.md as | `METHOD /path` | …, or remove the row",
    );
}

/// The table of metrics, from the lines of the catalogue.
fn table_of_metrics() -> String {
    let names = without_comments(&read("gateway/src/telemetry/names.rs"));
    let (_, lines) = names.split_once("catalogue! {").expect("names.rs holds the catalogue");
    let (lines, _) = lines.split_once("\n}").expect("the catalogue ends");
    let mut table = String::from("| Metric | Kind | Labels | Meaning |\n|---|---|---|---|\n");
    for line in lines.split_inclusive(";\n").filter(|line| line.contains('=')) {
        let texts = strings(line);
        let (Some(name), Some(help)) = (texts.first(), texts.last()) else {
            panic!("a line of the catalogue that the rule cannot read: {line}");
        };
        let kind = line.split(',').nth(1).map(|k| k.trim().to_lowercase()).unwrap_or_default();
        // As they are shown: counters gain a suffix.
        let suffix = if kind == "counter" { "_total" } else { "" };
        let labels: Vec<String> =
            texts[1..texts.len() - 1].iter().map(|l| format!("`{l}`")).collect();
        let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
        table.push_str(&format!("| `{name}{suffix}` | {kind} | {labels} | {help} |\n"));
    }
    table
}

const TABLE_BEGINS: &str = "<!-- The table is written by tests/rules: UPDATE=1. -->\n";
const TABLE_ENDS: &str = "<!-- The table ends. -->\n";

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a switch of this test, not a setting of the gateway"
)]
fn every_metric_is_on_the_metrics_page() {
    const PAGE: &str = "docs/metrics.md";
    let page = read(PAGE);
    let (before, rest) = page.split_once(TABLE_BEGINS).expect("docs/metrics.md marks its table");
    let (_, after) = rest.split_once(TABLE_ENDS).expect("docs/metrics.md marks its table's end");
    let wanted = [before, TABLE_BEGINS, &table_of_metrics(), TABLE_ENDS, after].concat();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(root().join(PAGE), &wanted).expect("docs/metrics.md can be written");
        return;
    }
    assert!(
        page == wanted,
        "docs/metrics.md is not what gateway/src/telemetry/names.rs says: \
         UPDATE=1 cargo test --release -p weighbridge-tests --test rules"
    );
}
