//! Class probabilities from pairwise ones.
//!
//! Algorithm 2 of Wu, Lin, Weng: "Probability Estimates for Multi-class Classification by
//! Pairwise Coupling" (JMLR 5, 2004), with the stopping rule of libsvm and ONNX Runtime.

/// What the algorithm works in, kept from row to row.
#[derive(Default)]
pub(super) struct Coupling {
    /// `[classes, classes]`
    q: Vec<f32>,
    qp: Vec<f32>,
}

/// `pairs[i * n + j]` is the probability of class `i` against class `j`; writes `n`
/// probabilities that sum to 1 to `out`.
pub(super) fn couple(pairs: &[f32], space: &mut Coupling, out: &mut [f32]) {
    const MOST_ROUNDS: usize = 100;
    let n = out.len();
    let Coupling { q, qp } = space;
    quadratic_form(pairs, n, q);
    let enough = 0.005 / n as f32;
    qp.clear();
    qp.resize(n, 0.0);
    out.fill(1.0 / n as f32);
    for _ in 0..MOST_ROUNDS {
        for (i, qp) in qp.iter_mut().enumerate() {
            *qp = (0..n).map(|j| q[i * n + j] * out[j]).sum();
        }
        let mut pqp: f32 = out.iter().zip(&*qp).map(|(p, qp)| p * qp).sum();
        let error = qp.iter().map(|v| (v - pqp).abs()).fold(0.0, f32::max);
        if error < enough {
            break;
        }
        for i in 0..n {
            let diff = (pqp - qp[i]) / q[i * n + i];
            out[i] += diff;
            pqp = (pqp + diff * (diff * q[i * n + i] + 2.0 * qp[i])) / (1.0 + diff) / (1.0 + diff);
            for j in 0..n {
                qp[j] = (qp[j] + diff * q[i * n + j]) / (1.0 + diff);
                out[j] /= 1.0 + diff;
            }
        }
    }
}

fn quadratic_form(pairs: &[f32], n: usize, q: &mut Vec<f32>) {
    q.clear();
    q.resize(n * n, 0.0);
    for i in 0..n {
        for j in (0..n).filter(|j| *j != i) {
            q[i * n + i] += pairs[j * n + i] * pairs[j * n + i];
            q[i * n + j] = -pairs[j * n + i] * pairs[i * n + j];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_and_follow_the_pairs() {
        // Class 0 beats both others, class 2 loses to both.
        let pairs = [0.0, 0.8, 0.9, 0.2, 0.0, 0.7, 0.1, 0.3, 0.0];
        let mut p = [0.0; 3];
        couple(&pairs, &mut Coupling::default(), &mut p);
        assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{p:?}");
        assert!(p[0] > p[1] && p[1] > p[2], "{p:?}");
    }
}
