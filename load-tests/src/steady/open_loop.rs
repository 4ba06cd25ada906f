//! Open loop: requests are due at times fixed beforehand, however the server keeps up.
//!
//! Latency runs from the intended time, so the wait of a request that could not be sent on time
//! counts (without that, a stalled server would hide its stall by slowing the generator down).
//! Connections bound the concurrency; a request that finds none free waits its turn, and how late
//! requests were sent is reported beside the latencies.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::connection::{Connection, Failure, Progress};
use crate::http::Target;
use crate::latency;
use crate::schedule::Schedule;
use crate::stop::Stop;

/// Requests sent later than this count as late: below it is the noise of timers.
pub const LATE: Duration = Duration::from_millis(1);
/// The timer's token; connections have the indices from 0.
const TIMER: Token = Token(usize::MAX);

/// What is asked, and who looks at the answers.
pub trait Traffic {
    /// Which of the requests is sent next. `None` ends the load: nothing more is sent, what is in
    /// flight is waited for.
    fn next(&mut self) -> Option<usize>;

    /// A request has ended, one way or another.
    fn ended(&mut self, request: &Ended<'_>);
}

/// The same request all the time; the tally says enough.
#[derive(Debug)]
pub struct Same;

impl Traffic for Same {
    fn next(&mut self) -> Option<usize> {
        Some(0)
    }

    fn ended(&mut self, _: &Ended<'_>) {}
}

/// A request that was sent, and what came of it.
#[derive(Debug)]
pub struct Ended<'a> {
    /// Which of the requests.
    pub request: usize,
    pub intended: Instant,
    pub sent: Instant,
    pub at: Instant,
    /// The answer, or the kind of failure.
    pub answer: Result<Answer<'a>, &'static str>,
}

/// An answer of any status.
#[derive(Debug)]
pub struct Answer<'a> {
    pub status: u16,
    pub version: Option<&'a [u8]>,
    pub rescued_from: Option<&'a [u8]>,
    pub variant: Option<&'a [u8]>,
    pub timing: Option<&'a [u8]>,
    pub retry_after: Option<&'a [u8]>,
    /// `None` when it is longer than a few kilobytes.
    pub body: Option<&'a [u8]>,
}

/// One run of load.
#[derive(Debug)]
pub struct OpenLoop<'a, T> {
    pub target: &'a Target,
    pub requests: &'a [Vec<u8>],
    pub traffic: &'a mut T,
    pub schedule: Schedule,
    /// At most so many requests at once.
    pub connections: usize,
    /// From the moment a request is sent; also how long the tail of the run may last.
    pub timeout: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Tally {
    /// Of the answers with a status of 200 to 299, from the intended time.
    pub latencies: Histogram<u64>,
    /// From the intended time to the sending, of all requests sent.
    pub send_delays: Histogram<u64>,
    pub sent: u64,
    pub sent_late: u64,
    /// Answers with a status other than 200 to 299; they are in `failed` as well.
    pub refused: u64,
    /// Due, but with no connection free until the run was given up.
    pub not_sent: u64,
    pub failed: BTreeMap<String, u64>,
    /// Answers of each version that the server named.
    pub versions: BTreeMap<String, u64>,
    pub elapsed: Duration,
}

impl Tally {
    pub fn ok(&self) -> u64 {
        self.latencies.len()
    }

    /// Answers of any status.
    pub fn answered(&self) -> u64 {
        self.ok() + self.refused
    }
}

struct Slot {
    connection: Connection,
    /// Of the request in flight.
    times: Times,
}

/// Which request was sent and when, as offsets from the start.
#[derive(Debug, Clone, Copy, Default)]
struct Times {
    request: usize,
    intended: Duration,
    sent: Duration,
}

impl Times {
    fn ended<'a>(
        &self,
        started: Instant,
        at: Duration,
        answer: Result<Answer<'a>, &'static str>,
    ) -> Ended<'a> {
        Ended {
            request: self.request,
            intended: started + self.intended,
            sent: started + self.sent,
            at: started + at,
            answer,
        }
    }
}

