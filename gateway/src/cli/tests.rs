use clap::{CommandFactory, Parser};

use super::*;

fn exit_of(words: &[&str]) -> Option<i32> {
    let words = ["weighbridge"].iter().chain(words);
    Cli::try_parse_from(words).err().map(|error| error.exit_code())
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_says_what_it_does() {
    for command in Cli::command().get_subcommands() {
        assert!(command.get_about().is_some(), "{}", command.get_name());
    }
}

#[test]
fn good_usage_is_taken() {
    for line in [
        "push fraud ./f.onnx --version 2 --tag a=b --tag c=d=e --class-names x,y --set timeout=1s",
        "models --json",
        "--json models",
        "versions fraud",
        "versions fraud 2 --url http://127.0.0.1:1 --key k --data-dir d",
        "status",
        "audit",
        "audit fraud --limit 5",
        "configure fraud max_batch_size=8",
        "route fraud 1=95 2=5 --if-revision 7",
        "promote fraud 2",
        "rollback fraud",
        "shadows fraud",
        "shadows fraud 3 --exemplars",
        "route fraud 1=100 --end-rollout",
        "promote fraud 2 --end-rollout --if-revision 7",
        "rollback fraud --end-rollout",
        "rollout start fraud --to 2",
        "rollout start fraud --to 2 --spec r.toml --reason x --wait --timeout 90m --if-revision 7",
        "rollout status fraud --json",
        "rollout watch fraud",
        "rollout why fraud --number 3",
        "rollout pause fraud --reason x",
        "rollout resume fraud",
        "rollout approve fraud --if-revision 7",
        "rollout promote fraud",
        "rollout rollback fraud --reason x",
        "rollout list fraud --limit 5",
        "rollout list",
        "rollout freeze --reason x",
        "rollout unfreeze",
        "drill fraud --fault hang --at 30s --share 0.5 --timeout 5m",
        "drill fraud --fault errors",
        "alias fraud champion 2",
        "alias fraud champion --remove",
        "archive fraud 1",
        "delete fraud --yes --even-if-routed",
        "delete fraud 1",
        "predict fraud --file x.json --version 2",
        "predict fraud --alias champion",
        "experiment start fraud --spec size.toml --if-revision 7",
        "experiment status fraud",
        "experiment status fraud size --json",
        "experiment stop fraud size --reason won",
        "keys create ci --role predict --expires 30d",
        "keys create ci --role admin --offline",
        "keys create ci --scopes predict:fraud-*,metrics --tenant risk --tier gold",
        "keys list",
        "keys revoke wbk_ab12",
        "check-config --config w.toml",
        "print-config",
        "operations",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(exit_of(&words), None, "{line}");
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    for line in [
        "",
        "colour",
        "push a/b ./f.onnx",
        "push fraud",
        "push fraud f --version 0",
        "push fraud f --tag x",
        "promote fraud v2",
        "promote fraud",
        "shadows fraud --exemplars",
        "shadows",
        "alias fraud champion",
        "alias fraud champion 2 --remove",
        "alias fraud stable 2",
        "delete fraud 1 --even-if-routed",
        "predict fraud --version 1 --alias a",
        "experiment",
        "experiment start fraud",
        "experiment status fraud a/b",
        "experiment stop fraud",
        "route fraud --end-rollout",
        "rollout",
        "rollout start fraud",
        "rollout start fraud --to v2",
        "rollout start fraud --to 2 --timeout 5m",
        "rollout start fraud --to 2 --wait --timeout 5",
        "rollout start fraud --to 2 --wait --timeout 0s",
        "rollout why fraud --number 0",
        "rollout list --limit 5",
        "rollout pause",
        "drill fraud",
        "drill fraud --fault magic",
        "drill fraud --fault slow --at soon",
        "drill fraud --fault slow --share 0",
        "drill fraud --fault slow --share 1.5",
        "drill fraud --fault slow --share NaN",
        "keys create ci",
        "keys create ci --role root",
        "keys create ci --role predict --scopes metrics",
        "keys create ci --scopes root",
        "keys create ci --scopes metrics --offline",
        "keys create ci --role admin --expires 30",
        "keys create ci --role admin --expires 1d --offline",
        "keys revoke a/b",
        "audit --limit 0",
        "route fraud 1=100 --if-revision x",
    ] {
        let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        assert_eq!(exit_of(&words), Some(2), "{line}");
    }
}

#[test]
fn a_key_on_the_command_line_is_not_in_debug_texts() {
    let cli = Cli::try_parse_from(["weighbridge", "status", "--key", "hunter2"]).unwrap();
    let shown = format!("{cli:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
}
