use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use futures_util::future::join_all;
use weighbridge_config::settings::Priority;

use super::*;
use crate::serving::testing::{Echo, Gated, batching, job, room, values, version};

#[tokio::test]
async fn rows_come_back_to_their_callers() {
    let (compute, queue) = room(1);
    let echo = Arc::new(Echo::default());
    let model = version(Arc::clone(&echo), false);
    // Somebody else is inside: nobody may take a slot for one row.
    let _company = queue.company.enter();
    let asked: Vec<f32> = (0..200).map(|n| n as f32 + 1000.0).collect();
    let answers =
        asked.iter().map(|value| submit(&compute, &queue, batching(16), job(&model, &[*value])));
    for (value, answer) in asked.iter().zip(join_all(answers).await) {
        assert_eq!(values(&answer.unwrap().outputs), [*value]);
    }
    assert!(echo.runs.load(Ordering::SeqCst) < 200, "requests shared runs");
    assert!(echo.largest.load(Ordering::SeqCst) <= 16);
    assert_eq!((compute.free_slots(), queue.rows()), (1, 0));
}

#[tokio::test]
async fn a_request_that_comes_alone_runs_at_once() {
    let (compute, queue) = room(1);
    let model = version(Arc::new(Echo::default()), false);
    let answer = submit(&compute, &queue, batching(16), job(&model, &[7.0]));
    let answer = answer.now_or_never().expect("no task, no hop").unwrap();
    assert_eq!(values(&answer.outputs), [7.0]);
    let panics = submit(&compute, &queue, batching(16), job(&model, &[666.0])).now_or_never();
    assert!(matches!(panics, Some(Err(SubmitError::Model(_)))));
    assert_eq!(compute.free_slots(), 1, "the slot is given back");
}

#[tokio::test]
async fn only_the_request_that_the_model_cannot_answer_fails() {
    let (compute, queue) = room(1);
    let model = version(Arc::new(Echo::default()), false);
    let asked = [1.0, 2.0, 13.0, 4.0, 666.0, 6.0, 7.0];
    let answers =
        asked.iter().map(|value| submit(&compute, &queue, batching(16), job(&model, &[*value])));
    for (value, answer) in asked.iter().zip(join_all(answers).await) {
        match answer {
            Ok(answer) => assert_eq!(values(&answer.outputs), [*value]),
            Err(error) => {
                assert!([13.0, 666.0].contains(value), "{value} failed: {error:?}");
                assert!(matches!(error, SubmitError::Model(_)));
            }
        }
    }
    let after = submit(&compute, &queue, batching(16), job(&model, &[8.0])).await.unwrap();
    assert_eq!(values(&after.outputs), [8.0], "the worker goes on");
    assert_eq!(compute.free_slots(), 1);
}

#[tokio::test]
async fn a_request_larger_than_a_batch_is_split_and_joined_in_order() {
    let (compute, queue) = room(2);
    let echo = Arc::new(Echo::default());
    let model = version(Arc::clone(&echo), false);
    let rows: Vec<f32> = (0..101).map(|n| n as f32 + 1000.0).collect();
    let answer = submit(&compute, &queue, batching(8), job(&model, &rows)).await.unwrap();
    assert_eq!(values(&answer.outputs), rows);
    assert!(echo.largest.load(Ordering::SeqCst) <= 8);
    let one_bad: Vec<f32> = rows.iter().map(|v| if *v == 1050.0 { 13.0 } else { *v }).collect();
    let outcome = submit(&compute, &queue, batching(8), job(&model, &one_bad)).await;
    assert!(matches!(outcome, Err(SubmitError::Model(_))));
}

/// Requests that wait behind a model which stands still.
struct Held {
    compute: Arc<Compute>,
    queue: Arc<Queue>,
    model: Arc<LoadedVersion>,
    open: crossbeam_channel::Sender<()>,
    entered: crossbeam_channel::Receiver<usize>,
    first: tokio::task::JoinHandle<Result<Answer, SubmitError>>,
}

