//! The cases that every backend must pass. A backend runs them with one line:
//!
//! ```ignore
//! weighbridge_model_store::contract_suite!((MyStore::new(), ()));
//! ```
//!
//! The expression makes an empty store, and a value that lives as long as the test.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use weighbridge_config::Digest;

use crate::{Blob, ByteStream, Difference, Error, ModelStore, PutLimits, stream_of};

/// Makes a test of each case. The crate that calls it needs `tokio` with its test macro.
#[macro_export]
macro_rules! contract_suite {
    ($make:expr) => {
        $crate::contract_suite!(@cases $make;
            round_trip, tiny_chunks, putting_twice, concurrent_puts_of_the_same_bytes,
            interrupted_stream, abandoned_put, too_large, announced_too_large, wrong_digest,
            wrong_size, announced, empty, missing, removed_twice, removed_if_older,
            removed_while_reading, listed, sweeping_leaves_blobs);
    };
    (@cases $make:expr; $($case:ident),+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let (store, _alive) = $make;
            $crate::contract::$case(&store).await;
        }
    )+};
}

const LIMIT: u64 = 10 << 20;

fn limits() -> PutLimits {
    PutLimits::at_most(LIMIT)
}

async fn put(store: &dyn ModelStore, bytes: &'static [u8]) -> Blob {
    store.put(stream_of(bytes), limits()).await.expect("put")
}

/// Some chunks, then a failure of the connection.
fn interrupted() -> ByteStream<'static> {
    let failure = Err(io::Error::from(io::ErrorKind::ConnectionReset));
    stream::iter([Ok(Bytes::from_static(b"half of ")), Ok(Bytes::from_static(b"it")), failure])
        .boxed()
}

/// Bytes of some length that are not all the same.
fn pattern(length: usize) -> Bytes {
    (0..length).map(|i| (i % 251) as u8).collect()
}

async fn assert_empty(store: &dyn ModelStore) {
    assert_eq!(store.list().await.expect("list"), []);
}

pub async fn round_trip(store: &dyn ModelStore) {
    for length in [1, 1000, (1 << 20) - 1, 1 << 20, (3 << 20) + 7] {
        let bytes = pattern(length);
        let chunks: Vec<io::Result<Bytes>> =
            bytes.chunks(70_000).map(|c| Ok(bytes.slice_ref(c))).collect();
        let blob = store.put(stream::iter(chunks).boxed(), limits()).await.expect("put");
        let digest = Digest::of(&bytes);
        assert_eq!(blob, Blob { digest, size: length as u64, is_new: true });
        assert!(store.contains(digest).await.expect("contains"));
        assert_eq!(store.read(digest).await.expect("read"), bytes);
    }
}

pub async fn tiny_chunks(store: &dyn ModelStore) {
    let bytes = pattern(3000);
    let chunks: Vec<io::Result<Bytes>> = bytes.chunks(1).map(|c| Ok(bytes.slice_ref(c))).collect();
    let blob = store.put(stream::iter(chunks).boxed(), limits()).await.expect("put");
    assert_eq!((blob.digest, blob.size), (Digest::of(&bytes), 3000));
    assert_eq!(store.read(blob.digest).await.expect("read"), bytes);
}

pub async fn putting_twice(store: &dyn ModelStore) {
    let first = put(store, b"same").await;
    let second = put(store, b"same").await;
    assert!(first.is_new && !second.is_new);
    assert_eq!(first.digest, second.digest);
    assert_eq!(store.list().await.expect("list").len(), 1);
}

pub async fn concurrent_puts_of_the_same_bytes(store: &dyn ModelStore) {
    let bytes = pattern(300_000);
    let puts = (0..8).map(|_| store.put(stream_of(bytes.clone()), limits()));
    let blobs: Vec<Blob> =
        join_all(puts).await.into_iter().map(|blob| blob.expect("put")).collect();
    assert_eq!(blobs.iter().filter(|blob| blob.is_new).count(), 1);
    assert_eq!(store.list().await.expect("list").len(), 1);
    assert_eq!(store.read(Digest::of(&bytes)).await.expect("read"), bytes);
}

pub async fn interrupted_stream(store: &dyn ModelStore) {
    let error = store.put(interrupted(), limits()).await.expect_err("interrupted");
    assert!(matches!(error, Error::Interrupted(_)), "{error}");
    assert_empty(store).await;
}

/// The caller goes away: its future is dropped while the stream waits for more.
pub async fn abandoned_put(store: &dyn ModelStore) {
    let endless = stream_of(pattern(2 << 20)).chain(stream::pending()).boxed();
    let put = store.put(endless, limits());
    assert!(tokio::time::timeout(Duration::from_millis(50), put).await.is_err());
    assert_empty(store).await;
}

pub async fn too_large(store: &dyn ModelStore) {
    let asked = AtomicUsize::new(0);
    let chunks = stream::repeat_with(|| {
        asked.fetch_add(1, Ordering::Relaxed);
        Ok(Bytes::from_static(&[7; 1000]))
    });
    let error = store.put(chunks.boxed(), PutLimits::at_most(2500)).await.expect_err("too large");
    assert!(matches!(error, Error::TooLarge { limit: 2500 }), "{error}");
    assert_eq!(asked.load(Ordering::Relaxed), 3, "the rest is not read");
    assert_empty(store).await;
    // The limit itself fits.
    let exact = store.put(stream_of(vec![7; 2500]), PutLimits::at_most(2500)).await;
    assert_eq!(exact.expect("put").size, 2500);
}

