use super::*;

#[test]
fn buckets_are_narrow_and_without_gaps() {
    for bucket in 1..BUCKETS {
        let (before, edge) = (upper_edge_ns(bucket - 1), upper_edge_ns(bucket));
        assert_eq!((bucket_of(before + 1), bucket_of(edge)), (bucket, bucket));
        let width = (edge - before) as f64 / before as f64;
        assert!((0.015..0.032).contains(&width), "{width} at {edge} ns");
    }
    assert_eq!(bucket_of(0), 0);
    assert_eq!(bucket_of(1023), 0);
    assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    assert!(upper_edge_ns(BUCKETS - 1) > 540_000_000_000);
}

#[test]
fn thresholds_are_the_quantiles() {
    let mut histogram = [0.0; BUCKETS];
    for ms in 1..=1000_u64 {
        histogram[bucket_of(ms * 1_000_000)] += 1.0;
    }
    let thresholds = Thresholds::of(&histogram).expect("a thousand answers");
    for (threshold, q) in thresholds.iter().zip(QUANTILES) {
        let exact = q * 1e9;
        let ratio = *threshold as f64 / exact;
        assert!((0.999..1.032).contains(&ratio), "{threshold} for {exact}");
    }
    assert_eq!(level(1_000_000, &thresholds), 0);
    assert_eq!(level(thresholds[4], &thresholds), 4, "on a threshold is not beyond it");
    assert_eq!(level(thresholds[4] + 1, &thresholds), 5);
    assert_eq!(level(u64::MAX, &thresholds), 8);
    let slower = Thresholds::scaled(&thresholds, 1.1);
    // Beyond the scaled threshold is beyond stable's after division.
    let ns = thresholds[5] + thresholds[5] / 20;
    assert_eq!((level(ns, &thresholds), level(ns, &slower)), (6, 5));
}

#[test]
fn too_few_answers_give_no_thresholds() {
    let mut histogram = [0.0; BUCKETS];
    assert_eq!(quantile_ns(&histogram, 0.5), None);
    histogram[100] = 19.9;
    assert_eq!(Thresholds::of(&histogram), None);
    histogram[100] = 20.0;
    assert!(Thresholds::of(&histogram).is_some());
}

#[test]
fn half_is_forgotten_per_minute_but_never_the_last_requests() {
    let mut histogram = [0.0; BUCKETS];
    histogram[10] = 3000.0;
    histogram[20] = 1000.0;
    decay(&mut histogram, Duration::from_secs(60));
    assert!((histogram[10] - 1500.0).abs() < 1e-9 && (histogram[20] - 500.0).abs() < 1e-9);
    decay(&mut histogram, Duration::from_secs(3600));
    let total: f64 = histogram.iter().sum();
    assert!((total - LEAST_WEIGHT).abs() < 1e-9);
    decay(&mut histogram, Duration::from_secs(3600));
    assert!((histogram.iter().sum::<f64>() - LEAST_WEIGHT).abs() < 1e-9);
    let mut few = [0.0; BUCKETS];
    few[3] = 50.0;
    decay(&mut few, Duration::from_secs(600));
    assert_eq!(few[3], 50.0);
}
