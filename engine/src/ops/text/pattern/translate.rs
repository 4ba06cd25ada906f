//! From RE2's syntax to that of the regex crate.

/// The same expression for the regex crate. What RE2 would refuse may pass; what the regex crate
/// lacks fails when it is parsed.
pub(super) fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    let mut brackets = Brackets::Outside;
    while let Some(c) = rest.chars().next() {
        let mut taken = c.len_utf8();
        match (brackets, c) {
            (_, '\\') => {
                let escaped = rest[1..].chars().next();
                taken += escaped.map_or(0, char::len_utf8);
                taken += escape(&rest[taken..], escaped, brackets, &mut out);
            }
            (Brackets::Outside, '[') => {
                let negated = rest[1..].starts_with('^');
                out.push_str(if negated { "[^" } else { "[" });
                taken += usize::from(negated);
                // A closing bracket that comes first is a character.
                if rest[taken..].starts_with(']') {
                    out.push_str(r"\]");
                    taken += 1;
                }
                brackets = Brackets::Inside;
            }
            (Brackets::Inside, ']') => {
                out.push(']');
                brackets = Brackets::Outside;
            }
            (Brackets::Inside, '[') => match named_class(rest) {
                Some(name) => {
                    out.push_str(name);
                    taken = name.len();
                }
                None => out.push_str(r"\["),
            },
            // Set operations of the regex crate, plain characters in RE2.
            (Brackets::Inside, '&' | '~') => out.extend(['\\', c]),
            (Brackets::Inside, '-') if rest[1..].starts_with('-') => out.push_str(r"\-"),
            _ => out.push(c),
        }
        rest = &rest[taken..];
    }
    out
}

#[derive(Clone, Copy, PartialEq)]
enum Brackets {
    Outside,
    Inside,
}

/// `[:alpha:]` and the like at the beginning of `rest`.
fn named_class(rest: &str) -> Option<&str> {
    let end = rest.starts_with("[:").then(|| rest.find(":]"))??;
    Some(&rest[..end + 2])
}

/// Writes what `\` and `escaped` mean; returns how much of `rest`, which follows, belongs to it.
fn escape(rest: &str, escaped: Option<char>, brackets: Brackets, out: &mut String) -> usize {
    let ascii = |members: &str| match brackets {
        Brackets::Inside => members.to_owned(),
        Brackets::Outside => format!("[{members}]"),
    };
    match escaped {
        Some('d') => out.push_str(&ascii("0-9")),
        Some('w') => out.push_str(&ascii("0-9A-Za-z_")),
        Some('s') => out.push_str(&ascii(r"\t\n\x0C\r ")),
        Some('D') => out.push_str("[^0-9]"),
        Some('W') => out.push_str("[^0-9A-Za-z_]"),
        Some('S') => out.push_str(r"[^\t\n\x0C\r ]"),
        Some('b') if brackets == Brackets::Outside => out.push_str(r"(?-u:\b)"),
        Some('B') if brackets == Brackets::Outside => out.push_str(r"(?-u:\B)"),
        Some('Q') => {
            let (quoted, taken) = match rest.find(r"\E") {
                Some(end) => (&rest[..end], end + 2),
                None => (rest, rest.len()),
            };
            out.push_str(&regex_syntax::escape(quoted));
            return taken;
        }
        // RE2 takes a backslash before any mark, the regex crate before most.
        Some(c) if !c.is_ascii_alphanumeric() => {
            out.push_str(&regex_syntax::escape(c.encode_utf8(&mut [0; 4])))
        }
        Some(c) => out.extend(['\\', c]),
        None => out.push('\\'),
    }
    0
}
