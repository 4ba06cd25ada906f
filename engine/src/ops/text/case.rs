//! Letter case, one code point for one code point, as ONNX Runtime changes it.

/// What becomes of the letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Lower,
    Upper,
}

/// Which letters have a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Letters {
    Ascii,
    Unicode,
}

impl Case {
    pub(super) fn change(self, text: &str, letters: Letters) -> String {
        if letters == Letters::Ascii || text.is_ascii() {
            return match self {
                Self::Lower => text.to_ascii_lowercase(),
                Self::Upper => text.to_ascii_uppercase(),
            };
        }
        let change = match self {
            Self::Lower => lower,
            Self::Upper => upper,
        };
        text.chars().map(change).collect()
    }
}

/// Unicode's simple mapping. The standard library has the full one, which differs where it
/// makes several code points out of one.
fn lower(c: char) -> char {
    match c {
        '\u{130}' => 'i',
        c => single(c.to_lowercase()).unwrap_or(c),
    }
}

fn upper(c: char) -> char {
    let offset = match c {
        // Greek letters with iota below, whose simple capitals are their title forms.
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => 8,
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => 9,
        c => return single(c.to_uppercase()).unwrap_or(c),
    };
    char::from_u32(c as u32 + offset).unwrap_or(c)
}

fn single(mut mapped: impl Iterator<Item = char>) -> Option<char> {
    let first = mapped.next();
    first.filter(|_| mapped.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_changes_its_number_of_code_points() {
        for c in (0..=u32::from(char::MAX)).filter_map(char::from_u32) {
            let text = c.to_string();
            for case in [Case::Lower, Case::Upper] {
                assert_eq!(case.change(&text, Letters::Unicode).chars().count(), 1, "{c:?}");
            }
        }
    }

    #[test]
    fn simple_mappings_are_taken_where_the_full_ones_are_longer() {
        // As ONNX Runtime 1.31 answers under the locale C.UTF-8.
        assert_eq!(Case::Lower.change("ÄB İ ẞ", Letters::Unicode), "äb i ß");
        assert_eq!(Case::Upper.change("äß ᾳ ŉ ı ǆ", Letters::Unicode), "Äß ᾼ ŉ I Ǆ");
        assert_eq!(Case::Lower.change("ÄB", Letters::Ascii), "Äb");
    }
}
