use super::*;

fn found(pattern: &str, text: &str) -> Vec<String> {
    let longest = Longest::new(pattern).unwrap();
    let (mut from, mut found) = (0, vec![]);
    while let Some((start, end)) = longest.find_at(text, from).unwrap() {
        found.extend((start < end).then(|| text[start..end].to_owned()));
        from = end.max(from + 1);
        if from > text.len() {
            break;
        }
    }
    found
}

#[test]
fn the_longest_of_the_leftmost_matches_is_found() {
    assert_eq!(found("a|ab", "ab abb"), ["ab", "ab"]);
    assert_eq!(found("a+?", "aaa b"), ["aaa"]);
    assert_eq!(found("a?(ab)?", "ab"), ["ab"]);
    assert_eq!(found(r"\b\w\w+\b", "größe x yy"), ["gr", "yy"]);
}

#[test]
fn classes_know_ascii_only_and_brackets_hold_characters() {
    assert_eq!(found(r"\w+", "größe x_1"), ["gr", "e", "x_1"]);
    assert_eq!(found("[a-zß]+", "größe"), ["gr", "ße"]);
    assert_eq!(found("[[]+", "a[[b"), ["[["]);
    assert_eq!(found("[]a]+", "b]ab"), ["]a"]);
    assert_eq!(found(r"[\w-]+", "a-b c"), ["a-b", "c"]);
    assert_eq!(found("[a&&b]+", "b&a-"), ["b&a"]);
    assert_eq!(found(r"[^\s]+", "a\u{a0}b c"), ["a\u{a0}b", "c"]);
    assert_eq!(found(r"\Qa+b\E+", "a+bb"), ["a+bb"]);
    assert_eq!(found(r"\pL+", "größe 1"), ["größe"]);
    assert_eq!(found(r"[[:alpha:]]+", "größe"), ["gr", "e"]);
    assert_eq!(found(r"a\-\/\'b", r"a-/'b"), ["a-/'b"]);
}

#[test]
fn a_run_of_characters_needs_no_automaton() {
    assert!(matches!(Longest::new("[a-zA-Z0-9_]+").unwrap(), Longest::Run(_)));
    assert!(matches!(Longest::new(r"\w+").unwrap(), Longest::Run(_)));
    assert!(matches!(Longest::new(r"\w\w+").unwrap(), Longest::Any(_)));
}

#[test]
fn a_whole_text_matches_or_does_not() {
    let whole = Whole::new("a|ab").unwrap();
    assert!(whole.is_match("ab") && whole.is_match("a") && !whole.is_match("abc"));
    assert!(!Whole::new("a").unwrap().is_match("a\n"));
    assert!(Whole::new("(").is_err());
}
