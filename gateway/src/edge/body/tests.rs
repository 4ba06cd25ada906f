use http::header;
use std::io::Write as _;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use futures_util::stream;
use http::HeaderValue;
use weighbridge_config::ByteSize;
use weighbridge_config::settings::Priority;

use super::*;
use crate::edge::permits::Permits;

fn frames(parts: &'static [&'static str]) -> Body {
    Body::from_stream(stream::iter(parts.iter().map(|p| Ok::<_, std::io::Error>(*p))))
}

fn limits(bytes: u64) -> Limits {
    Limits { body: ByteSize::new(bytes), ..Limits::default() }
}

async fn read_as(encoding: &str, body: Body, limits: &Limits) -> Result<Vec<u8>, Kind> {
    read_beside(0, encoding, body, limits).await
}

/// As [`read_as`], while other bodies hold so many bytes.
async fn read_beside(
    others: u64,
    encoding: &str,
    body: Body,
    limits: &Limits,
) -> Result<Vec<u8>, Kind> {
    let permits = Arc::new(Permits::default());
    let mut other = permits.body(limits, Priority::High, &"other".into());
    other.hold(others).unwrap();
    let memory = permits.body(limits, Priority::High, &"".into());
    let mut headers = HeaderMap::new();
    if !encoding.is_empty() {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_str(encoding).unwrap());
    }
    let deadline = Instant::now() + Duration::from_secs(3600);
    let held = read(body, &headers, limits, deadline, memory).await;
    held.map(|held| held.bytes.to_vec()).map_err(|problem| problem.kind)
}

#[tokio::test]
async fn bodies_are_read_up_to_the_limit() {
    for parts in [&["abcdef"][..], &["ab", "cd", "ef"], &["abc", "", "def"]] {
        assert_eq!(read_as("", frames(parts), &limits(6)).await, Ok(b"abcdef".to_vec()));
        assert_eq!(read_as("", frames(parts), &limits(5)).await, Err(Kind::BodyTooLarge));
        let little = Limits { body_memory: ByteSize::new(12), ..limits(6) };
        assert_eq!(read_beside(7, "", frames(parts), &little).await, Err(Kind::Overloaded));
    }
    assert_eq!(read_as("", Body::empty(), &limits(5)).await, Ok(Vec::new()));
    assert_eq!(read_as("", Body::from("abcdef"), &limits(5)).await, Err(Kind::BodyTooLarge));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stands_still_is_given_up() {
    let stuck = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    assert_eq!(read_as("", stuck, &limits(10)).await, Err(Kind::BodyTimeout));
    let broken = Body::from_stream(stream::iter([
        Ok(Bytes::from_static(b"a")),
        Err(std::io::Error::other("gone")),
    ]));
    assert_eq!(read_as("", broken, &limits(10)).await, Err(Kind::InvalidRequest));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_given_up_at_the_deadline() {
    let trickle = stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        Some((Ok::<_, std::io::Error>(Bytes::from_static(b"a")), ()))
    });
    let memory = Arc::new(Permits::default()).body(&limits(1000), Priority::High, &"".into());
    let deadline = tokio::time::Instant::now().into_std() + Duration::from_secs(100);
    let read =
        read(Body::from_stream(trickle), &HeaderMap::new(), &limits(1000), deadline, memory).await;
    assert_eq!(read.unwrap_err().kind, Kind::BodyTimeout);
}

fn packed(plain: &[u8], encoding: &str) -> Vec<u8> {
    let level = Compression::best();
    match encoding {
        "gzip" => {
            let mut packer = GzEncoder::new(Vec::new(), level);
            packer.write_all(plain).unwrap();
            packer.finish().unwrap()
        }
        "deflate" => {
            let mut packer = ZlibEncoder::new(Vec::new(), level);
            packer.write_all(plain).unwrap();
            packer.finish().unwrap()
        }
        _ => {
            let mut packer = DeflateEncoder::new(Vec::new(), level);
            packer.write_all(plain).unwrap();
            packer.finish().unwrap()
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn packed_bodies_are_unpacked_within_the_limits() {
    let plain: Vec<u8> = (0..100_000u32).flat_map(|n| (n * n).to_le_bytes()).collect();
    let roomy = limits(1 << 20);
    for encoding in ["gzip", "deflate", "bare deflate"] {
        let name = encoding.rsplit(' ').next().unwrap();
        let body = || Body::from(packed(&plain, encoding));
        let read = read_as(name, body(), &roomy).await;
        assert!(read.as_ref() == Ok(&plain), "{encoding}: {:?}", read.map(|bytes| bytes.len()));
        let small = limits(plain.len() as u64 - 1);
        assert_eq!(read_as(name, body(), &small).await, Err(Kind::BodyTooLarge), "{encoding}");
    }
    let bomb = Body::from(packed(&vec![0; 64 << 20], "gzip"));
    assert_eq!(read_as("gzip", bomb, &limits(1 << 30)).await, Err(Kind::BodyTooLarge));
    let little = Limits { body_memory: ByteSize::mib(2), ..limits(1 << 20) };
    let body = Body::from(packed(&plain, "gzip"));
    let crowded = read_beside((2 << 20) - 300_000, "gzip", body, &little).await;
    assert_eq!(crowded.map(|bytes| bytes.len()), Err(Kind::Overloaded));
    let broken = Body::from(packed(&plain, "gzip")[..1000].to_vec());
    assert_eq!(read_as("gzip", broken, &roomy).await, Err(Kind::InvalidRequest));
    assert_eq!(read_as("gzip", Body::from("plain"), &roomy).await, Err(Kind::InvalidRequest));
    for unknown in ["br", "gzip, gzip"] {
        let got = read_as(unknown, Body::from("x"), &roomy).await;
        assert_eq!(got, Err(Kind::UnsupportedEncoding), "{unknown}");
    }
    assert_eq!(read_as("identity", Body::from("x"), &roomy).await, Ok(b"x".to_vec()));
}
