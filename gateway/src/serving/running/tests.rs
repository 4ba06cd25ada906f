use super::*;
use crate::serving::fault::{Fault, FaultKind};
use crate::serving::queue::Queue;
use crate::serving::submit::{Job, SubmitError, submit};
use crate::serving::testing::{Echo, Gated, batching, job, room, until, values, version};
use tokio::task::JoinHandle;

type Outcome = Result<crate::serving::entry::Answer, SubmitError>;

/// A version whose runs hang until the fault is ended.
fn hanging() -> (Arc<LoadedVersion>, Arc<Fault>) {
    let version = version(Arc::new(Echo::default()), false);
    let fault = Arc::new(Fault::new(FaultKind::Hang, Instant::now(), 1.0));
    version.set_fault(Some(Arc::clone(&fault)));
    (version, fault)
}

#[expect(clippy::disallowed_methods, reason = "the tracker of a test is the test")]
fn ask(
    compute: &Arc<crate::serving::compute::Compute>,
    queue: &Arc<Queue>,
    job: Job,
) -> JoinHandle<Outcome> {
    let (compute, queue) = (Arc::clone(compute), Arc::clone(queue));
    tokio::spawn(async move { submit(&compute, &queue, batching(16), job).await })
}

fn on_trial(version: &Arc<LoadedVersion>, value: f32) -> Job {
    Job { lane: Lane::Trial, ..job(version, &[value]) }
}

fn stable(version: &Arc<LoadedVersion>, value: f32) -> Job {
    Job { lane: Lane::Thread, ..job(version, &[value]) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_that_holds_every_thread_does_not_keep_stable_waiting_and_is_given_up() {
    let (compute, queue) = room(2);
    let (canary, fault) = hanging();
    let well = version(Arc::new(Echo::default()), false);
    let hung = [
        ask(&compute, &queue, on_trial(&canary, 1.0)),
        ask(&compute, &queue, on_trial(&canary, 2.0)),
    ];
    // Both may have come into one run: keep asking until no slot is free or the run is given up.
    for n in 0..20 {
        let answer = ask(&compute, &queue, stable(&well, 100.0 + n as f32)).await.unwrap().unwrap();
        assert_eq!(values(&answer.outputs), [100.0 + n as f32]);
    }
    for waiting in hung {
        let outcome = waiting.await.unwrap();
        assert!(matches!(outcome, Err(SubmitError::Model(_))), "{outcome:?}");
    }
    assert!(canary.quarantine().unwrap().contains("did not end"));
    let after = ask(&compute, &queue, on_trial(&canary, 3.0)).await.unwrap();
    assert!(matches!(after, Err(SubmitError::Model(_))), "it is run no more");
    fault.end();
    let answer = ask(&compute, &queue, stable(&well, 7.0)).await.unwrap().unwrap();
    assert_eq!(values(&answer.outputs), [7.0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_nobody_waits_for_are_given_up_soon_and_the_third_is_the_last() {
    let (compute, queue) = room(1);
    let (opening, open) = crossbeam_channel::unbounded();
    let (entered, inside) = crossbeam_channel::unbounded();
    let canary = version(Gated { open, entered }, false);
    let well = version(Arc::new(Echo::default()), false);
    for run in 1..=TRIAL_MOST_WRITTEN_OFF {
        assert_eq!(canary.quarantine(), None, "fewer may be the machine's doing");
        let begun = Instant::now();
        let hung = ask(&compute, &queue, on_trial(&canary, 1.0));
        until(|| inside.try_recv().is_ok()).await;
        hung.abort();
        // There is one slot: stable is answered by a spare thread, or once the slot is free again.
        let answer = ask(&compute, &queue, stable(&well, 5.0)).await.unwrap().unwrap();
        assert_eq!(values(&answer.outputs), [5.0]);
        until(|| compute.free_slots() == 1).await;
        assert!(begun.elapsed() < TRIAL.least, "run {run}: well before one that is waited for");
    }
    assert!(canary.quarantine().unwrap().contains("nobody waits"));
    drop(opening);
}

#[test]
fn limits_depend_on_the_lane_and_on_who_waits() {
    let version = version(Arc::new(Echo::default()), false);
    let (reply, waits) = tokio::sync::oneshot::channel();
    let caller = Caller { arrived: Instant::now(), reply };
    let run = |lane| Run {
        version: Arc::clone(&version),
        lane,
        started: Instant::now(),
        expected: Duration::from_millis(20),
        callers: Mutex::new(None),
        is_written_off: AtomicBool::new(false),
    };
    let mut trial = run(Lane::Trial);
    *trial.callers.get_mut().unwrap() = Some(vec![caller]);
    let age = Duration::from_millis;
    assert_eq!(trial.past_limit(age(1_999)), None, "somebody waits");
    let late = trial.past_limit(age(2_001)).unwrap();
    assert!(late.text.contains("2s") && late.is_final);
    drop(waits);
    assert_eq!(trial.past_limit(age(399)), None);
    let forsaken = trial.past_limit(age(401)).unwrap();
    assert!(forsaken.text.contains("nobody waits") && !forsaken.is_final);
    let usual = run(Lane::Any);
    *usual.callers.lock().unwrap() = trial.callers.get_mut().unwrap().take();
    assert_eq!(usual.past_limit(age(9_999)), None);
    assert!(usual.past_limit(age(10_001)).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_run_and_answer_as_ever() {
    let (compute, queue) = room(2);
    let well = version(Arc::new(Echo::default()), false);
    let asked: Vec<_> =
        (0..500).map(|n| ask(&compute, &queue, stable(&well, 1000.0 + n as f32))).collect();
    for (n, answer) in asked.into_iter().enumerate() {
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(values(&answer.outputs), [1000.0 + n as f32]);
    }
    assert_eq!(queue.rows(), 0);
}
