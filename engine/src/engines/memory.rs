//! What a model takes.

/// Resident memory of this process in bytes; 0 where /proc does not tell.
pub(super) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes =
        line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kibibytes.unwrap_or(0) << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_touched_is_counted() {
        let before = resident_bytes();
        assert!(before > 0);
        let touched = std::hint::black_box(vec![1u8; 64 << 20]);
        let after = resident_bytes();
        assert!(
            after >= before + (48 << 20),
            "{before} {after} {}",
            std::hint::black_box(touched).len()
        );
    }
}