struct Run<'a, T> {
    load: OpenLoop<'a, T>,
    poll: Poll,
    timer: TimerFd,
    /// Free places are `None`: their connections were closed.
    slots: Vec<Option<Slot>>,
    idle: Vec<usize>,
    free: Vec<usize>,
    busy: usize,
    /// When the timer is set to fire.
    armed: Option<Duration>,
    started: Instant,
    tally: Tally,
}

impl<T: Traffic> OpenLoop<'_, T> {
    /// Sends what is due when it is due, until all is answered, timed out or given up.
    pub fn run(self, stop: &Stop) -> Result<Tally> {
        let poll = Poll::new().context("create an event queue")?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)
            .context("create a timer")?;
        let fd = timer.as_fd().as_raw_fd();
        poll.registry()
            .register(&mut SourceFd(&fd), TIMER, Interest::READABLE)
            .context("watch the timer")?;
        let run = Run {
            poll,
            timer,
            slots: (0..self.connections).map(|_| None).collect(),
            idle: Vec::with_capacity(self.connections),
            free: (0..self.connections).rev().collect(),
            busy: 0,
            armed: None,
            load: self,
            started: Instant::now(),
            tally: Tally {
                latencies: latency::histogram(),
                send_delays: latency::histogram(),
                sent: 0,
                sent_late: 0,
                refused: 0,
                not_sent: 0,
                failed: BTreeMap::new(),
                versions: BTreeMap::new(),
                elapsed: Duration::ZERO,
            },
        };
        run.drive_to_end(stop)
    }
}

