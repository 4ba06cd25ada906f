//! Bodies that are packed on their way: gzip, deflate and Zstandard, in both directions.

use std::io::{self, Read as _, Write as _};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};

use crate::edge::problem::{Kind, Problem};

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Gzip,
    Deflate,
    Zstd,
}

/// What is taken, for who sent something else.
pub const TAKEN: &str = "gzip, deflate, zstd";
/// Answers below this size, in bytes, fit into one packet as they are.
const WORTH_PACKING: usize = 1024;
/// Fast: an answer is awaited.
const GZIP_LEVEL: u32 = 1;
const ZSTD_LEVEL: i32 = 1;
/// The largest window that is unpacked, as a power of two: 8 MiB, what RFC 8878 asks of everybody.
const ZSTD_WINDOW_LOG: u32 = 23;

impl Packing {
    /// How the body of a request is packed.
    ///
    /// # Errors
    /// A name that is not known, or two.
    pub fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut packing = Self::Plain;
        for value in headers.get_all(header::CONTENT_ENCODING) {
            let text = value.to_str().unwrap_or("?").trim().to_ascii_lowercase();
            let found = Self::named(&text).ok_or_else(|| {
                let came: String = text.chars().take(40).collect();
                let detail =
                    format!("Content-Encoding is \"{came}\": wanted gzip, deflate or zstd, once");
                Problem::new(Kind::UnsupportedEncoding, detail)
            })?;
            if found != Self::Plain && packing != Self::Plain {
                let detail = "Content-Encoding came twice: wanted gzip, deflate or zstd, once";
                return Err(Problem::new(Kind::UnsupportedEncoding, detail));
            }
            packing = if found == Self::Plain { packing } else { found };
        }
        Ok(packing)
    }

    /// The packing of this name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "" | "identity" => Some(Self::Plain),
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// How an answer may be packed: what the client likes best. Of equals gzip comes first, since
    /// clients list more than they unpack (aiohttp's zstd in Triton's).
    pub fn accepted(headers: &HeaderMap) -> Self {
        let mut best = (0, 0, Self::Plain);
        for value in headers.get_all(header::ACCEPT_ENCODING) {
            for item in value.to_str().unwrap_or("").split(',') {
                let (name, weight) = item.split_once(';').unwrap_or((item, "q=1"));
                let weight = weight.trim().strip_prefix("q=").unwrap_or("1");
                let weight: f32 = weight.trim().parse().unwrap_or(0.0);
                let name = name.trim().to_ascii_lowercase();
                let Some(packing) = Self::named(&name).filter(|_| weight > 0.0) else { continue };
                let rank = match packing {
                    Self::Plain => continue,
                    Self::Zstd => 1,
                    Self::Deflate => 2,
                    Self::Gzip => 3,
                };
                let found = ((weight * 1000.0) as u32, rank, packing);
                if (found.0, found.1) > (best.0, best.1) {
                    best = found;
                }
            }
        }
        best.2
    }

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "identity",
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Zstd => "zstd",
        }
    }

    /// Unpacks at most `limit` bytes, and at most `ratio` times those that came: what a few bytes
    /// blow up to is no request. `hold` is told how many bytes have been unpacked so far.
    pub fn unpack(
        self,
        packed: &[u8],
        limit: u64,
        ratio: u32,
        mut hold: impl FnMut(u64) -> Result<(), Problem>,
    ) -> Result<Bytes, Problem> {
        /// Small bodies may well be mostly repetition: masks, and batches that are filled up.
        const ALWAYS: u64 = 1 << 20;
        const STEP: usize = 64 * 1024;
        let unreadable = |error: io::Error| {
            Problem::new(Kind::InvalidRequest, format!("the packed body cannot be read: {error}"))
        };
        let by_ratio = (packed.len() as u64).saturating_mul(u64::from(ratio)).max(ALWAYS);
        let most = limit.min(by_ratio);
        let mut reader: Box<dyn io::Read> = match self {
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(packed)),
            // RFC 9110: the zlib format; many send bare deflate all the same.
            Self::Deflate if is_zlib(packed) => Box::new(flate2::read::ZlibDecoder::new(packed)),
            Self::Deflate => Box::new(flate2::read::DeflateDecoder::new(packed)),
            Self::Zstd => {
                let mut reader = zstd::Decoder::with_buffer(packed).map_err(unreadable)?;
                // A window is taken before the first byte is there.
                reader.window_log_max(ZSTD_WINDOW_LOG).map_err(unreadable)?;
                Box::new(reader)
            }
            Self::Plain => return Ok(Bytes::copy_from_slice(packed)),
        };
        let mut whole = Vec::new();
        loop {
            let before = whole.len();
            let step = reader.by_ref().take(STEP as u64).read_to_end(&mut whole);
            step.map_err(unreadable)?;
            if whole.len() == before {
                return Ok(whole.into());
            }
            if whole.len() as u64 > most {
                let detail = if most < limit {
                    format!(
                        "the body unpacks to more than {ratio} times its {} bytes \
                         (limits.decompression_ratio)",
                        packed.len()
                    )
                } else {
                    format!("the body unpacks to more than {limit} bytes (limits.body)")
                };
                return Err(Problem::new(Kind::BodyTooLarge, detail));
            }
            hold(whole.len() as u64)?;
        }
    }

    /// Packs the body of an answer, where that is asked for and worth it, and says so in its
    /// headers.
    pub fn pack(self, body: Vec<u8>, headers: &mut HeaderMap) -> Vec<u8> {
        if self == Self::Plain || body.len() < WORTH_PACKING {
            return body;
        }
        match self.packed(&body) {
            // What does not shrink is sent as it is.
            Ok(packed) if packed.len() < body.len() => {
                let name = HeaderValue::from_static(self.name());
                headers.insert(header::CONTENT_ENCODING, name);
                let by = HeaderValue::from_static("accept-encoding");
                headers.insert(header::VARY, by);
                packed
            }
            _ => body,
        }
    }

    fn packed(self, body: &[u8]) -> io::Result<Vec<u8>> {
        let (out, level) =
            (Vec::with_capacity(body.len() / 2), flate2::Compression::new(GZIP_LEVEL));
        match self {
            Self::Plain => Ok(body.to_vec()),
            Self::Gzip => {
                let mut writer = flate2::write::GzEncoder::new(out, level);
                writer.write_all(body)?;
                writer.finish()
            }
            Self::Deflate => {
                let mut writer = flate2::write::ZlibEncoder::new(out, level);
                writer.write_all(body)?;
                writer.finish()
            }
            Self::Zstd => zstd::bulk::compress(body, ZSTD_LEVEL),
        }
    }
}

