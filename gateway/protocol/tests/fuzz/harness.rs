//! Runs a decoder on a corpus and on bodies made from it. Other crates with decoders include this
//! file by its path.

#[path = "harness/mutate.rs"]
mod mutate;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use self::mutate::Mutator;

/// A decoder may hold so many times the body at once. The worst are lists of empty texts, whose
/// elements take 24 bytes for 3 of the body (2 in protobuf), while the list moves to a place twice
/// as large.
const MOST_PER_BYTE: u64 = 38;
/// And this much besides, for texts of errors and small buffers.
const SPARE_BYTES: u64 = 64 * 1024;

/// A decoder: whether it took a body.
pub type Target = fn(&[u8]) -> bool;

#[allow(clippy::disallowed_methods, reason = "a test has no settings")]
fn rounds() -> usize {
    let asked = std::env::var("WEIGHBRIDGE_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(if cfg!(debug_assertions) { 2_000 } else { 60_000 })
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name);
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{name} has no corpus");
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// Runs `target`: whether it took `body`, or what is wrong with it.
pub fn run(target: Target, body: &[u8]) -> Result<bool, String> {
    let mut took = None;
    let memory = allocation_counter::measure(|| {
        took = catch_unwind(AssertUnwindSafe(|| target(body))).ok();
    });
    let took = took.ok_or("it panicked")?;
    let most = MOST_PER_BYTE * body.len() as u64 + SPARE_BYTES;
    if memory.bytes_max > most {
        return Err(format!("it held {} bytes for a body of {}", memory.bytes_max, body.len()));
    }
    Ok(took)
}

/// Runs `target` on its corpus and on bodies made from that.
pub fn fuzz(name: &str, target: Target) {
    let mut pool = corpus(name);
    for body in &pool {
        if let Err(mistake) = run(target, body) {
            panic!("{name}: {mistake}: b\"{}\"", body.escape_ascii());
        }
    }
    let mut mutator = Mutator::new(name);
    let mut taken = 0;
    for round in 0..rounds() {
        let body = mutator.body(&pool);
        match run(target, &body) {
            // Changes upon changes, yet never far from what is taken.
            Ok(true) => {
                taken += 1;
                mutator.keep(&mut pool, body);
            }
            Ok(false) => {}
            Err(mistake) => {
                panic!("{name}, round {round}: {mistake}: b\"{}\"", body.escape_ascii());
            }
        }
    }
    // Where nearly nothing is taken, nearly nothing was tried.
    assert!(taken * 50 >= rounds(), "{name}: only {taken} of {} bodies were taken", rounds());
}