pub async fn announced_too_large(store: &dyn ModelStore) {
    let unread = stream::poll_fn(|_| panic!("read although it announced too much")).boxed();
    let limits = PutLimits { expected_size: Some(11), ..PutLimits::at_most(10) };
    let error = store.put(unread, limits).await.expect_err("too large");
    assert!(matches!(error, Error::TooLarge { limit: 10 }), "{error}");
}

pub async fn wrong_digest(store: &dyn ModelStore) {
    let expected = Digest::of(b"another file");
    let limits = PutLimits { expected: Some(expected), ..limits() };
    let error = store.put(stream_of("a file"), limits).await.expect_err("mismatch");
    let got = Digest::of(b"a file");
    let wanted = Difference::Digest { expected, got };
    assert!(matches!(error, Error::Mismatch(difference) if difference == wanted), "{error}");
    assert_empty(store).await;
}

pub async fn wrong_size(store: &dyn ModelStore) {
    for (announced, arrives) in [(5, 6), (7, 6), (0, 6)] {
        let limits = PutLimits { expected_size: Some(announced), ..limits() };
        let error = store.put(stream_of("a file"), limits).await.expect_err("mismatch");
        let wanted = Difference::Size { expected: announced, got: arrives };
        assert!(matches!(error, Error::Mismatch(difference) if difference == wanted), "{error}");
    }
    assert_empty(store).await;
}

pub async fn announced(store: &dyn ModelStore) {
    let expected = Some(Digest::of(b"a file"));
    let limits = PutLimits { expected, expected_size: Some(6), max_bytes: 6 };
    let blob = store.put(stream_of("a file"), limits).await.expect("put");
    assert_eq!((Some(blob.digest), blob.size), (expected, 6));
}

pub async fn empty(store: &dyn ModelStore) {
    for nothing in [stream::empty().boxed(), stream_of("")] {
        let error = store.put(nothing, limits()).await.expect_err("empty");
        assert!(matches!(error, Error::Empty), "{error}");
    }
    assert_empty(store).await;
}

pub async fn missing(store: &dyn ModelStore) {
    let digest = Digest::of(b"nobody put this");
    assert!(!store.contains(digest).await.expect("contains"));
    let error = store.read(digest).await.expect_err("not found");
    assert!(matches!(error, Error::NotFound(missing) if missing == digest), "{error}");
}

pub async fn removed_twice(store: &dyn ModelStore) {
    let digest = put(store, b"short-lived").await.digest;
    assert!(store.remove(digest).await.expect("remove"));
    assert!(!store.remove(digest).await.expect("remove again"));
    assert!(!store.contains(digest).await.expect("contains"));
    assert_empty(store).await;
    assert!(put(store, b"short-lived").await.is_new);
}

pub async fn removed_if_older(store: &dyn ModelStore) {
    let digest = put(store, b"kept for a while").await.digest;
    let listed = store.list().await.expect("list")[0].modified;
    // Not older than itself: what was put again since it was listed stays.
    assert!(!store.remove_older(digest, listed).await.expect("remove"));
    assert!(store.contains(digest).await.expect("contains"));
    let later = listed + Duration::from_secs(1);
    assert!(store.remove_older(digest, later).await.expect("remove"));
    assert!(!store.remove_older(digest, later).await.expect("remove again"));
    assert_empty(store).await;
}

pub async fn removed_while_reading(store: &dyn ModelStore) {
    let bytes = pattern(1 << 20);
    let digest = Digest::of(&bytes);
    for _ in 0..10 {
        store.put(stream_of(bytes.clone()), limits()).await.expect("put");
        let (read, removed) = tokio::join!(store.read(digest), store.remove(digest));
        assert!(removed.expect("remove"));
        match read {
            Ok(read) => assert_eq!(read, bytes),
            Err(error) => assert!(matches!(error, Error::NotFound(_)), "{error}"),
        }
    }
}

pub async fn listed(store: &dyn ModelStore) {
    let before = SystemTime::now() - Duration::from_secs(2);
    let mut put_digests = Vec::new();
    for bytes in [&b"a"[..], b"bb", b"ccc"] {
        put_digests.push((put(store, bytes).await.digest, bytes.len() as u64));
    }
    put_digests.sort();
    let listed = store.list().await.expect("list");
    let digests: Vec<_> = listed.iter().map(|blob| (blob.digest, blob.size)).collect();
    assert_eq!(digests, put_digests);
    assert!(listed.iter().all(|blob| blob.modified > before));
}

pub async fn sweeping_leaves_blobs(store: &dyn ModelStore) {
    let digest = put(store, b"stays").await.digest;
    assert_eq!(store.sweep_temporary().await.expect("sweep"), 0);
    assert!(store.contains(digest).await.expect("contains"));
}
