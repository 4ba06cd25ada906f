//! Closed loop: each connection sends its next request as soon as the last one is answered.
//!
//! Shows what a server can do at a given concurrency. It says nothing of latency at a given rate:
//! a slow answer delays the next question (use `steady` for that).

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use mio::{Events, Poll, Token};
use nix::time::ClockId;

use crate::connection::{Connection, Progress};
use crate::latency;
use crate::stop::Stop;

/// A lost connection is opened again; so many in one phase mean that the server is gone.
const LOST_CONNECTIONS: u64 = 100;
/// How soon a raised [`Stop`] or a silent server is noticed.
const TICK: Duration = Duration::from_millis(20);
/// No answer on any connection for so long ends the run.
const SILENCE: Duration = Duration::from_secs(10);

/// What was measured between two moments.
#[derive(Debug)]
pub struct Phase {
    started: Instant,
    /// Of the requests both sent and answered in the phase: one sent before it has waited while
    /// the caller took its readings.
    pub latencies: Histogram<u64>,
    /// Answers of status 200, whenever their requests were sent.
    pub answered: u64,
    pub elapsed: Duration,
    /// Answers other than 200.
    pub refused: u64,
    /// Connections lost with a request in flight.
    pub lost: u64,
    /// CPU time of this thread: what the generator itself cost.
    pub generator_cpu: Duration,
}

impl Phase {
    pub fn errors(&self) -> u64 {
        self.refused + self.lost
    }
}

/// Connections under load, kept over several phases (warm-up, measurement).
#[derive(Debug)]
pub struct ClosedLoop<'a> {
    address: SocketAddr,
    request: &'a [u8],
    poll: Poll,
    lanes: Vec<Lane>,
}

#[derive(Debug)]
struct Lane {
    connection: Connection,
    sent: Instant,
}

impl<'a> ClosedLoop<'a> {
    /// Opens the connections and sends the first request on each.
    pub fn start(address: SocketAddr, request: &'a [u8], connections: usize) -> Result<Self> {
        let poll = Poll::new().context("create an event queue")?;
        let mut load = Self { address, request, poll, lanes: Vec::with_capacity(connections) };
        for index in 0..connections {
            let lane = load.open(index)?;
            load.lanes.push(lane);
        }
        Ok(load)
    }

    fn open(&self, index: usize) -> Result<Lane> {
        let opened = Connection::open(self.address, self.poll.registry(), Token(index));
        let mut connection = opened.with_context(|| format!("connect to {}", self.address))?;
        let sent = Instant::now();
        if let Err(failure) = connection.send(self.request) {
            bail!("the first request to {} failed: {}", self.address, failure.kind());
        }
        Ok(Lane { connection, sent })
    }

    /// Keeps every connection busy for `length`; answers in flight at the end count in the next
    /// phase.
    pub fn run(&mut self, length: Duration, stop: &Stop) -> Result<Phase> {
        let started = Instant::now();
        let cpu_before = thread_cpu()?;
        let mut phase = Phase {
            started,
            answered: 0,
            latencies: latency::histogram(),
            elapsed: Duration::ZERO,
            refused: 0,
            lost: 0,
            generator_cpu: Duration::ZERO,
        };
        let mut events = Events::with_capacity(256);
        let mut now = started;
        let mut last_answer = started;
        while now - started < length {
            stop.check()?;
            self.wait(&mut events, TICK.min(length.saturating_sub(now - started)))?;
            for event in &events {
                if self.drive(event.token().0, Some(&mut phase))? {
                    last_answer = Instant::now();
                }
            }
            now = Instant::now();
            if now - last_answer > SILENCE {
                bail!("{} has answered nothing for {SILENCE:?}", self.address);
            }
        }
        phase.elapsed = now - started;
        phase.generator_cpu = thread_cpu()?.saturating_sub(cpu_before);
        Ok(phase)
    }

    /// Waits for the answers in flight, so that the server is idle for whoever measures next.
    pub fn finish(mut self) -> Result<()> {
        let mut events = Events::with_capacity(256);
        let deadline = Instant::now() + SILENCE;
        while self.lanes.iter().any(|lane| lane.connection.is_busy()) && Instant::now() < deadline {
            self.wait(&mut events, TICK)?;
            for event in &events {
                self.drive(event.token().0, None)?;
            }
        }
        Ok(())
    }

    fn wait(&mut self, events: &mut Events, at_most: Duration) -> Result<()> {
        match self.poll.poll(events, Some(at_most)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            other => other.context("wait for events"),
        }
    }

    /// Handles one event; true if it brought an answer. With a phase the next request follows.
    fn drive(&mut self, index: usize, phase: Option<&mut Phase>) -> Result<bool> {
        let lane = &mut self.lanes[index];
        let (answered, usable) = match lane.connection.on_event(self.request) {
            Progress::Pending => return Ok(false),
            Progress::Answered(response) => (Some(response.status), !response.close),
            Progress::Failed(_) => (None, false),
            // Only between phases, when nothing is in flight and nothing is to be sent.
            Progress::IdleClosed => return Ok(false),
        };
        let Some(phase) = phase else {
            if answered.is_none() {
                bail!("a connection to {} was lost while winding up", self.address);
            }
            return Ok(true);
        };
        // One reading of the clock ends this request and begins the next.
        let now = Instant::now();
        match answered {
            Some(200) => {
                phase.answered += 1;
                if lane.sent >= phase.started {
                    latency::record(&mut phase.latencies, now - lane.sent);
                }
            }
            Some(_) => phase.refused += 1,
            None => phase.lost += 1,
        }
        if phase.lost > LOST_CONNECTIONS {
            bail!("lost more than {LOST_CONNECTIONS} connections to {}", self.address);
        }
        let sent = usable && {
            lane.sent = now;
            lane.connection.send(self.request).is_ok()
        };
        if !sent {
            if usable {
                phase.lost += 1;
            }
            self.lanes[index] = self.open(index)?;
        }
        Ok(answered.is_some())
    }
}

/// CPU time of this thread so far.
fn thread_cpu() -> Result<Duration> {
    let now = ClockId::CLOCK_THREAD_CPUTIME_ID.now().context("read the thread's CPU clock")?;
    Ok(Duration::from(now))
}