/// Whether the first two bytes are a zlib header (RFC 1950): their checksum fits.
fn is_zlib(packed: &[u8]) -> bool {
    matches!(packed, [cmf, flags, ..]
        if cmf & 0x0f == 8 && (u16::from(*cmf) << 8 | u16::from(*flags)).is_multiple_of(31))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(text: &str) -> Packing {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, text.parse().unwrap());
        Packing::accepted(&headers)
    }

    #[test]
    fn answers_are_packed_as_the_client_likes_best() {
        assert_eq!(Packing::accepted(&HeaderMap::new()), Packing::Plain);
        for (text, wanted) in [
            ("identity", Packing::Plain),
            ("gzip", Packing::Gzip),
            ("gzip, deflate", Packing::Gzip),
            ("gzip, deflate, br, zstd", Packing::Gzip),
            ("zstd, br", Packing::Zstd),
            ("deflate, gzip;q=0.5", Packing::Deflate),
            ("gzip;q=0", Packing::Plain),
            ("*", Packing::Plain),
            ("br", Packing::Plain),
            ("GZIP; q=0.8", Packing::Gzip),
        ] {
            assert_eq!(accepted(text), wanted, "{text}");
        }
    }

    #[test]
    fn small_answers_and_those_that_do_not_shrink_stay_as_they_are() {
        let mut headers = HeaderMap::new();
        assert_eq!(Packing::Gzip.pack(vec![0; 100], &mut headers), vec![0; 100]);
        let noise: Vec<u8> = (0..4096).map(|_| rand::random()).collect();
        assert_eq!(Packing::Zstd.pack(noise.clone(), &mut headers), noise);
        assert!(headers.is_empty());
        for packing in [Packing::Gzip, Packing::Deflate, Packing::Zstd] {
            let packed = packing.pack(vec![7; 4096], &mut headers);
            assert!(packed.len() < 400);
            assert_eq!(headers[header::CONTENT_ENCODING], packing.name());
        }
    }
}
