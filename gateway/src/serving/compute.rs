//! The compute slots that all models share.
//!
//! There are as many slots as the process has cores, and a free one goes to the queue whose first
//! entry is most due ([`crate::serving::fair`]): work-conserving (a free slot never waits while
//! something is queued), and fair between tenants and models. A batch that is expected to be short runs on the very thread that took it,
//! a thread of the async runtime: handing it to another thread would cost more than it. A
//! longer one goes to a compute thread, so that it cannot hold up the sockets.
//!
//! A request that comes alone does not even need a task of its own: its handler takes an idle
//! slot ([`Compute::idle_slot`]) and runs the model where it stands. Only a model that has seen
//! no company lately ([`crate::serving::company`]) is served so: with many callers each would
//! take a slot for its single row, and no batch would ever form.
//!
//! A compute thread may never come back from a run: [`crate::serving::running`] writes such a
//! run off. And versions on trial never keep stable waiting: when they hold all slots for too
//! long, a spare thread runs what waits for stable.
//!
//! Before a worker looks at its queue it lets the runtime do the input that is ready: requests
//! that have already arrived are decoded and join the batch. Nothing waits for it: the core
//! is busy with those very requests.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use crate::serving::batch::CloseReason;
use crate::serving::entry::{Entry, Lane};
use crate::serving::queue::{Next, Queue};
use crate::serving::running::Running;
use crate::serving::worker;

/// Batches expected to take longer than this (in microseconds) leave the async runtime: the
/// delay that a socket may see behind a batch.
pub const LONGEST_INLINE_US: f64 = 3_000.0;

/// How often runs are looked at while there are any.
const WATCH_PERIOD: Duration = Duration::from_millis(5);
/// How long the watchdog sleeps while there are none, until it sees whether it is needed at all.
const WATCH_PATIENCE: Duration = Duration::from_millis(500);
/// Threads that may be lost to runs that never end.
const MOST_LOST_THREADS: usize = 32;

#[derive(Debug, Default)]
struct State {
    free: usize,
    /// Queues that want a slot, in the order in which they came.
    waiting: VecDeque<Arc<Queue>>,
}

/// The shared slots and the threads behind them.
#[derive(Debug)]
pub struct Compute {
    slots: usize,
    state: Mutex<State>,
    runtime: Handle,
    tasks: TaskTracker,
    orders: Sender<Order>,
    inbox: Receiver<Order>,
    running: Running,
    threads: AtomicUsize,
    /// A thread beside the slots runs what waits for stable.
    has_spare: AtomicBool,
}

/// Entries that share a run.
#[derive(Debug)]
pub struct Batch {
    pub entries: Vec<Entry>,
    pub rows: usize,
    pub close: CloseReason,
    pub lane: Lane,
}

/// A batch on its way to a compute thread; it holds a slot.
struct Order {
    batch: Batch,
    compute: Arc<Compute>,
}

