//! The memory that models may take, and giving back what they no longer need.

use std::fs;
use std::path::Path;

/// The part of the process's memory that loaded versions may take when nothing is set. The rest
/// is for requests, for a version that goes while another comes, and for vetting.
const SHARE: (u64, u64) = (3, 5);

/// What loaded versions may take when nothing is set, in bytes.
pub fn default_budget() -> u64 {
    limit().map_or(u64::MAX, |bytes| bytes / SHARE.1 * SHARE.0)
}

/// The memory that this process may have: the lowest limit of its control groups, at most that
/// of the machine. `None` where neither is told.
fn limit() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let read = |path: &Path| fs::read_to_string(path).ok();
    limit_files(&own).iter().filter_map(|path| read(path)?.trim().parse().ok()).chain(machine).min()
}

/// `MemTotal` of /proc/meminfo, in bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Where the limits of a process stand: in its own control group and in each one above, for both
/// versions of control groups. Inside a container the own group is often the root.
fn limit_files(own_groups: &str) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for line in own_groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(kinds), Some(group)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let (root, file) = match kinds {
            "" => ("/sys/fs/cgroup", "memory.max"),
            kinds if kinds.split(',').any(|kind| kind == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        for above in Path::new(group).ancestors() {
            let inside = above.strip_prefix("/").unwrap_or(above);
            files.push(Path::new(root).join(inside).join(file));
        }
    }
    files
}

/// Gives what this thread has freed back to the system. The allocator keeps freed pages for
/// the next allocation of the same thread, which on a thread that loads may be days away.
#[expect(unsafe_code, reason = "the allocator's own interface is C")]
pub fn give_back() {
    // SAFETY: `mi_collect` takes no pointers, may be called by any thread at any time, and only
    // releases pages that hold no allocation.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_looked_for_in_all_groups_above() {
        let shown = |text: &str| -> Vec<String> {
            limit_files(text).iter().map(|path| path.display().to_string()).collect()
        };
        let second = shown("0::/kubepods/pod1\n");
        let expected = [
            "/sys/fs/cgroup/kubepods/pod1/memory.max",
            "/sys/fs/cgroup/kubepods/memory.max",
            "/sys/fs/cgroup/memory.max",
        ];
        assert_eq!(second, expected);
        let first = shown("5:cpu,cpuacct:/a\n4:memory:/\nodd\n");
        assert_eq!(first, ["/sys/fs/cgroup/memory/memory.limit_in_bytes"]);
    }

    #[test]
    fn the_machine_has_a_limit_that_is_read() {
        assert_eq!(total("MemTotal:       1000 kB\nMemFree: 1 kB\n"), Some(1_024_000));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        assert!(limit().is_some_and(|bytes| bytes > 1 << 20), "{:?}", limit());
    }
}
