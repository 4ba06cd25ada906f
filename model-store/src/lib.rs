//! The bytes of models: put, fetched, verified.
//!
//! A blob is named by the SHA-256 of its bytes and never changes. What a blob is for, and
//! whether any version still names it, is the registry's to know.
//!
//! Invariants:
//! * A blob is visible whole or not at all: bytes go to a temporary place, are checked there,
//!   and appear under their name in one step. An upload that ends early leaves nothing.
//! * [`ModelStore::read`] computes the digest again: altered bytes are an error and never an
//!   answer. Putting the same bytes again repairs them.
//! * A name is made from a [`Digest`] only, so that no text of a client becomes part of a path.
//! * No call blocks the thread of the caller: file work and hashing run on blocking threads.
//!
//! [`LocalStore`] keeps blobs in a folder, [`MemoryStore`] in memory for tests of other rooms.
//! `contract` (feature of that name) holds the cases that each backend must pass.

#[cfg(any(test, feature = "contract"))]
pub mod contract;
mod error;
mod intake;
mod local;
mod memory;

use std::fmt;
use std::io;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use weighbridge_config::Digest;

pub use error::{Difference, Error};
pub use local::LocalStore;
pub use memory::MemoryStore;

/// The bytes of an upload as they arrive; an error ends it.
pub type ByteStream<'a> = BoxStream<'a, io::Result<Bytes>>;

/// A stream of bytes that are here already.
pub fn stream_of(bytes: impl Into<Bytes>) -> ByteStream<'static> {
    let bytes = bytes.into();
    stream::once(async move { Ok(bytes) }).boxed()
}

/// What an upload must keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutLimits {
    /// The most bytes that are taken.
    pub max_bytes: u64,
    /// The digest that the sender announced.
    pub expected: Option<Digest>,
    /// The size in bytes that the sender announced.
    pub expected_size: Option<u64>,
}

impl PutLimits {
    /// At most `max_bytes`, nothing announced.
    pub fn at_most(max_bytes: u64) -> Self {
        Self { max_bytes, expected: None, expected_size: None }
    }
}

/// What was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blob {
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
    /// Whether the store did not have it before.
    pub is_new: bool,
}

/// A blob as [`ModelStore::list`] shows it; its bytes are not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobInfo {
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
    /// When it was last put.
    pub modified: SystemTime,
}

/// Where the bytes of models are kept.
#[async_trait]
pub trait ModelStore: Send + Sync + fmt::Debug {
    /// Takes the bytes of `stream` and keeps them under their digest. Putting what is there
    /// already is a success that renews [`BlobInfo::modified`].
    ///
    /// Dropping the future before its end is like an interrupted stream.
    ///
    /// # Errors
    /// `TooLarge` as soon as a limit is passed (the rest is not read), `Mismatch` when the bytes
    /// are not those that were announced, `Empty`, `Interrupted` when the stream failed,
    /// `NoSpace`, `Unavailable`. In each case nothing is kept, but for a disk that fails to flush
    /// the name of a whole and checked blob: that one is there until it is cleaned up.
    async fn put(&self, stream: ByteStream<'_>, limits: PutLimits) -> Result<Blob, Error>;

    /// All bytes of a blob, verified.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt` when the bytes no longer have this digest, `Unavailable`.
    async fn read(&self, digest: Digest) -> Result<Bytes, Error>;

    /// Whether the store has the blob; its bytes are not verified.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn contains(&self, digest: Digest) -> Result<bool, Error>;

    /// All blobs, sorted by digest.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn list(&self) -> Result<Vec<BlobInfo>, Error>;

    /// Removes a blob; false when there was none. A read that has begun ends well or with
    /// `NotFound`.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn remove(&self, digest: Digest) -> Result<bool, Error>;

    /// Removes a blob that was last put before `moment`; false when there was none or it was put
    /// since. In one step, so that a push of the same bytes is not undone by a clean-up that
    /// had listed them before.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn remove_older(&self, digest: Digest, moment: SystemTime) -> Result<bool, Error>;

    /// Removes what uploads left behind that were killed with their process, and says how many
    /// there were. Uploads of this store are not touched.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn sweep_temporary(&self) -> Result<usize, Error>;
}