impl Compute {
    /// `slots` slots and as many compute threads. Must be called inside a tokio runtime.
    pub fn start(slots: usize, tasks: TaskTracker) -> std::io::Result<Arc<Self>> {
        // One order per slot at most: sending never waits.
        let (orders, inbox) = crossbeam_channel::bounded(slots);
        let compute = Arc::new(Self {
            slots,
            state: Mutex::new(State { free: slots, waiting: VecDeque::new() }),
            runtime: Handle::current(),
            tasks,
            orders,
            inbox,
            running: Running::default(),
            threads: AtomicUsize::new(0),
            has_spare: AtomicBool::new(false),
        });
        for _ in 0..slots {
            compute.start_thread()?;
        }
        let watched = Arc::downgrade(&compute);
        std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || watch(&watched))?;
        Ok(compute)
    }

    fn start_thread(&self) -> std::io::Result<()> {
        let number = self.threads.fetch_add(1, Ordering::Relaxed);
        let inbox = self.inbox.clone();
        std::thread::Builder::new().name(format!("compute-{number}")).spawn(move || {
            // Ends when the last sender is gone, or when a run of it was written off.
            for Order { batch, compute } in inbox {
                if !compute.running.run(batch) {
                    compute.threads.fetch_sub(1, Ordering::Relaxed);
                    return;
                }
                compute.release();
            }
        })?;
        Ok(())
    }

    /// Finds a worker for a queue that has entries, now or when a slot becomes free; with a
    /// `delay` not before the oldest entry is that old or a batch is full.
    pub fn offer(self: &Arc<Self>, queue: &Arc<Queue>, delay: Duration) {
        if delay.is_zero() {
            return self.offer_now(queue);
        }
        let (compute, queue) = (Arc::clone(self), Arc::clone(queue));
        let ripen = async move {
            queue.ripe(delay).await;
            compute.offer_now(&queue);
        };
        self.tasks.spawn_on(ripen, &self.runtime);
    }

    fn offer_now(self: &Arc<Self>, queue: &Arc<Queue>) {
        let mut state = self.lock();
        if state.free == 0 {
            state.waiting.push_back(Arc::clone(queue));
            return;
        }
        state.free -= 1;
        drop(state);
        self.work_on(Arc::clone(queue));
    }

    /// A free slot, if nobody else waits for one.
    pub fn idle_slot(self: &Arc<Self>) -> Option<Slot> {
        let mut state = self.lock();
        if state.free == 0 || !state.waiting.is_empty() {
            return None;
        }
        state.free -= 1;
        Some(Slot(Arc::clone(self)))
    }

    /// Starts a worker that holds a slot, with `queue` first.
    fn work_on(self: &Arc<Self>, queue: Arc<Queue>) {
        let compute = Arc::clone(self);
        let work = async move {
            let mut next = Some(queue);
            while let Some(queue) = next {
                tokio::task::yield_now().await;
                next = compute.work_once(&queue);
            }
        };
        self.tasks.spawn_on(work, &self.runtime);
    }

    /// Runs one batch of `queue` or sends it to a compute thread. Returns the queue that the
    /// slot goes to next; `None` when the slot has been given away.
    fn work_once(self: &Arc<Self>, queue: &Arc<Queue>) -> Option<Arc<Queue>> {
        let (taken, next) = queue.take(Instant::now());
        queue.metrics.dropped(taken.abandoned.len(), taken.expired.len());
        worker::tell_expired(taken.expired);
        if next == Next::Offer {
            // Entries that could not join have waited for this batch already.
            self.offer_now(queue);
        }
        let Some(first) = taken.batch.first() else { return self.next_queue() };
        let is_short = first.version.expected_us(taken.rows) <= LONGEST_INLINE_US;
        let (rows, close, lane) = (taken.rows, taken.close, first.lane);
        if is_short && lane == Lane::Any {
            worker::run(taken.batch, rows, close);
            return self.next_queue();
        }
        let batch = Batch { entries: taken.batch, rows, close, lane };
        let order = Order { batch, compute: Arc::clone(self) };
        // The channel holds one batch per slot and a slot sends one at a time: it is never
        // full. Without threads (shutdown) the entries are dropped and their callers told.
        if self.orders.try_send(order).is_err() {
            return self.next_queue();
        }
        None
    }

    /// Gives a slot back, or to the queue that waits for one.
    fn release(self: &Arc<Self>) {
        if let Some(queue) = self.next_queue() {
            self.work_on(queue);
        }
    }

    fn next_queue(&self) -> Option<Arc<Queue>> {
        let mut state = self.lock();
        // The one whose first entry is most due; among equals the one that waits longest.
        let due = state.waiting.iter().enumerate();
        let due = due.min_by(|(_, one), (_, other)| one.head().total_cmp(&other.head()));
        let next = due.map(|(place, _)| place).and_then(|place| state.waiting.remove(place));
        if next.is_none() {
            state.free += 1;
        }
        next
    }

    /// What the watchdog does each time it looks.
    fn look_after_runs(self: &Arc<Self>) {
        let findings = self.running.look(Instant::now());
        for _ in 0..findings.written_off {
            let lost = self.threads.load(Ordering::Relaxed).saturating_sub(self.slots);
            if lost >= MOST_LOST_THREADS {
                tracing::error!(
                    lost,
                    "too many runs never end: their compute slots are lost until the gateway is restarted"
                );
                continue;
            }
            match self.start_thread() {
                Ok(()) => self.release(),
                Err(error) => tracing::error!(%error, "cannot replace a compute thread"),
            }
        }
        if findings.overdue >= self.slots && !self.has_spare.swap(true, Ordering::AcqRel) {
            let compute = Arc::clone(self);
            // A thread of its own: the watchdog must go on watching.
            let spare = std::thread::Builder::new().name("compute-spare".to_owned());
            let started = spare.spawn(move || {
                compute.run_for_stable();
                compute.has_spare.store(false, Ordering::Release);
            });
            if let Err(error) = started {
                tracing::error!(%error, "no thread for stable beside canaries that hang");
                self.has_spare.store(false, Ordering::Release);
            }
        }
    }

    /// Runs, on this thread, what waits while versions on trial hold all slots.
    fn run_for_stable(&self) {
        let waiting: Vec<Arc<Queue>> = self.lock().waiting.iter().cloned().collect();
        for queue in waiting {
            let (taken, _) = queue.take_where(Instant::now(), |e| e.lane != Lane::Trial);
            queue.metrics.dropped(taken.abandoned.len(), taken.expired.len());
            worker::tell_expired(taken.expired);
            worker::run(taken.batch, taken.rows, taken.close);
        }
    }

    /// Runs that go on at once.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Slots that nobody holds.
    pub fn free_slots(&self) -> usize {
        self.lock().free
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; a poisoned lock would still hold a whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A slot that is given back when it is dropped, also by a panic.
#[derive(Debug)]
pub struct Slot(Arc<Compute>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Order({} rows)", self.batch.rows)
    }
}

/// The watchdog: looks after runs until the gateway is gone.
fn watch(compute: &Weak<Compute>) {
    while let Some(compute) = compute.upgrade() {
        if compute.running.wait(WATCH_PATIENCE) {
            std::thread::sleep(WATCH_PERIOD);
            compute.look_after_runs();
        }
    }
}
