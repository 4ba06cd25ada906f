//! The state in which the runtime leaves the processor's vector registers.
//!
//! The runtime's kernels for x86-64 are written in assembly and return with the upper halves of
//! the AVX registers set. SSE instructions, which are what this crate is compiled to, then wait
//! for each other, because each keeps the upper half of the register it writes: loops over floats
//! take up to four times as long. The instruction `vzeroupper` ends that. Compilers place it at
//! the end of every function that is compiled for AVX, so calling any such function helps.

use std::hint::black_box;

/// Clears the upper halves, in a few nanoseconds. To be called between work of the runtime and
/// loops of ours.
pub(super) fn clear_upper_halves() {
    // The search is compiled for AVX2 and chosen at run time; what it finds is of no interest.
    black_box(memchr::memchr(1, black_box(&[0u8; 64])));
}