impl Held {
    async fn start() -> Self {
        let (compute, queue) = room(1);
        let (open, gate) = crossbeam_channel::unbounded();
        let (enter, entered) = crossbeam_channel::unbounded();
        let model = version(Gated { open: gate, entered: enter }, true);
        let first = submit_owned(&compute, &queue, batching(4), job(&model, &[0.0]));
        let held = Self { compute, queue, model, open, entered, first };
        assert_eq!(held.next_run().await, 1);
        held
    }

    fn submit(
        &self,
        batching: Batching,
        rows: &[f32],
    ) -> tokio::task::JoinHandle<Result<Answer, SubmitError>> {
        submit_owned(&self.compute, &self.queue, batching, job(&self.model, rows))
    }

    /// Rows of the next run, once it has begun.
    async fn next_run(&self) -> usize {
        let entered = self.entered.clone();
        tokio::task::spawn_blocking(move || entered.recv_timeout(Duration::from_secs(20)).unwrap())
            .await
            .unwrap()
    }

    /// Waits until so many rows wait.
    async fn until_waiting(&self, rows: usize) {
        while self.queue.rows() != rows {
            tokio::task::yield_now().await;
        }
    }
}

fn submit_owned(
    compute: &Arc<Compute>,
    queue: &Arc<Queue>,
    batching: Batching,
    job: Job,
) -> tokio::task::JoinHandle<Result<Answer, SubmitError>> {
    let (compute, queue) = (Arc::clone(compute), Arc::clone(queue));
    #[expect(clippy::disallowed_methods, reason = "a test waits for the handle itself")]
    tokio::spawn(async move { submit(&compute, &queue, batching, job).await })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_form_while_the_worker_is_busy() {
    let held = Held::start().await;
    let waiting: Vec<_> = (1..=6).map(|n| held.submit(batching(4), &[n as f32])).collect();
    held.until_waiting(6).await;
    for _ in 0..3 {
        held.open.send(()).unwrap();
    }
    assert_eq!(held.next_run().await, 4, "a full batch");
    assert_eq!(held.next_run().await, 2, "what is left");
    for (n, answer) in join_all(waiting).await.into_iter().enumerate() {
        assert_eq!(values(&answer.unwrap().unwrap().outputs), [n as f32 + 1.0]);
    }
    assert!(held.first.await.unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_and_says_how_full() {
    let held = Held::start().await;
    let small = Batching { max_queue_size: 3, ..batching(4) };
    let waiting: Vec<_> = (0..3).map(|_| held.submit(small, &[1.0])).collect();
    held.until_waiting(3).await;
    let refused = held.submit(small, &[1.0]).await.unwrap();
    assert_eq!(refused.unwrap_err(), SubmitError::Full(QueueFull { waiting: 3, limit: 3 }));
    let oversize = held.submit(small, &[1.0; 9]).await.unwrap();
    assert!(matches!(oversize, Err(SubmitError::Full(_))));
    drop(held.open);
    assert!(join_all(waiting).await.into_iter().all(|a| a.unwrap().is_ok()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_or_is_late_never_runs() {
    let held = Held::start().await;
    let leaver = held.submit(batching(4), &[1.0]);
    held.until_waiting(1).await;
    leaver.abort();
    assert!(leaver.await.unwrap_err().is_cancelled());
    let mut late = job(&held.model, &[2.0]);
    late.deadline = Instant::now() + Duration::from_millis(300);
    let late = submit_owned(&held.compute, &held.queue, batching(4), late);
    assert_eq!(late.await.unwrap().unwrap_err(), SubmitError::DeadlinePassed);
    let stayer = held.submit(batching(4), &[3.0]);
    held.until_waiting(3).await;
    drop(held.open.clone());
    held.open.send(()).unwrap();
    held.open.send(()).unwrap();
    assert_eq!(held.next_run().await, 1, "only the one who stayed");
    assert!(stayer.await.unwrap().is_ok());
    assert_eq!(held.queue.rows(), 0);
}

#[tokio::test]
async fn a_passed_deadline_is_refused_at_the_door() {
    let (compute, queue) = room(1);
    let mut job = job(&version(Arc::new(Echo::default()), false), &[1.0]);
    job.deadline = job.arrived;
    let outcome = submit(&compute, &queue, batching(4), job).await;
    assert_eq!(outcome.unwrap_err(), SubmitError::DeadlinePassed);
}

#[tokio::test(start_paused = true)]
async fn a_queue_delay_lets_a_batch_grow_and_a_full_one_go() {
    let (compute, queue) = room(1);
    let echo = Arc::new(Echo::default());
    let model = version(Arc::clone(&echo), false);
    let patient = Batching { max_queue_delay: Duration::from_secs(1), ..batching(4) };
    let started = tokio::time::Instant::now();
    let full = (0..4).map(|n| submit(&compute, &queue, patient, job(&model, &[n as f32])));
    assert!(join_all(full).await.into_iter().all(|a| a.is_ok()));
    assert!(started.elapsed() < Duration::from_millis(500), "a full batch does not wait");
    let few = (0..2).map(|n| submit(&compute, &queue, patient, job(&model, &[n as f32])));
    assert!(join_all(few).await.into_iter().all(|a| a.is_ok()));
    assert!(started.elapsed() >= Duration::from_millis(900), "a small batch waits for others");
    assert_eq!(echo.runs.load(Ordering::SeqCst), 2);
}

fn party(tenant: &str) -> Party {
    Party { tenant: tenant.into(), ..Party::default() }
}

impl Held {
    fn submit_as(
        &self,
        party: Party,
        batching: Batching,
        rows: &[f32],
    ) -> tokio::task::JoinHandle<Result<Answer, SubmitError>> {
        let job = Job { party, ..job(&self.model, rows) };
        submit_owned(&self.compute, &self.queue, batching, job)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_runs_before_the_backlog_of_another_tenant() {
    let held = Held::start().await;
    let flood: Vec<_> =
        (0..12).map(|n| held.submit_as(party("flood"), batching(4), &[n as f32])).collect();
    held.until_waiting(12).await;
    held.open.send(()).unwrap();
    // Somebody else has just been there: no run is longer than three single rows.
    assert_eq!(held.next_run().await, 3, "the flood's first batch");
    let newcomer = held.submit_as(party("other"), batching(4), &[100.0]);
    held.until_waiting(10).await;
    held.open.send(()).unwrap();
    assert_eq!(held.next_run().await, 1, "alone: nobody else is as much due");
    held.open.send(()).unwrap();
    assert_eq!(values(&newcomer.await.unwrap().unwrap().outputs), [100.0]);
    drop(held.open);
    assert!(join_all(flood).await.into_iter().all(|answer| answer.unwrap().is_ok()));
    assert!(held.first.await.unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_makes_room_for_who_has_less_in_it() {
    let held = Held::start().await;
    let small = Batching { max_queue_size: 4, ..batching(1) };
    let flood: Vec<_> =
        (0..4).map(|n| held.submit_as(party("flood"), small, &[n as f32])).collect();
    held.until_waiting(4).await;
    let other: Vec<_> =
        (0..2).map(|n| held.submit_as(party("other"), small, &[n as f32])).collect();
    let pushed_out = wait_for(&flood, 2).await;
    assert_eq!(pushed_out, 2, "as many as came");
    held.until_waiting(4).await;
    // Both have the same now: nobody makes room any more.
    for tenant in ["other", "flood"] {
        let refused = held.submit_as(party(tenant), small, &[9.0]).await.unwrap();
        assert!(matches!(refused, Err(SubmitError::Full(_))), "{tenant}: {refused:?}");
    }
    drop(held.open);
    let full = |answer: &Result<_, _>| matches!(answer, Err(SubmitError::Full(_)));
    let refused = join_all(flood).await.into_iter().filter(|a| full(a.as_ref().unwrap())).count();
    assert_eq!(refused, 2);
    assert!(join_all(other).await.into_iter().all(|answer| answer.unwrap().is_ok()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_larger_than_the_queue_is_in_nobodys_way() {
    let held = Held::start().await;
    let small = Batching { max_queue_size: 4, ..batching(2) };
    let large: Vec<f32> = (0..20).map(|n| n as f32).collect();
    let bulk = held.submit_as(party("bulk"), small, &large);
    held.until_waiting(20).await;
    // Another one does not come in beside it.
    let refused = held.submit_as(party("other"), small, &large).await.unwrap();
    assert!(matches!(refused, Err(SubmitError::Full(_))), "{refused:?}");
    let others: Vec<_> =
        (0..4).map(|n| held.submit_as(party("other"), small, &[n as f32])).collect();
    held.until_waiting(24).await;
    let more = held.submit_as(party("other"), small, &[9.0]).await.unwrap();
    assert!(matches!(more, Err(SubmitError::Full(_))), "{more:?}");
    drop(held.open);
    assert!(join_all(others).await.into_iter().all(|answer| answer.unwrap().is_ok()));
    assert_eq!(values(&bulk.await.unwrap().unwrap().outputs), large);
}

/// Waits until so many have ended.
async fn wait_for<T>(handles: &[tokio::task::JoinHandle<T>], count: usize) -> usize {
    crate::serving::testing::until(|| {
        handles.iter().filter(|handle| handle.is_finished()).count() >= count
    })
    .await;
    handles.iter().filter(|handle| handle.is_finished()).count()
}

#[tokio::test]
async fn what_would_wait_past_its_deadline_is_not_taken() {
    let (compute, queue) = room(1);
    let model = version(Arc::new(Echo::default()), false);
    let limited = Duration::from_millis(50);
    let mut receivers = Vec::new();
    let mut push = |deadline: Duration, priority: Priority, now: Instant| {
        let (reply, receiver) = oneshot::channel();
        receivers.push(receiver);
        let Job { version, inputs, rows, lane, .. } = job(&model, &[1.0]);
        let (arrived, deadline) = (now, now + deadline);
        let party = Party { priority, ..Party::default() };
        let entry = Entry {
            version,
            inputs,
            rows,
            max_rows: 1,
            arrived,
            deadline,
            lane,
            party,
            is_beyond: false,
            place: Place::default(),
            reply,
        };
        queue.push(entry, 1000, true, now)
    };
    let mut now = Instant::now();
    for _ in 0..40 {
        push(Duration::from_secs(60), Priority::Normal, now)
            .expect("nothing is known of the queue");
    }
    // One row each 10 ms, and 20 rows wait: 200 ms.
    for _ in 0..20 {
        now += Duration::from_millis(10);
        queue.take(now);
    }
    let refused = push(limited, Priority::Normal, now).unwrap_err();
    let NotTaken::TooLate(TooLate { wait, left }) = refused else { panic!("{refused:?}") };
    assert!((180..=220).contains(&wait.as_millis()), "{wait:?}");
    assert_eq!(left, limited);
    assert!(push(Duration::from_millis(300), Priority::Normal, now).is_ok());
    // Low priority is shed earlier.
    assert!(push(Duration::from_millis(300), Priority::Low, now).is_err());
    assert_eq!(queue.rows(), 21);
    // What waits of higher priority is before it, unless it waits for its batch to grow.
    let low = Party { priority: Priority::Low, ..party("low") };
    let foretold = |is_busy| queue.foretell(&low, now + Duration::from_millis(300), is_busy, now);
    assert!(foretold(true).is_some());
    assert_eq!(foretold(false), None);
    drop(compute);
}
