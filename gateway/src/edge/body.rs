//! Bodies, bounded in size, in time and in memory, and unpacked where they come packed.

pub mod messages;
pub mod metered;
pub mod packing;

use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt;
use weighbridge_config::settings::Limits;
use weighbridge_protocol::NamedTensor;

use crate::edge::body::packing::Packing;
use crate::edge::permits::BodyMemory;
use crate::edge::problem::{Kind, Problem};

/// A body in memory, with the account that holds its place.
#[derive(Debug)]
pub struct Held {
    pub bytes: Bytes,
    memory: BodyMemory,
}

impl Held {
    /// The account alone, once the bytes have become `tensors`: those of texts are larger.
    pub fn into_memory(self, tensors: &[NamedTensor]) -> Result<BodyMemory, Problem> {
        let mut memory = self.memory;
        memory.hold(tensors.iter().map(|named| named.tensor.data().memory() as u64).sum())?;
        Ok(memory)
    }
}

/// Bytes of a body that get their place before they come.
const AT_FIRST: u64 = 64 * 1024;

/// How a body may arrive.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Bytes.
    limit: u64,
    /// The most time between two frames.
    patience: Duration,
    until: Instant,
}

/// Reads a whole body within `limits`, before `deadline`; unpacks it if `headers` say so.
pub async fn read(
    mut body: Body,
    headers: &HeaderMap,
    limits: &Limits,
    deadline: Instant,
    mut memory: BodyMemory,
) -> Result<Held, Problem> {
    let packing = Packing::of(headers)?;
    let (limit, patience) = (limits.body.bytes(), limits.body_read_timeout);
    let bounds = Bounds { limit, patience, until: deadline };
    let bytes = read_whole(&mut body, bounds, &mut memory).await;
    if bytes.as_ref().is_err_and(|p| matches!(p.kind, Kind::BodyTooLarge | Kind::Overloaded)) {
        discard(body).await;
    }
    let mut bytes = bytes?;
    if packing != Packing::Plain {
        // Unpacking is work for a processor.
        bytes = tokio::task::block_in_place(|| {
            let packed = bytes.len() as u64;
            let hold = |unpacked| memory.hold(packed + unpacked);
            packing.unpack(&bytes, limit, limits.decompression_ratio, hold)
        })?;
    }
    Ok(Held { bytes, memory })
}

async fn read_whole(
    body: &mut Body,
    bounds: Bounds,
    memory: &mut BodyMemory,
) -> Result<Bytes, Problem> {
    let Bounds { limit, .. } = bounds;
    let said = http_body::Body::size_hint(body).lower();
    if said > limit {
        return Err(too_large(limit));
    }
    // What is announced and does not come takes no place.
    memory.hold(said.min(AT_FIRST))?;
    // Nearly every body is one frame: that one is not copied.
    let Some(first) = next_frame(body, bounds).await? else {
        return Ok(Bytes::new());
    };
    if first.len() as u64 > limit {
        return Err(too_large(limit));
    }
    memory.hold(first.len() as u64)?;
    let Some(second) = next_frame(body, bounds).await? else {
        return Ok(first);
    };
    let expected = usize::try_from(said.min(limit)).unwrap_or(0);
    let mut whole = BytesMut::with_capacity(expected.max(first.len() + second.len()));
    whole.extend_from_slice(&first);
    let mut next = Some(second);
    while let Some(frame) = next {
        let length = (whole.len() + frame.len()) as u64;
        if length > limit {
            return Err(too_large(limit));
        }
        memory.hold(length)?;
        whole.extend_from_slice(&frame);
        next = next_frame(body, bounds).await?;
    }
    Ok(whole.freeze())
}

async fn next_frame(body: &mut Body, bounds: Bounds) -> Result<Option<Bytes>, Problem> {
    let Bounds { patience, until, .. } = bounds;
    loop {
        if http_body::Body::is_end_stream(body) {
            return Ok(None);
        }
        let stand_still = Instant::now() + patience;
        let frame = tokio::time::timeout_at(stand_still.min(until).into(), body.frame());
        let frame = frame.await.map_err(|_| {
            let detail = if until < stand_still {
                "the body had not arrived when the request's time was over".to_owned()
            } else {
                let waited = humantime::format_duration(patience);
                format!("no part of the body came for {waited}")
            };
            Problem::new(Kind::BodyTimeout, detail)
        })?;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => {
                let detail = format!("the body was cut off: {error}");
                return Err(Problem::new(Kind::InvalidRequest, detail));
            }
            // Trailers carry nothing for us.
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// Reads and drops what is left of a refused body, for a bounded time and size: a client that
/// is still sending would otherwise see a broken connection instead of the answer.
pub async fn discard(mut body: Body) {
    const MOST_BYTES: usize = 64 << 20;
    const PATIENCE: Duration = Duration::from_secs(2);
    let until = Instant::now() + PATIENCE;
    let bounds = Bounds { limit: MOST_BYTES as u64, patience: PATIENCE, until };
    let mut dropped = 0;
    while let Ok(Some(frame)) = next_frame(&mut body, bounds).await {
        dropped += frame.len();
        if dropped > MOST_BYTES {
            return;
        }
    }
}

fn too_large(limit: u64) -> Problem {
    let detail = format!("the body is larger than the limit of {limit} bytes (limits.body)");
    Problem::new(Kind::BodyTooLarge, detail)
}

#[cfg(test)]
mod tests;
