//! Reads responses from one connection: status line, the few headers that matter, a body of known
//! length that is kept while it fits the buffer and else counted and dropped. Nothing is allocated
//! per response.
//!
//! Chunked bodies are refused rather than decoded: an inference answer has a known length, and a
//! server that streams it would be measured by how it frames, not by how it answers.

use std::ops::Range;

/// A head longer than this is refused; a body may be of any length, and is kept if both fit.
const BUFFER: usize = 16 * 1024;

/// What went wrong with the bytes of a response. Static: counted by kind, never built per request.
pub type ParseError = &'static str;

/// Where the gateway says who has answered and how fast, or when to ask again, in the bytes that
/// were parsed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// `weighbridge-served-version`.
    pub version: Option<Range<usize>>,
    /// `weighbridge-rescued-from`: the canary that should have answered.
    pub rescued_from: Option<Range<usize>>,
    /// `weighbridge-variant`.
    pub variant: Option<Range<usize>>,
    /// `server-timing`: how long it waited and how long it ran.
    pub timing: Option<Range<usize>>,
    /// `retry-after`, of a refusal.
    pub retry_after: Option<Range<usize>>,
}

/// The parts of a response head that a load generator acts on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub status: u16,
    pub content_length: u64,
    /// The server closes the connection after this response.
    pub close: bool,
    pub source: Source,
    /// Bytes of the head, the empty line included.
    pub length: usize,
}

/// A whole response has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub close: bool,
    /// In [`ResponseReader::bytes`], as is the body.
    pub source: Source,
    /// `None` when it did not fit.
    pub body: Option<Range<usize>>,
}

/// What reading more bytes led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    NeedMore,
    Done(Response),
}

/// Parses response after response out of one fixed buffer, however the bytes are split.
#[derive(Debug)]
pub struct ResponseReader {
    buffer: Box<[u8]>,
    filled: usize,
    /// The head, once it is complete, and how much of the body is still to come.
    body: Option<(Head, u64)>,
}

impl Default for ResponseReader {
    fn default() -> Self {
        Self { buffer: vec![0; BUFFER].into_boxed_slice(), filled: 0, body: None }
    }
}

impl ResponseReader {
    /// Where the next bytes are to be read into; never empty.
    pub fn space(&mut self) -> &mut [u8] {
        &mut self.buffer[self.filled..]
    }

    /// True when no byte of the current response has arrived.
    pub fn is_empty(&self) -> bool {
        self.filled == 0 && self.body.is_none()
    }

    /// Bytes of the last response, until the next one is read.
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.buffer[range]
    }

    /// Takes note of `count` bytes read into [`Self::space`].
    ///
    /// After an error the connection is of no further use.
    pub fn advance(&mut self, count: usize) -> Result<Step, ParseError> {
        self.filled += count;
        loop {
            let (head, missing) = match &mut self.body {
                Some(body) => (&body.0, &mut body.1),
                None => {
                    let Some(head) = parse_head(&self.buffer[..self.filled])? else {
                        if self.filled == self.buffer.len() {
                            return Err("the response head is longer than 16 KiB");
                        }
                        return Ok(Step::NeedMore);
                    };
                    if head.length == self.buffer.len() {
                        return Err("the response head is longer than 16 KiB");
                    }
                    if (100..200).contains(&head.status) {
                        // An interim response has no body and another response follows it.
                        self.buffer.copy_within(head.length..self.filled, 0);
                        self.filled -= head.length;
                        continue;
                    }
                    let missing = head.content_length;
                    let body = self.body.insert((head, missing));
                    (&body.0, &mut body.1)
                }
            };
            let (start, is_kept) = (head.length, fits(head));
            let arrived = (self.filled - start) as u64;
            let expected = if is_kept { head.content_length } else { *missing };
            if arrived > expected {
                return Err("the server sent more than one response to one request");
            }
            *missing = expected - arrived;
            if !is_kept {
                // The head stays in place, for what it names; body bytes are overwritten.
                self.filled = start;
            }
            if *missing > 0 {
                return Ok(Step::NeedMore);
            }
            break;
        }
        let Some((head, _)) = self.body.take() else {
            return Ok(Step::NeedMore);
        };
        let body = fits(&head).then_some(head.length..self.filled);
        self.filled = 0;
        let Head { status, close, source, .. } = head;
        Ok(Step::Done(Response { status, close, source, body }))
    }
}

