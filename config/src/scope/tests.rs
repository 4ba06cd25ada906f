use super::*;
use proptest::prelude::*;

fn scopes(text: &str) -> Scopes {
    text.parse().unwrap()
}

#[test]
fn scopes_are_written_sorted_and_once_and_read_back() {
    for (text, written) in [
        ("", ""),
        (" , ", ""),
        ("predict", "predict"),
        ("predict:*", "predict"),
        ("predict:**", "predict"),
        ("predict:fraud-*,metrics", "metrics predict:fraud-*"),
        ("jobs jobs,  jobs", "jobs"),
        ("predict:b predict:a predict", "predict predict:a predict:b"),
        ("admin", "admin:read admin:rollout admin:write feedback jobs metrics predict"),
        (
            "admin predict:x",
            "admin:read admin:rollout admin:write feedback jobs metrics predict predict:x",
        ),
    ] {
        let parsed = scopes(text);
        assert_eq!(parsed.to_string(), written, "{text}");
        assert_eq!(scopes(written), parsed, "{text}");
        assert_eq!(parsed.clone().into_iter().collect::<Scopes>(), parsed);
        let json = serde_json::to_string(&parsed).unwrap();
        assert_eq!(json, format!("\"{written}\""));
        assert_eq!(serde_json::from_str::<Scopes>(&json).unwrap(), parsed);
    }
    assert_eq!(scopes("admin"), Scopes::all());
    // One scope is one word, and never all of them.
    for word in ["admin", "admin,", "jobs,metrics", ""] {
        assert!(word.parse::<Scope>().is_err(), "{word}");
    }
    assert!(Scopes::default().is_empty() && !Scopes::all().is_empty());
}

#[test]
fn mistakes_name_the_word_and_what_is_known() {
    let long = format!("predict:{}", "x".repeat(129));
    for (text, word, wanted) in [
        ("metrics predct", "predct", "predict:PATTERN"),
        ("Predict", "Predict", "admin:rollout"),
        ("admin:all", "admin:all", "admin:read"),
        ("jobs:x", "jobs:x", "feedback"),
        ("predict:", "predict:", "1 to 128"),
        ("predict:a/b", "predict:a/b", "such as fraud-*"),
        ("predict:a\tjobs", "predict:a\tjobs", "letters"),
        ("predict:é", "predict:é", "letters"),
        (&long, "predict:xxx", "1 to 128"),
    ] {
        let told = text.parse::<Scopes>().unwrap_err().to_string();
        assert!(told.contains(word) && told.contains(wanted), "{told}");
        assert!(serde_json::from_value::<Scopes>(text.into()).is_err(), "{text}");
    }
    assert!(format!("predict:{}", "x".repeat(128)).parse::<Scopes>().is_ok());
}

#[test]
fn patterns_match_whole_names() {
    for (pattern, matching, other) in [
        ("*", &["", "a", "fraud"][..], &[][..]),
        ("fraud", &["fraud"], &["", "frau", "fraud2", "Fraud", "a-fraud"]),
        ("fraud-*", &["fraud-", "fraud-eu"], &["fraud", "a-fraud-"]),
        ("*-eu", &["-eu", "fraud-eu", "a-eu-eu"], &["eu", "fraud-eu2"]),
        ("a*b*c", &["abc", "aXbYc", "abbcc", "abcbc"], &["acb", "ab", "abcd"]),
        ("*a*", &["a", "bab"], &["", "b"]),
        ("a*a", &["aa", "aba"], &["a"]),
    ] {
        let held = scopes(&format!("predict:{pattern}"));
        for model in matching {
            assert!(held.may_predict(model), "{pattern} {model}");
        }
        for model in other {
            assert!(!held.may_predict(model), "{pattern} {model}");
        }
    }
}

#[test]
fn a_hostile_pattern_is_answered_at_once() {
    let pattern: Pattern = "a*".repeat(64).parse().unwrap();
    assert!(!pattern.matches(&format!("{}b", "ba".repeat(5000))));
    assert!(!Pattern("*a".repeat(63) + "*b").matches(&"a".repeat(10_000)));
}

#[test]
fn a_scope_allows_itself_and_what_it_implies() {
    for (held, asked, allowed) in [
        ("", "metrics", false),
        ("metrics", "metrics", true),
        ("metrics", "jobs", false),
        ("jobs", "feedback", false),
        ("admin:read", "admin:read", true),
        ("admin:write", "admin:read", true),
        ("admin:rollout", "admin:read", true),
        ("admin:read", "admin:write", false),
        ("admin:write", "admin:rollout", false),
        ("admin:rollout", "admin:write", false),
        ("predict jobs feedback metrics", "admin:read", false),
        ("predict", "predict", true),
        ("predict", "predict:fraud-*", true),
        ("predict:fraud-*", "predict", false),
        ("predict:fraud-*", "predict:fraud-eu", true),
        ("predict:fraud-*", "predict:fraud-eu-*", true),
        ("predict:fraud-*", "predict:fraud-*", true),
        ("predict:fraud-*", "predict:fraud*", false),
        ("predict:fraud-eu", "predict:fraud-*", false),
        ("predict:fraud", "predict:fraud", true),
        ("predict:a predict:b", "predict:b", true),
        ("admin", "predict:x", true),
        ("admin:write", "predict", false),
    ] {
        assert_eq!(scopes(held).allows(&asked.parse().unwrap()), allowed, "{held} / {asked}");
        assert_eq!(scopes(held).covers(&scopes(asked)), allowed, "{held} / {asked}");
    }
}

#[test]
fn a_set_covers_another_when_it_allows_each_of_its_scopes() {
    for (held, other, covers) in [
        ("", "", true),
        ("metrics", "", true),
        ("", "metrics", false),
        ("admin", "admin", true),
        ("admin:write jobs", "admin:read jobs", true),
        ("admin:write jobs", "admin:read jobs metrics", false),
        ("predict:a-* predict:b-*", "predict:a-1 predict:b-1", true),
        ("predict:a-* predict:b-*", "predict:a-1 predict:c-1", false),
    ] {
        assert_eq!(scopes(held).covers(&scopes(other)), covers, "{held} / {other}");
    }
    assert!(!scopes("metrics").may_predict_something());
    assert!(scopes("predict:x").may_predict_something());
}

/// The definition, however long it takes.
fn matches_by_definition(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', rest @ ..] => (0..=text.len()).any(|end| matches_by_definition(rest, &text[end..])),
        [literal, rest @ ..] => {
            text.first() == Some(literal) && matches_by_definition(rest, &text[1..])
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_matcher_does_what_the_definition_says(pattern in "[ab*]{1,8}", text in "[ab]{0,10}") {
        let parsed: Pattern = pattern.parse().unwrap();
        let wanted = matches_by_definition(pattern.as_bytes(), text.as_bytes());
        prop_assert_eq!(parsed.matches(&text), wanted);
        prop_assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), wanted);
    }

    #[test]
    fn what_is_covered_is_matched(a in "[ab*]{1,5}", b in "[ab*]{1,6}", text in "[ab]{0,8}") {
        let (a, b): (Pattern, Pattern) = (a.parse().unwrap(), b.parse().unwrap());
        prop_assert!(!(a.covers(&b) && b.matches(&text)) || a.matches(&text));
        prop_assert!(a.covers(&a) && Pattern::any().covers(&a));
    }
}
