//! A request goes in, an answer comes out: admission to the queue, the deadline, and requests
//! that are larger than a batch.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio::sync::oneshot;
use weighbridge_config::Tensor;

use crate::serving::batch::CloseReason;
use crate::serving::compute::{Compute, LONGEST_INLINE_US};
use crate::serving::entry::{Answer, Entry, EntryFailure, Lane, Reply};
use crate::serving::fair::{Party, Place};
use crate::serving::loaded::{LoadedVersion, RunError};
use crate::serving::not_taken::{NotTaken, QueueFull, TooLate};
use crate::serving::queue::{Next, Queue};
use crate::serving::worker;

/// The batching settings of a model, as they stand for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// Rows.
    pub max_batch_size: usize,
    /// How long the first row of a batch may wait for others.
    pub max_queue_delay: Duration,
    /// Rows.
    pub max_queue_size: usize,
}

/// A decoded request with its version decided.
#[derive(Debug)]
pub struct Job {
    pub version: Arc<LoadedVersion>,
    /// In the order of the signature.
    pub inputs: Vec<Tensor>,
    pub rows: usize,
    pub arrived: Instant,
    pub deadline: Instant,
    pub lane: Lane,
    /// Whose it is.
    pub party: Party,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubmitError {
    Full(QueueFull),
    /// It would have waited past its deadline, and was not taken.
    TooLate(TooLate),
    /// The deadline passed, while waiting or while the model ran.
    DeadlinePassed,
    Model(RunError),
    /// The gateway is going away.
    Stopped,
}

/// Queues `job`, waits for its answer until the deadline. Dropping the future gives up: the
/// entry is skipped if its run has not begun.
pub async fn submit(
    compute: &Arc<Compute>,
    queue: &Arc<Queue>,
    batching: Batching,
    job: Job,
) -> Result<Answer, SubmitError> {
    let deadline = job.deadline;
    if deadline <= Instant::now() {
        return Err(SubmitError::DeadlinePassed);
    }
    if let Some(reason) = job.version.quarantine() {
        return Err(SubmitError::Model(RunError(reason.to_owned())));
    }
    let most = job.version.useful_batch(batching.max_batch_size);
    let visit = queue.company.enter();
    if visit.is_alone
        && may_run_here(&job, batching, most)
        && let Some(_slot) = compute.idle_slot()
    {
        let close = CloseReason::of(job.rows, most);
        return told(worker::run_alone(&job.version, &job.inputs, job.rows, close, job.arrived));
    }
    let answer = async {
        if job.rows <= most || !job.version.signature.batchable {
            let whole = Pieces { most, is_beyond: false };
            return wait(enqueue(compute, queue, batching, job, whole)?).await;
        }
        submit_pieces(compute, queue, batching, job, most).await
    };
    match tokio::time::timeout_at(deadline.into(), answer).await {
        Ok(outcome) => outcome,
        Err(_) => Err(SubmitError::DeadlinePassed),
    }
}

/// Splits a request that is larger than a batch, so that idle workers share it, and joins the
/// pieces. The request is admitted as a whole; when one piece fails, those that have not begun
/// are skipped.
async fn submit_pieces(
    compute: &Arc<Compute>,
    queue: &Arc<Queue>,
    batching: Batching,
    job: Job,
    most: usize,
) -> Result<Answer, SubmitError> {
    let limit = batching.max_queue_size;
    let is_beyond = queue.make_room_for(&job.party, job.rows, limit).map_err(refused)?;
    let mut replies = Vec::with_capacity(job.rows.div_ceil(most));
    for from in (0..job.rows).step_by(most) {
        let to = job.rows.min(from + most);
        let piece = Job {
            version: Arc::clone(&job.version),
            inputs: job.inputs.iter().map(|t| t.slice_rows(from, to)).collect(),
            rows: to - from,
            arrived: job.arrived,
            deadline: job.deadline,
            lane: job.lane,
            party: job.party.clone(),
        };
        // The whole request was admitted above: its own pieces must not refuse each other.
        let unbounded = Batching { max_queue_size: usize::MAX, ..batching };
        let piece = enqueue(compute, queue, unbounded, piece, Pieces { most, is_beyond })?;
        replies.push(wait(piece));
    }
    join(try_join_all(replies).await?)
}

/// What an entry is a piece of.
#[derive(Debug, Clone, Copy)]
struct Pieces {
    /// The most rows of one.
    most: usize,
    is_beyond: bool,
}

fn enqueue(
    compute: &Arc<Compute>,
    queue: &Arc<Queue>,
    batching: Batching,
    job: Job,
    pieces: Pieces,
) -> Result<oneshot::Receiver<Reply>, SubmitError> {
    let (reply, receiver) = oneshot::channel();
    let Job { version, inputs, rows, arrived, deadline, lane, party } = job;
    let Pieces { most: max_rows, is_beyond } = pieces;
    let place = Place::default();
    let entry = Entry {
        version,
        inputs,
        rows,
        max_rows,
        arrived,
        deadline,
        lane,
        party,
        is_beyond,
        place,
        reply,
    };
    let is_busy = compute.free_slots() == 0;
    let taken = queue.push(entry, batching.max_queue_size, is_busy, Instant::now());
    let next = taken.map_err(refused)?;
    if next == Next::Offer {
        compute.offer(queue, batching.max_queue_delay);
    }
    Ok(receiver)
}

fn refused(not_taken: NotTaken) -> SubmitError {
    match not_taken {
        NotTaken::Full(full) => SubmitError::Full(full),
        NotTaken::TooLate(late) => SubmitError::TooLate(late),
    }
}

/// True when the request fits one run that is short enough for the thread of its handler.
fn may_run_here(job: &Job, batching: Batching, most: usize) -> bool {
    let fits = job.rows <= most || !job.version.signature.batchable;
    let is_short = job.version.expected_us(job.rows) <= LONGEST_INLINE_US;
    fits && is_short && batching.max_queue_delay.is_zero() && job.lane == Lane::Any
}

async fn wait(reply: oneshot::Receiver<Reply>) -> Result<Answer, SubmitError> {
    match reply.await {
        Ok(reply) => told(reply),
        Err(_) => Err(SubmitError::Stopped),
    }
}

fn told(reply: Reply) -> Result<Answer, SubmitError> {
    reply.map_err(|failure| match failure {
        EntryFailure::Expired => SubmitError::DeadlinePassed,
        EntryFailure::PushedOut(full) => SubmitError::Full(full),
        EntryFailure::Model(error) => SubmitError::Model(error),
    })
}

/// Puts the rows of the pieces together again; times are those of the slowest piece.
fn join(pieces: Vec<Answer>) -> Result<Answer, SubmitError> {
    let mut pieces = pieces.into_iter();
    let Some(mut whole) = pieces.next() else { return Err(SubmitError::Stopped) };
    for piece in pieces {
        whole.queued = whole.queued.max(piece.queued);
        whole.computed = whole.computed.max(piece.computed);
        for (all, more) in whole.outputs.iter_mut().zip(piece.outputs) {
            all.append_rows(more).map_err(|e| {
                SubmitError::Model(RunError(format!("pieces of one request do not fit: {e}")))
            })?;
        }
    }
    Ok(whole)
}

#[cfg(test)]
mod tests;