/// Whether the body fits the buffer beside its head.
fn fits(head: &Head) -> bool {
    head.content_length <= (BUFFER - head.length) as u64
}

/// Parses a head if all of it is there.
pub fn parse_head(bytes: &[u8]) -> Result<Option<Head>, ParseError> {
    let Some(status_line) = line(bytes, 0) else {
        return Ok(None);
    };
    let mut head = parse_status(&bytes[status_line.clone()])?;
    let mut content_length = None;
    let mut start = status_line.end + 2;
    loop {
        let Some(line) = line(bytes, start) else {
            return Ok(None);
        };
        start = line.end + 2;
        if line.is_empty() {
            break;
        }
        let Some(colon) = bytes[line.clone()].iter().position(|&byte| byte == b':') else {
            return Err("a response header has no colon");
        };
        let name = &bytes[line.start..line.start + colon];
        let value = trim(bytes, line.start + colon + 1..line.end);
        // Few headers have these lengths, so most cost one comparison of integers.
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                content_length = Some(parse_length(&bytes[value])?);
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                head.close = bytes[value].eq_ignore_ascii_case(b"close");
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                return Err("the response is chunked: only bodies of a stated length are read");
            }
            26 if name.eq_ignore_ascii_case(b"weighbridge-served-version") => {
                head.source.version = Some(value);
            }
            24 if name.eq_ignore_ascii_case(b"weighbridge-rescued-from") => {
                head.source.rescued_from = Some(value);
            }
            19 if name.eq_ignore_ascii_case(b"weighbridge-variant") => {
                head.source.variant = Some(value);
            }
            13 if name.eq_ignore_ascii_case(b"server-timing") => {
                head.source.timing = Some(value);
            }
            11 if name.eq_ignore_ascii_case(b"retry-after") => {
                head.source.retry_after = Some(value);
            }
            _ => {}
        }
    }
    head.length = start;
    let without_body = head.status < 200 || head.status == 204 || head.status == 304;
    head.content_length = match content_length {
        _ if without_body => 0,
        Some(length) => length,
        None => return Err("the response states no content-length"),
    };
    Ok(Some(head))
}

/// The line that starts at `start`, without its CRLF; `None` until that has arrived.
fn line(bytes: &[u8], start: usize) -> Option<Range<usize>> {
    let end = start + bytes.get(start..)?.iter().position(|&byte| byte == b'\n')?;
    // A lone LF ends no line: such a response never completes and meets the caller's time limit.
    (end > start && bytes[end - 1] == b'\r').then(|| start..end - 1)
}

fn parse_status(line: &[u8]) -> Result<Head, ParseError> {
    let (version, rest) = line.split_at_checked(9).ok_or("the response is not HTTP/1")?;
    let close = match version {
        b"HTTP/1.1 " => false,
        b"HTTP/1.0 " => true,
        _ => return Err("the response is not HTTP/1"),
    };
    let digits = rest.get(..3).ok_or("the response has no status code")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err("the response has no status code");
    }
    let status = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    Ok(Head { status, content_length: 0, close, source: Source::default(), length: 0 })
}

fn parse_length(digits: &[u8]) -> Result<u64, ParseError> {
    let in_range = (1..=18).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    if !in_range {
        return Err("the content-length is not a number");
    }
    Ok(digits.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
}

fn trim(bytes: &[u8], mut range: Range<usize>) -> Range<usize> {
    let blank = |byte: u8| byte == b' ' || byte == b'\t';
    while !range.is_empty() && blank(bytes[range.start]) {
        range.start += 1;
    }
    while !range.is_empty() && blank(bytes[range.end - 1]) {
        range.end -= 1;
    }
    range
}

#[cfg(test)]
mod tests;
