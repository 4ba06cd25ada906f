use std::cell::RefCell;

use super::*;
use crate::rollout::evidence::{Admitted, Outcome, Thresholds};

const MS: u64 = 1_000_000;

struct Field {
    began: Instant,
    evidence: Arc<Evidence>,
    harvest: RefCell<Harvest>,
    warm_up: RefCell<WarmUp>,
}

fn field(warm_requests: u64) -> Field {
    let began = Instant::now();
    let stable = [1, 2, 3, 4, 5, 6, 7, 8].map(|ms| ms * MS);
    let ceiling = Duration::from_secs(1);
    let thresholds = Arc::new(Thresholds::new(Some(stable), 1.1, 1.2, ceiling, None));
    let evidence = Arc::new(Evidence::new(began, Duration::from_secs(60), 2, thresholds, None));
    let warm_up = WarmUp { until: began + Duration::from_secs(600), requests: warm_requests };
    let harvest = RefCell::new(Harvest::new(Arc::clone(&evidence)));
    Field { began, evidence, harvest, warm_up: RefCell::new(warm_up) }
}

impl Field {
    fn admit(&self, sample: Sample, ms: u64) -> Admitted<'_> {
        self.evidence.admit(sample, self.began + Duration::from_millis(ms), None)
    }

    fn end(&self, sample: Sample, ms: u64, outcome: Outcome) {
        self.admit(sample, ms).end(outcome, Duration::from_millis(3));
    }

    fn gather(&self, ms: u64) -> Crop {
        let at = self.began + Duration::from_millis(ms);
        self.harvest.borrow_mut().gather(at, &mut self.warm_up.borrow_mut())
    }
}

fn errors(of: Outcomes) -> (u64, u64) {
    (of.ok, of.err)
}

#[test]
fn a_second_is_handed_on_once_when_it_is_over_and_nothing_is_open() {
    let field = field(0);
    field.end(Sample::Canary, 100, Outcome::Failed);
    field.end(Sample::Control, 200, Outcome::Ok);
    let early = field.gather(500);
    assert_eq!((errors(early.tail.canary), errors(early.tail.stable)), ((0, 1), (1, 0)));
    assert_eq!(early.counted, Pair::default());
    let over = field.gather(1_300);
    assert_eq!((errors(over.counted.canary), errors(over.counted.stable)), ((0, 1), (1, 0)));
    assert_eq!(over.latencies.stable.rollback.iter().sum::<u64>(), 1);
    assert_eq!(over.tail, Pair::default());
    let again = field.gather(1_400);
    assert_eq!((again.counted, again.latencies), (Pair::default(), Pair::default()));
}

#[test]
fn what_is_open_is_completed_against_the_rollback() {
    let field = field(0);
    let (canary, stable) = (field.admit(Sample::Canary, 0), field.admit(Sample::Control, 0));
    field.end(Sample::Canary, 1_500, Outcome::Failed);
    let crop = field.gather(2_600);
    assert_eq!(errors(crop.tail.canary), (1, 1), "the open one as fine");
    assert_eq!(errors(crop.tail.stable), (0, 1), "the open one as an error");
    assert_eq!(crop.counted, Pair::default(), "the second behind an open one waits");
    canary.end(Outcome::Failed, Duration::from_millis(2_000));
    stable.end(Outcome::Ok, Duration::from_millis(2_000));
    let crop = field.gather(2_700);
    assert_eq!((errors(crop.counted.canary), errors(crop.counted.stable)), ((0, 2), (1, 0)));
    assert_eq!(crop.tail_open, Pair::default());
}

#[test]
fn an_open_request_counts_as_slow_at_its_age_and_never_twice() {
    let field = field(0);
    let hung = field.admit(Sample::Canary, 100);
    assert_eq!(field.gather(2_100).latencies, Pair::default(), "1.1 s old");
    let late = field.gather(2_300).latencies;
    assert_eq!(late.canary.rollback[8], 1);
    hung.end(Outcome::Ok, Duration::from_millis(5_000));
    let after = field.gather(5_500);
    assert_eq!(after.latencies, Pair::default());
    assert_eq!(errors(after.counted.canary), (1, 0), "its outcome still counts");
}

#[test]
fn the_warm_up_counts_apart_and_ends_with_its_requests() {
    let field = field(3);
    for ms in [100, 200, 300, 400] {
        field.end(Sample::Canary, ms, Outcome::Ok);
    }
    field.end(Sample::Control, 300, Outcome::Ok);
    field.gather(900);
    field.end(Sample::Canary, 1_100, Outcome::Ok);
    let first = field.gather(1_300);
    assert_eq!((errors(first.warm_up.canary), errors(first.warm_up.stable)), ((4, 0), (1, 0)));
    assert_eq!(first.latencies, Pair::default());
    let second = field.gather(2_300);
    assert_eq!(errors(second.counted.canary), (1, 0), "the warm-up's requests were used up");
}

#[test]
fn nothing_is_lost_or_counted_twice_however_often_one_looks() {
    for looks in [1_u64, 7, 40] {
        let field = field(0);
        let (mut sum, mut open) = (Pair::<Outcomes>::default(), Vec::new());
        for n in 0..400_u64 {
            let admitted =
                field.admit(if n % 3 == 0 { Sample::Canary } else { Sample::Control }, n * 10);
            if n % 10 == 0 {
                open.push(admitted);
            } else {
                admitted.end(Outcome::Ok, Duration::from_millis(2));
            }
            if n % looks == 0 {
                let crop = field.gather(n * 10);
                sum.canary += crop.counted.canary;
                sum.stable += crop.counted.stable;
            }
        }
        for admitted in open {
            admitted.end(Outcome::Failed, Duration::from_millis(900));
        }
        let crop = field.gather(8_000);
        sum.canary += crop.counted.canary;
        sum.stable += crop.counted.stable;
        assert_eq!((sum.canary.n(), sum.stable.n()), (134, 266), "{looks}");
        assert_eq!(sum.canary.err + sum.stable.err, 40);
        assert!(field.harvest.borrow().is_exhausted());
    }
}
