//! Bodies, bounded in size and in time.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use crate::edge::problem::{Kind, Problem};

/// Reads a whole body of at most `limit` bytes; each frame must come within `patience`.
pub async fn read(mut body: Body, limit: u64, patience: Duration) -> Result<Bytes, Problem> {
    let bytes = read_whole(&mut body, limit, patience).await;
    if bytes.as_ref().is_err_and(|p| p.kind == Kind::BodyTooLarge) {
        discard(body).await;
    }
    bytes
}

async fn read_whole(body: &mut Body, limit: u64, patience: Duration) -> Result<Bytes, Problem> {
    let said = http_body::Body::size_hint(body).lower();
    if said > limit {
        return Err(too_large(limit));
    }
    // Nearly every body is one frame: that one is not copied.
    let Some(first) = next_frame(body, patience).await? else {
        return Ok(Bytes::new());
    };
    if first.len() as u64 > limit {
        return Err(too_large(limit));
    }
    let Some(second) = next_frame(body, patience).await? else {
        return Ok(first);
    };
    let expected = usize::try_from(said.min(limit)).unwrap_or(0);
    let mut whole = BytesMut::with_capacity(expected.max(first.len() + second.len()));
    whole.extend_from_slice(&first);
    let mut next = Some(second);
    while let Some(frame) = next {
        if (whole.len() + frame.len()) as u64 > limit {
            return Err(too_large(limit));
        }
        whole.extend_from_slice(&frame);
        next = next_frame(body, patience).await?;
    }
    Ok(whole.freeze())
}

async fn next_frame(body: &mut Body, patience: Duration) -> Result<Option<Bytes>, Problem> {
    loop {
        if http_body::Body::is_end_stream(body) {
            return Ok(None);
        }
        let frame = tokio::time::timeout(patience, body.frame()).await.map_err(|_| {
            let waited = humantime::format_duration(patience);
            Problem::new(Kind::BodyTimeout, format!("no part of the body came for {waited}"))
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
async fn discard(mut body: Body) {
    const MOST_BYTES: usize = 64 << 20;
    const PATIENCE: Duration = Duration::from_secs(2);
    let drop_frames = async {
        let mut dropped = 0;
        while let Ok(Some(frame)) = next_frame(&mut body, PATIENCE).await {
            dropped += frame.len();
            if dropped > MOST_BYTES {
                return;
            }
        }
    };
    // Out of patience is out of courtesy: nothing else depends on it.
    let _ = tokio::time::timeout(PATIENCE, drop_frames).await;
}

fn too_large(limit: u64) -> Problem {
    let detail = format!("the body is larger than the limit of {limit} bytes (limits.body)");
    Problem::new(Kind::BodyTooLarge, detail)
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn frames(parts: &'static [&'static str]) -> Body {
        Body::from_stream(stream::iter(parts.iter().map(|p| Ok::<_, std::io::Error>(*p))))
    }

    #[tokio::test]
    async fn bodies_are_read_up_to_the_limit() {
        let patience = Duration::from_secs(5);
        for parts in [&["abcdef"][..], &["ab", "cd", "ef"], &["abc", "", "def"]] {
            let bytes = read(frames(parts), 6, patience).await;
            assert_eq!(bytes.as_deref(), Ok(&b"abcdef"[..]));
            let refused = read(frames(parts), 5, patience).await.unwrap_err();
            assert_eq!(refused.kind, Kind::BodyTooLarge);
        }
        assert_eq!(read(Body::empty(), 5, patience).await.as_deref(), Ok(&b""[..]));
        assert!(read(Body::from("abcdef"), 5, patience).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stands_still_is_given_up() {
        let stuck = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let problem = read(stuck, 10, Duration::from_secs(30)).await.unwrap_err();
        assert_eq!(problem.kind, Kind::BodyTimeout);
        let broken = Body::from_stream(stream::iter([
            Ok(Bytes::from_static(b"a")),
            Err(std::io::Error::other("gone")),
        ]));
        let problem = read(broken, 10, Duration::from_secs(30)).await.unwrap_err();
        assert_eq!(problem.kind, Kind::InvalidRequest);
    }
}
