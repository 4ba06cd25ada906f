//! `NaN`, `Infinity` and `-Infinity` without quotes: no JSON, yet what Python writes.
//!
//! Nobody pays for them who does not send them: only a body that is not valid JSON is searched
//! for such words. They are put between quotes behind a mark, which float elements take and
//! everything else refuses, and the body is decoded again.

use weighbridge_config::TensorData;

use crate::error::BadRequest;

/// Stands before a word that came without quotes: a character that no text has a use for.
pub(crate) const MARK: char = '\u{ffff}';

/// Decodes `body`; when that fails for its syntax and it holds bare words, decodes it with the
/// words marked. `has_mark` tells whether a marked word ended where no number is wanted.
pub(crate) fn decode<T>(
    body: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, serde_json::Error>,
    has_mark: impl Fn(&T) -> bool,
) -> Result<T, BadRequest> {
    let error = match decode(body) {
        Ok(decoded) => return Ok(decoded),
        Err(error) if error.is_syntax() => error,
        Err(error) => return Err(BadRequest::json(&error)),
    };
    let Some(marked) = marked(body) else { return Err(BadRequest::json(&error)) };
    match decode(&marked) {
        Ok(decoded) if has_mark(&decoded) => Err(BadRequest::new(
            "NaN or Infinity came without quotes where no element of a float tensor stands",
        )),
        Ok(decoded) => Ok(decoded),
        // Its line and column are those of the marked text.
        Err(error) => {
            let told = BadRequest::text(&error).0.replace(MARK, "");
            let lead = if error.is_data() { "" } else { "the body is not valid JSON: " };
            Err(BadRequest(format!("{lead}{told}")))
        }
    }
}

/// True when an element of BYTES is a marked word.
pub(crate) fn is_in(data: &TensorData) -> bool {
    match data {
        TensorData::Bytes(elements) => {
            let mut mark = [0; 4];
            let mark = MARK.encode_utf8(&mut mark).as_bytes();
            elements.iter().any(|element| element.starts_with(mark))
        }
        _ => false,
    }
}

/// `json` with its bare words marked and quoted; `None` when it has none.
fn marked(json: &[u8]) -> Option<Vec<u8>> {
    const WORDS: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];
    let is_word = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let mut out: Option<Vec<u8>> = None;
    // Up to here `json` stands in `out`.
    let mut done = 0;
    let mut at = 0;
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => {
                at = end_of_string(json, at + 1);
                continue;
            }
            b'N' | b'I' | b'-' => {}
            _ => {
                at += 1;
                continue;
            }
        }
        let word = WORDS.iter().find(|word| json[at..].starts_with(word));
        let before = at.checked_sub(1).and_then(|before| json.get(before));
        match word {
            Some(word) if !is_word(json.get(at + word.len())) && !is_word(before) => {
                let out = out.get_or_insert_with(|| Vec::with_capacity(json.len() * 3 / 2));
                out.extend_from_slice(&json[done..at]);
                out.push(b'"');
                out.extend_from_slice(MARK.encode_utf8(&mut [0; 4]).as_bytes());
                out.extend_from_slice(word);
                out.push(b'"');
                at += word.len();
                done = at;
            }
            _ => at += 1,
        }
    }
    let mut out = out?;
    out.extend_from_slice(&json[done..]);
    Some(out)
}

/// The place after the quote that ends a string whose text begins at `from`.
fn end_of_string(json: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    json.len()
}

/// A word for a number that JSON has none for, bare or, as in proto3's JSON, between quotes.
pub(crate) fn number(text: &str) -> Option<f64> {
    match text.strip_prefix(MARK).unwrap_or(text) {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_marked_outside_strings_only() {
        let text = |json: &str| {
            marked(json.as_bytes()).map(|out| String::from_utf8(out).unwrap().replace(MARK, "~"))
        };
        for plain in ["[1,2]", r#"["NaN","a\"NaN"]"#, "[NaNs]", "[aNaN,xInfinity]", "\"NaN", "-"] {
            assert_eq!(text(plain), None, "{plain}");
        }
        let wanted = r#"["~NaN", "~-Infinity","~Infinity","NaN\\"]"#;
        assert_eq!(text(r#"[NaN, -Infinity,Infinity,"NaN\\"]"#).as_deref(), Some(wanted));
        assert_eq!(text(r#"{"a":NaN"#).as_deref(), Some(r#"{"a":"~NaN""#));
    }
}
