//! Each request has an id: the client's `x-request-id`, or one of ours.

use http::{HeaderMap, HeaderValue};

/// The header, in requests and answers.
pub const HEADER: &str = "x-request-id";

/// Longer ids are replaced: they go into every log line.
const LONGEST: usize = 128;

/// The id of a request.
#[derive(Debug, Clone)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The client's id if it is visible ASCII of a sane length, else a random one.
    pub fn of(headers: &HeaderMap) -> Self {
        let fits = |v: &&HeaderValue| {
            !v.is_empty() && v.len() <= LONGEST && v.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        headers.get(HEADER).filter(fits).cloned().map_or_else(Self::fresh, Self)
    }

    fn fresh() -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut random = rand::random::<u128>();
        let text = std::array::from_fn::<u8, 32, _>(|_| {
            let digit = DIGITS[(random & 15) as usize];
            random >>= 4;
            digit
        });
        Self(HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("-")))
    }

    /// As a header value.
    pub fn value(&self) -> HeaderValue {
        self.0.clone()
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or("-")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sane_ids_are_kept_and_others_replaced() {
        let id_for = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, HeaderValue::from_bytes(text.as_bytes()).unwrap());
            RequestId::of(&headers).as_str().to_owned()
        };
        assert_eq!(id_for("abc-7"), "abc-7");
        for odd in ["", "a b", "é", &"x".repeat(129)] {
            assert_eq!(id_for(odd).len(), 32, "{odd}");
        }
        let fresh = || RequestId::of(&HeaderMap::new()).as_str().to_owned();
        assert_ne!(fresh(), fresh());
    }
}
