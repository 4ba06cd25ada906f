//! Memory that a load has used and no longer needs.

/// Gives what this thread has freed back to the system. The allocator keeps freed pages for
/// the next allocation of the same thread, which on a thread that loads may be days away.
#[expect(unsafe_code, reason = "the allocator's own interface is C")]
pub(super) fn give_back() {
    // SAFETY: `mi_collect` takes no pointers, may be called by any thread at any time, and only
    // releases pages that hold no allocation.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
