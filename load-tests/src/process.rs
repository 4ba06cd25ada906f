//! What `/proc` says of a server process: CPU time, memory, and which one listens on a port.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::param::clock_ticks_per_second;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// CPU time, user and system, that the process has used since its start.
///
/// In steps of a clock tick, 10 ms as a rule: fine over seconds of load.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let ticks = stat_ticks(&stat).with_context(|| format!("{path} has an unknown form"))?;
    Ok(Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64))
}

/// Allows this process, and the children it starts, as many open files as the system lets it:
/// the usual limit of 1024 is too low for a load that keeps thousands of requests waiting.
pub fn raise_file_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .context("raise the limit of open files")
}

/// Fields 14 and 15. The name in field 2 is in brackets and may hold blanks and brackets.
fn stat_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Resident memory in MiB.
pub fn resident_mib(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let kib: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse().ok())
        .with_context(|| format!("{path} has no VmRSS"))?;
    Ok(kib / 1024.0)
}

/// The process that listens on this machine's port, if we may see it.
///
/// `None` when the address is not of this machine or the owner is somebody else's process: the
/// report then leaves out CPU and memory.
pub fn listener(address: SocketAddr) -> Option<u32> {
    if !address.ip().is_loopback() {
        return None;
    }
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .find_map(|table| listening_inode(&table, address.port()))?;
    let wanted = format!("socket:[{inode}]");
    let pids = fs::read_dir("/proc").ok()?.flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).find(|pid| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|to| to.as_os_str() == &*wanted)
    })
}

/// The inode of the socket in state LISTEN (0A) on `port`, from a table of `/proc/net`.
fn listening_inode(table: &str, port: u16) -> Option<u64> {
    let suffix = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let listens = *fields.get(3)? == "0A" && fields.get(1)?.ends_with(&suffix);
        listens.then(|| fields.get(9)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_has_used_cpu_and_memory() {
        let pid = std::process::id();
        assert!(cpu_time(pid).is_ok());
        assert!(resident_mib(pid).unwrap() > 1.0);
        assert!(cpu_time(u32::MAX).is_err());
    }

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 100 0 0 0 30 12 0 0 20 0 4 0 5";
        assert_eq!(stat_ticks(stat), Some(42));
        assert_eq!(stat_ticks("nonsense"), None);
    }

    #[test]
    fn the_listener_on_a_port_is_found() {
        let listener_socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener_socket.local_addr().unwrap();
        assert_eq!(listener(address), Some(std::process::id()));
    }
}
