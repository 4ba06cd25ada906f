use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use proptest::prelude::*;
use tempfile::TempDir;
use weighbridge_config::Digest;

use crate::{Error, LocalStore, ModelStore, PutLimits, stream_of};

const LIMITS: PutLimits = PutLimits { max_bytes: 16 << 20, expected: None, expected_size: None };

fn store() -> (LocalStore, TempDir) {
    let folder = TempDir::new().unwrap();
    (LocalStore::open(folder.path()).unwrap(), folder)
}

crate::contract_suite!(store());

/// Where the layout says the blob is: the layout is what an operator backs up.
fn blob_path(root: &Path, digest: Digest) -> PathBuf {
    let name = digest.to_string();
    root.join("blobs").join("sha256").join(&name[..2]).join(name)
}

fn temporary_files(root: &Path) -> usize {
    fs::read_dir(root.join("tmp")).unwrap().count()
}

/// Writes to a blob's file behind the store's back.
fn overwrite(path: &Path, bytes: &[u8]) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_blob_is_a_read_only_file_under_its_digest() {
    let (store, root) = store();
    let digest = store.put(stream_of("abc"), LIMITS).await.unwrap().digest;
    let path = blob_path(root.path(), digest);
    assert!(path.ends_with("ba/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
    assert_eq!(fs::read(&path).unwrap(), b"abc");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o444);
    assert_eq!(temporary_files(root.path()), 0);
}

#[tokio::test]
async fn altered_and_truncated_files_are_detected_and_a_new_put_repairs_them() {
    let (store, root) = store();
    let digest = store.put(stream_of("abc"), LIMITS).await.unwrap().digest;
    for damaged in [&b"abd"[..], b"ab", b""] {
        overwrite(&blob_path(root.path(), digest), damaged);
        let error = store.read(digest).await.unwrap_err();
        let found = Digest::of(damaged);
        assert!(
            matches!(error, Error::Corrupt { wanted, found: f } if wanted == digest && f == found),
            "{error}"
        );
        assert!(!store.put(stream_of("abc"), LIMITS).await.unwrap().is_new);
        assert_eq!(store.read(digest).await.unwrap(), "abc");
    }
}

#[tokio::test]
async fn refused_uploads_leave_no_temporary_file() {
    let (store, root) = store();
    let failure = Err(io::Error::from(io::ErrorKind::BrokenPipe));
    let broken = stream::iter([Ok(Bytes::from(vec![1; 3 << 20])), failure]).boxed();
    assert!(store.put(broken, LIMITS).await.is_err());
    assert!(store.put(stream_of("abc"), PutLimits::at_most(2)).await.is_err());
    assert!(store.put(stream_of(""), LIMITS).await.is_err());
    let wrong = PutLimits { expected: Some(Digest::of(b"x")), ..LIMITS };
    assert!(store.put(stream_of("abc"), wrong).await.is_err());
    assert_eq!(temporary_files(root.path()), 0);
}

#[tokio::test]
async fn an_abandoned_upload_leaves_no_temporary_file() {
    let (store, root) = store();
    let endless = stream_of(vec![1; 2 << 20]).chain(stream::pending()).boxed();
    let put = store.put(endless, LIMITS);
    assert!(tokio::time::timeout(Duration::from_millis(100), put).await.is_err());
    // A batch may still be on its way to the disk: the file goes when it is through.
    for _ in 0..500 {
        if temporary_files(root.path()) == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the temporary file is still there");
}

#[tokio::test]
async fn leftovers_of_a_killed_process_are_swept_and_running_uploads_are_not() {
    let (_, root) = store();
    fs::write(root.path().join("tmp").join("17f-0"), b"half of a model").unwrap();
    let store = LocalStore::open(root.path()).unwrap();
    assert_eq!(store.list().await.unwrap(), []);

    let (swept, during) = (store.clone(), root.path().to_owned());
    let sweep = stream::once(async move {
        // The upload's own file is there, beside the leftover.
        assert_eq!(temporary_files(&during), 2);
        assert_eq!(swept.sweep_temporary().await.unwrap(), 1);
        Ok(Bytes::from_static(b"abc"))
    });
    assert!(store.put(sweep.boxed(), LIMITS).await.unwrap().is_new);
    assert_eq!(temporary_files(root.path()), 0);
    assert_eq!(store.sweep_temporary().await.unwrap(), 0);
}

#[tokio::test]
async fn blobs_outlive_the_store_and_strange_files_are_not_blobs() {
    let (first, root) = store();
    let digest = first.put(stream_of("abc"), LIMITS).await.unwrap().digest;
    let folder = root.path().join("blobs").join("sha256");
    fs::write(folder.join("README"), b"x").unwrap();
    fs::write(folder.join("ba").join("notes.txt"), b"x").unwrap();
    // A digest in upper case, and one in the folder of another.
    fs::write(folder.join("ba").join(digest.to_string().to_uppercase()), b"x").unwrap();
    fs::write(folder.join("ba").join(Digest::of(b"x").to_string()), b"x").unwrap();
    let second = LocalStore::open(root.path()).unwrap();
    let listed: Vec<_> = second.list().await.unwrap().iter().map(|blob| blob.digest).collect();
    assert_eq!(listed, [digest]);
    assert_eq!(second.read(digest).await.unwrap(), "abc");
}

#[tokio::test]
async fn putting_again_renews_the_time_of_a_blob() {
    let (store, root) = store();
    let digest = store.put(stream_of("abc"), LIMITS).await.unwrap().digest;
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    fs::File::open(blob_path(root.path(), digest)).unwrap().set_modified(long_ago).unwrap();
    let cutoff = long_ago + Duration::from_secs(60);
    assert!(store.list().await.unwrap()[0].modified < cutoff);
    store.put(stream_of("abc"), LIMITS).await.unwrap();
    assert!(!store.remove_older(digest, cutoff).await.unwrap());
    assert_eq!(store.read(digest).await.unwrap(), "abc");
}

#[tokio::test]
async fn the_age_of_a_blob_counts_from_the_end_of_its_upload() {
    let (store, _root) = store();
    let slow_end = stream::once(async {
        // What has arrived is written by now: this is what its file would be dated.
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok(Bytes::new())
    });
    let before = SystemTime::now();
    let upload = stream_of(vec![1; 2 << 20]).chain(slow_end).boxed();
    store.put(upload, LIMITS).await.unwrap();
    let age = store.list().await.unwrap()[0].modified.duration_since(before).unwrap();
    assert!(age >= Duration::from_millis(100), "{age:?}");
}

#[tokio::test]
async fn a_store_whose_folder_is_gone_is_unavailable_and_not_empty() {
    let (store, root) = store();
    fs::remove_dir_all(root.path()).unwrap();
    let error = store.put(stream_of("abc"), LIMITS).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(matches!(store.list().await, Err(Error::Unavailable { .. })));
    let digest = Digest::of(b"abc");
    assert!(matches!(store.read(digest).await, Err(Error::Unavailable { .. })));
    assert!(matches!(store.contains(digest).await, Err(Error::Unavailable { .. })));
}

#[test]
fn a_store_cannot_be_opened_where_a_file_is() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, b"x").unwrap();
    assert!(matches!(LocalStore::open(file), Err(Error::Unavailable { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_digest_does_not_depend_on_the_chunks(
        length in 1..2_500_000usize,
        sizes in prop::collection::vec(1..400_000usize, 1..20),
    ) {
        let bytes: Bytes = (0..length).map(|i| (i * 31 % 253) as u8).collect();
        let (mut rest, mut chunks) = (bytes.clone(), Vec::new());
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            chunks.push(Ok(rest.split_to((*size).min(rest.len()))));
            // Empty chunks mean nothing.
            chunks.push(Ok(Bytes::new()));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (store, _root) = store();
        let (put, read) = runtime.block_on(async {
            let put = store.put(stream::iter(chunks).boxed(), LIMITS).await.unwrap();
            (put, store.read(put.digest).await.unwrap())
        });
        prop_assert_eq!((put.digest, put.size), (Digest::of(&bytes), length as u64));
        prop_assert_eq!(read, bytes);
    }
}
