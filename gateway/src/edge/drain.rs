//! Going away without losing a request.
//!
//! Phases: *serving*; *draining*: not ready, and each HTTP/1 answer says `connection: close`,
//! so that clients leave by themselves; *closing*: no new connections, idle ones are closed,
//! requests that have begun end. The second phase is what makes the third one safe: closing an
//! idle connection at once would race with the next request on it.

use tokio_util::sync::CancellationToken;

/// The two signals of going away.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    draining: CancellationToken,
    closing: CancellationToken,
}

impl Drain {
    /// Starts draining: not ready any more.
    pub fn start(&self) {
        self.draining.cancel();
    }

    /// Starts closing connections.
    pub fn close(&self) {
        self.draining.cancel();
        self.closing.cancel();
    }

    /// True from [`Self::start`] on.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Resolves at [`Self::start`].
    pub async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Resolves at [`Self::close`].
    pub async fn closing(&self) {
        self.closing.cancelled().await;
    }
}
