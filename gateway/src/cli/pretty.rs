//! JSON laid out for people: containers of scalars stay on one line, so that a row of 500
//! numbers is one line and not 500. Numbers and the order of members stay as they came.

/// Lays out valid JSON; anything else comes out in some form too, with nothing lost but white
/// space outside of strings.
pub fn pretty(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    // For each open container, whether its members stand on lines of their own.
    let mut open: Vec<bool> = Vec::new();
    let mut text = Text::default();
    for (at, c) in json.char_indices() {
        if text.holds(c) {
            out.push(c);
            continue;
        }
        match c {
            '{' | '[' => {
                out.push(c);
                let nests = nests(&json[at + 1..]);
                open.push(nests);
                if nests {
                    line_break(&mut out, open.len());
                }
            }
            '}' | ']' => {
                if open.pop() == Some(true) {
                    line_break(&mut out, open.len());
                }
                out.push(c);
            }
            ',' => {
                out.push(c);
                match open.last() {
                    Some(true) => line_break(&mut out, open.len()),
                    _ => out.push(' '),
                }
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}

/// Whether the container that opens before `rest` holds another one.
fn nests(rest: &str) -> bool {
    let mut text = Text::default();
    let mut outside = rest.chars().filter(|c| !text.holds(*c));
    matches!(outside.find(|c| matches!(c, '{' | '[' | '}' | ']')), Some('{' | '['))
}

fn line_break(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

/// Whether the reader stands in a string.
#[derive(Default)]
struct Text {
    inside: bool,
    escaped: bool,
}

impl Text {
    /// Takes the next character; true when it belongs to a string, its quotes included.
    fn holds(&mut self, c: char) -> bool {
        let was_inside = self.inside;
        match c {
            '"' if !self.escaped => self.inside = !self.inside,
            _ => {}
        }
        self.escaped = was_inside && c == '\\' && !self.escaped;
        was_inside || self.inside
    }
}

#[cfg(test)]
mod tests {
    use super::pretty;

    #[test]
    fn containers_of_scalars_stay_on_one_line() {
        let shown =
            pretty(r#"{"m":"a,{\"b","outputs":[{"shape":[1,2],"data":[0.10,1e-7]}],"e":{}}"#);
        let wanted = r#"{
  "m": "a,{\"b",
  "outputs": [
    {
      "shape": [1, 2],
      "data": [0.10, 1e-7]
    }
  ],
  "e": {}
}"#;
        assert_eq!(shown, wanted);
        assert_eq!(pretty(wanted), wanted, "laying out twice changes nothing");
    }

    #[test]
    fn text_that_is_no_json_survives() {
        assert_eq!(pretty("]}{"), "]}{");
        assert_eq!(pretty("\"a\\\\\" : é"), "\"a\\\\\": é");
        assert_eq!(pretty(""), "");
    }
}