impl<T: Traffic> Run<'_, T> {
    fn drive_to_end(mut self, stop: &Stop) -> Result<Tally> {
        let timeout = self.load.timeout;
        let tick = (timeout / 10).clamp(Duration::from_millis(1), Duration::from_millis(50));
        let mut events = Events::with_capacity(256);
        let mut next_sweep = tick;
        while !stop.is_raised() {
            let now = self.started.elapsed();
            // What is still unsent a whole time limit after the last arrival is given up.
            if now <= self.load.schedule.end() + timeout {
                self.send_due();
            }
            let give_up = self.load.schedule.end() + timeout;
            let next = self.load.schedule.peek();
            if self.busy == 0 && (next.is_none() || now > give_up) {
                break;
            }
            let due_now = match next {
                Some(due) => self.wake_at(due)?,
                None => false,
            };
            // It may have become due since it was looked for; without a free connection, or past
            // the end, an answer or a sweep will go on instead.
            let at_once = due_now && self.busy < self.slots.len() && now <= give_up;
            self.wait(&mut events, if at_once { Duration::ZERO } else { tick })?;
            for event in &events {
                if event.token() != TIMER {
                    self.drive(event.token().0);
                }
            }
            if self.started.elapsed() >= next_sweep {
                self.sweep();
                next_sweep = self.started.elapsed() + tick;
            }
        }
        let now = self.started.elapsed();
        let end = self.load.schedule.end();
        // After Ctrl-C the arrivals yet to come were never due.
        self.tally.not_sent = self.load.schedule.take_while(|&due| due <= now).count() as u64;
        self.tally.elapsed = if stop.is_raised() { now } else { now.max(end) };
        Ok(self.tally)
    }

    /// Sends every request that is due, as far as connections go.
    fn send_due(&mut self) {
        while let Some(intended) = self.load.schedule.peek() {
            let sent = self.started.elapsed();
            if intended > sent {
                return;
            }
            let Some(place) = self.idle.pop().map(Ok).or_else(|| self.free.pop().map(Err)) else {
                return;
            };
            let Some(request) = self.load.traffic.next() else {
                self.load.schedule.cut();
                match place {
                    Ok(idle) => self.idle.push(idle),
                    Err(free) => self.free.push(free),
                }
                return;
            };
            let index = place.or_else(|free| self.open(free));
            self.load.schedule.next();
            self.tally.sent += 1;
            self.tally.sent_late += u64::from(sent - intended > LATE);
            latency::record(&mut self.tally.send_delays, sent - intended);
            let times = Times { request, intended, sent };
            match index {
                Ok(index) => self.send(index, times),
                Err(failure) => self.fail(times, failure.kind()),
            }
        }
    }

    /// Fills a free place with a new connection; gives the place back if that fails at once.
    fn open(&mut self, index: usize) -> Result<usize, Failure> {
        let address = self.load.target.address;
        match Connection::open(address, self.poll.registry(), Token(index)) {
            Ok(connection) => {
                self.slots[index] = Some(Slot { connection, times: Times::default() });
                Ok(index)
            }
            Err(_) => {
                self.free.push(index);
                Err(Failure::Connect)
            }
        }
    }

    fn send(&mut self, index: usize, times: Times) {
        let Some(slot) = &mut self.slots[index] else {
            return;
        };
        slot.times = times;
        match slot.connection.send(&self.load.requests[times.request]) {
            Ok(()) => self.busy += 1,
            Err(failure) => {
                self.fail(times, failure.kind());
                self.close(index);
            }
        }
    }

    /// Handles one event of a connection. An event of a connection that is gone does nothing, and
    /// neither does one that reaches its successor in the same place.
    fn drive(&mut self, index: usize) {
        let Some(slot) = &mut self.slots[index] else {
            return;
        };
        let times = slot.times;
        match slot.connection.on_event(&self.load.requests[times.request]) {
            Progress::Pending => {}
            Progress::IdleClosed => {
                self.idle.retain(|&idle| idle != index);
                self.close(index);
            }
            Progress::Failed(failure) => {
                self.busy -= 1;
                self.fail(times, failure.kind());
                self.close(index);
            }
            Progress::Answered(response) => {
                self.busy -= 1;
                let at = self.started.elapsed();
                let source = &response.source;
                let answer = Answer {
                    status: response.status,
                    version: slot.connection.part(&source.version),
                    rescued_from: slot.connection.part(&source.rescued_from),
                    variant: slot.connection.part(&source.variant),
                    timing: slot.connection.part(&source.timing),
                    retry_after: slot.connection.part(&source.retry_after),
                    body: slot.connection.part(&response.body),
                };
                if let Some(version) = answer.version {
                    count(&mut self.tally.versions, &String::from_utf8_lossy(version));
                }
                if (200..300).contains(&response.status) {
                    let latency = at.saturating_sub(times.intended);
                    latency::record(&mut self.tally.latencies, latency);
                } else {
                    self.tally.refused += 1;
                    count(&mut self.tally.failed, &format!("status {}", response.status));
                }
                self.load.traffic.ended(&times.ended(self.started, at, Ok(answer)));
                if response.close {
                    self.close(index);
                } else {
                    self.idle.push(index);
                }
            }
        }
    }

    /// Gives up the requests that are out of time, and their connections with them.
    fn sweep(&mut self) {
        let now = self.started.elapsed();
        for index in 0..self.slots.len() {
            let overdue = self.slots[index].as_ref().filter(|slot| {
                slot.connection.is_busy() && now.saturating_sub(slot.times.sent) > self.load.timeout
            });
            if let Some(times) = overdue.map(|slot| slot.times) {
                self.busy -= 1;
                self.fail(times, "timeout");
                self.close(index);
            }
        }
    }

    fn close(&mut self, index: usize) {
        self.slots[index] = None;
        self.free.push(index);
    }

    /// A request without an answer.
    fn fail(&mut self, times: Times, kind: &'static str) {
        count(&mut self.tally.failed, kind);
        let at = self.started.elapsed();
        self.load.traffic.ended(&times.ended(self.started, at, Err(kind)));
    }

    /// Lets the timer end the next wait at `due`; epoll's own limit is in whole milliseconds,
    /// coarser than the latencies measured. True if it is due already.
    fn wake_at(&mut self, due: Duration) -> Result<bool> {
        let left = due.saturating_sub(self.started.elapsed());
        if left.is_zero() {
            return Ok(true);
        }
        if self.armed == Some(due) {
            return Ok(false);
        }
        let once = Expiration::OneShot(TimeSpec::from_duration(left));
        self.timer.set(once, TimerSetTimeFlags::empty()).context("set the timer")?;
        self.armed = Some(due);
        Ok(false)
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
}

/// Adds one under `kind`; allocates only for a kind not seen before.
fn count(counts: &mut BTreeMap<String, u64>, kind: &str) {
    match counts.get_mut(kind) {
        Some(count) => *count += 1,
        None => {
            counts.insert(kind.to_owned(), 1);
        }
    }
}
