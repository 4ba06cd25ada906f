//! One request and its whole answer, blocking, on a connection of its own: for the few questions
//! asked around a measurement (metadata, readiness, metrics), never inside one.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::request::{Header, Target};
use super::response::parse_head;

/// Answers longer than this are refused: a metrics page is far shorter.
const LARGEST: u64 = 64 << 20;

/// A status and a body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body of a 200; any other status is an error that shows what the server said.
    pub fn success(self) -> Result<Vec<u8>> {
        let said = String::from_utf8_lossy(&self.body);
        ensure!(self.status == 200, "the server answered {}: {}", self.status, said.trim());
        Ok(self.body)
    }
}

/// `GET path`, all of it within `limit`.
pub fn get(target: &Target, path: &str, headers: &[Header], limit: Duration) -> Result<Answer> {
    exchange(target, &target.get(path, headers), limit).with_context(|| format!("GET {path}"))
}

/// `POST path` with a JSON body, all of it within `limit`.
pub fn post(target: &Target, path: &str, body: &[u8], limit: Duration) -> Result<Answer> {
    send(target, "POST", path, &[], Some(body), limit)
}

/// Any request, all of it within `limit`.
pub fn send(
    target: &Target,
    verb: &str,
    path: &str,
    headers: &[Header],
    body: Option<&[u8]>,
    limit: Duration,
) -> Result<Answer> {
    let request = target.request(verb, path, headers, body);
    exchange(target, &request, limit).with_context(|| format!("{verb} {path}"))
}

fn exchange(target: &Target, request: &[u8], limit: Duration) -> Result<Answer> {
    let deadline = Instant::now() + limit;
    let mut stream = TcpStream::connect_timeout(&target.address, limit)
        .with_context(|| format!("connect to {}", target.address))?;
    stream.set_write_timeout(Some(limit)).context("set the write timeout")?;
    // A server may refuse before it has read everything: what it says is the better error.
    let sent = stream.write_all(request).context("send the request");

    let mut bytes = Vec::with_capacity(4096);
    let mut piece = [0; 16 * 1024];
    loop {
        if let Some(head) = parse_head(&bytes).map_err(|reason| anyhow!(reason))? {
            ensure!(head.content_length <= LARGEST, "the answer is longer than 64 MiB");
            let end = head.length + head.content_length as usize;
            if bytes.len() >= end {
                bytes.truncate(end);
                return Ok(Answer { status: head.status, body: bytes.split_off(head.length) });
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        ensure!(!left.is_zero(), "no whole answer within {limit:?}");
        stream.set_read_timeout(Some(left)).context("set the read timeout")?;
        match stream.read(&mut piece) {
            Ok(0) => {
                sent?;
                bail!("the server closed the connection before its answer was whole")
            }
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                bail!("no whole answer within {limit:?}")
            }
            Err(error) => {
                sent?;
                return Err(error).context("read the answer");
            }
        }
    }
}
