//! Rust as text: what is left of a file without its comments and its tests.

/// `source` with comments blanked out, line by line as it was.
pub fn without_comments(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match (chars[at], chars.get(at + 1)) {
            ('/', Some('/')) => {
                at = find(&chars, at, |rest| rest[0] == '\n');
                continue;
            }
            ('/', Some('*')) => {
                let end = find(&chars, at + 2, |rest| rest.starts_with(&['*', '/'])) + 2;
                let skipped = &chars[at..end.min(chars.len())];
                out.extend(skipped.iter().filter(|c| **c == '\n'));
                at = end;
                continue;
            }
            ('"', _) => end_of_string(&chars, at),
            ('r', Some('"' | '#')) if !is_word(at.checked_sub(1).map(|b| chars[b])) => {
                end_of_raw(&chars, at)
            }
            ('\'', Some('\\')) => find(&chars, at + 3, |rest| rest[0] == '\'') + 1,
            ('\'', Some(_)) if chars.get(at + 2) == Some(&'\'') => at + 3,
            _ => at + 1,
        };
        let end = end.min(chars.len());
        out.extend(&chars[at..end]);
        at = end;
    }
    out
}

/// Where the rest first satisfies `is_it`, or the end.
fn find(chars: &[char], from: usize, is_it: impl Fn(&[char]) -> bool) -> usize {
    (from..chars.len()).find(|at| is_it(&chars[*at..])).unwrap_or(chars.len())
}

fn is_word(char: Option<char>) -> bool {
    char.is_some_and(|c| c.is_alphanumeric() || c == '_')
}

fn end_of_string(chars: &[char], from: usize) -> usize {
    let mut at = from + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// The end of `r"…"` or `r#"…"#`; of a raw identifier (`r#type`) only its `r`.
fn end_of_raw(chars: &[char], from: usize) -> usize {
    let hashes = chars[from + 1..].iter().take_while(|c| **c == '#').count();
    if chars.get(from + 1 + hashes) != Some(&'"') {
        return from + 1;
    }
    let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    find(chars, from + 2 + hashes, |rest| rest.starts_with(&close)) + close.len()
}

/// What runs in production: no comments, and nothing from the inline tests on, which stand
/// last in a file.
pub fn code(source: &str) -> String {
    let code = without_comments(source);
    let lines: Vec<&str> = code.lines().collect();
    let tests = lines.windows(2).position(|pair| {
        pair[0].trim() == "#[cfg(test)]" && pair[1].trim_start().starts_with("mod tests {")
    });
    lines[..tests.unwrap_or(lines.len())].join("\n")
}

/// The words of a line of code: names, keywords, and what stands in its strings.
pub fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty())
}

#[test]
fn comments_are_told_from_strings_and_lifetimes() {
    let source =
        "let a = \"// no\"; // yes\nfn f<'a>(c: char) { c == '\"' /* x\ny */; r#\"// \" no\"# }\n";
    let wanted = "let a = \"// no\"; \nfn f<'a>(c: char) { c == '\"' \n; r#\"// \" no\"# }\n";
    assert_eq!(without_comments(source), wanted);
    assert_eq!(without_comments("r#type; '\\''; // x"), "r#type; '\\''; ");
}

#[test]
fn tests_are_no_code() {
    let source = "fn f() {}\n\n#[cfg(test)]\nmod tests {\n    fn g() {}\n}\n";
    assert_eq!(code(source), "fn f() {}\n");
    assert_eq!(code("#[cfg(test)]\nmod tests;\nfn f() {}"), "#[cfg(test)]\nmod tests;\nfn f() {}");
}
