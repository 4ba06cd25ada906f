//! The servers under measurement: started on free ports, waited for, and stopped whatever happens.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::http::{Target, exchange};
use crate::stop::Stop;

/// A server that is not ready by then has failed.
const START_LIMIT: Duration = Duration::from_secs(60);
/// A server that has not ended so long after SIGTERM is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How finely start and stop are timed.
const POLL: Duration = Duration::from_millis(1);

/// How to start a server, and where it will say which address it bound.
#[derive(Debug)]
pub struct Launch {
    pub name: &'static str,
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    /// Standard output goes here, or to the log when the address comes by another file.
    pub stdout: Option<PathBuf>,
    /// Its first line is the server's URL.
    pub url_file: PathBuf,
    pub log: PathBuf,
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    name: &'static str,
    child: Child,
    pub target: Target,
    /// From the start of the process until its readiness answered 200.
    pub ready_after: Duration,
}

impl Launch {
    /// Starts the process and waits until it is ready.
    pub fn start(&self, stop: &Stop) -> Result<Server> {
        // An address from an earlier start would be believed.
        match fs::remove_file(&self.url_file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove {}", self.url_file.display()));
            }
            _ => {}
        }
        let log = create(&self.log)?;
        let stdout = match &self.stdout {
            Some(path) => create(path)?,
            None => log.try_clone().context("share the log file")?,
        };
        let started = Instant::now();
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", self.program.display()))?;
        // Guarded from here on: an early return stops the child.
        let mut child = Guard(Some(child));
        let ready = self.wait_until_ready(&mut child, started, stop);
        let target = ready.with_context(|| {
            format!("{} did not become ready; the end of its log:\n{}", self.name, tail(&self.log))
        })?;
        let ready_after = started.elapsed();
        let child = child.0.take().context("the child was stopped while it started")?;
        Ok(Server { name: self.name, child, target, ready_after })
    }

    fn wait_until_ready(&self, child: &mut Guard, from: Instant, stop: &Stop) -> Result<Target> {
        let mut target = None;
        while from.elapsed() < START_LIMIT {
            stop.check()?;
            if let Some(status) = child.exited()? {
                bail!("it ended with {status}");
            }
            if target.is_none() {
                target = first_line(&self.url_file).map(|url| Target::resolve(&url)).transpose()?;
            }
            if let Some(target) = &target {
                let answer = exchange::get(target, "/v2/health/ready", &[], Duration::from_secs(1));
                if answer.is_ok_and(|answer| answer.status == 200) {
                    return Ok(target.clone());
                }
            }
            thread::sleep(POLL);
        }
        match target {
            Some(target) => bail!("{} was not ready in {START_LIMIT:?}", target.address),
            None => bail!("no address in {} after {START_LIMIT:?}", self.url_file.display()),
        }
    }
}

impl Server {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops it by SIGTERM; true if that was enough in time.
    pub fn stop(mut self) -> Result<bool> {
        end(&mut self.child).with_context(|| format!("stop {}", self.name))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Reached with a live child on errors only; there is nobody left to tell.
        let _ = end(&mut self.child);
    }
}

/// A child that is not yet a [`Server`].
struct Guard(Option<Child>);

impl Guard {
    fn exited(&mut self) -> Result<Option<std::process::ExitStatus>> {
        match &mut self.0 {
            Some(child) => child.try_wait().context("ask whether it has ended"),
            None => Ok(None),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = end(child);
        }
    }
}

fn end(child: &mut Child) -> Result<bool> {
    if child.try_wait().context("ask whether it has ended")?.is_some() {
        return Ok(true);
    }
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("no such pid")?;
    kill_process(pid, Signal::TERM).context("send SIGTERM")?;
    let deadline = Instant::now() + STOP_LIMIT;
    while Instant::now() < deadline {
        if child.try_wait().context("wait for its end")?.is_some() {
            return Ok(true);
        }
        thread::sleep(POLL);
    }
    child.kill().context("kill")?;
    child.wait().context("wait for its end")?;
    Ok(false)
}

/// The first line of the file, once it is there and whole: without its line end, a file that is
/// being written could give half an address.
fn first_line(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.split_once('\n').map(|(line, _)| line.trim().to_owned()).filter(|line| !line.is_empty())
}

/// The last lines of a log.
pub fn tail(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("create {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(folder: &Path, script: &str) -> Launch {
        Launch {
            name: "a test",
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            stdout: None,
            url_file: folder.join("url"),
            log: folder.join("log"),
        }
    }

    #[test]
    fn a_child_that_ends_is_reported_with_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let error = launch(folder.path(), "echo out of luck >&2; exit 3")
            .start(&Stop::default())
            .unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("out of luck") && text.contains("exit status: 3"), "{text}");
    }

    #[test]
    fn an_interrupt_stops_the_child() {
        let folder = tempfile::tempdir().unwrap();
        let stop = Stop::default();
        stop.raise();
        // Were the child left alone, the drop of its guard would last the whole stop limit.
        let error = launch(folder.path(), "exec sleep 600").start(&stop).unwrap_err();
        assert!(format!("{error:#}").contains("interrupted"));
    }

    #[test]
    fn half_an_address_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("url");
        assert_eq!(first_line(&path), None);
        fs::write(&path, "http://127.0.0.1:4").unwrap();
        assert_eq!(first_line(&path), None);
        fs::write(&path, "http://127.0.0.1:4321\n").unwrap();
        assert_eq!(first_line(&path).as_deref(), Some("http://127.0.0.1:4321"));
    }
}
