//! The product of rows with a small constant matrix.
//!
//! The runtime's matrix kernels are made for large matrices: they pack both sides at each run.
//! Here the matrix is packed once, in panels of eight columns, and rows are read where they lie.
//! Each sum runs over the features in order, whatever the number of rows, so that a row's answer
//! does not depend on its batch.

mod integer;

pub(super) use integer::IntegerDense;

/// Columns of a panel: one vector register of eight f32.
const LANES: usize = 8;
/// Rows that walk through a panel together: as many sums as there are registers to spare.
const ROWS: usize = 8;
/// Panels that a single row walks through together, to hide the latency of each sum.
const PANELS: usize = 4;

type Lanes = [f32; LANES];

/// A constant matrix of `[depth, width]`.
#[derive(Debug, Clone)]
pub(super) struct Dense {
    /// `[panels, depth]` pieces of a row of the matrix, zeros behind its last column.
    panels: Vec<Lanes>,
    depth: usize,
    width: usize,
}

impl Dense {
    /// `weight(i, j)` is the weight of feature `i` in column `j`. `depth` must not be 0.
    pub(super) fn new(depth: usize, width: usize, weight: impl Fn(usize, usize) -> f32) -> Self {
        let mut panels = Vec::with_capacity(width.div_ceil(LANES) * depth);
        for from in (0..width).step_by(LANES) {
            for i in 0..depth {
                let column = |lane| from + lane;
                let piece = |lane| if column(lane) < width { weight(i, column(lane)) } else { 0.0 };
                panels.push(std::array::from_fn(piece));
            }
        }
        Self { panels, depth, width }
    }

    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Writes the products of the rows of `x` to `out`.
    pub(super) fn multiply(&self, x: &[f32], out: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
            // With the vectors of the baseline of x86-64 a small MLP of 64 rows takes twice as long.
            #[expect(unsafe_code, reason = "a function with target features")]
            // SAFETY: the processor has the two features that the function is compiled for; its
            // body is safe code.
            unsafe {
                self.multiply_avx2(x, out);
            }
            return;
        }
        self.multiply_by(x, out, |a, b, sum| a * b + sum);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn multiply_avx2(&self, x: &[f32], out: &mut [f32]) {
        self.multiply_by(x, out, |a, b, sum| a.mul_add(b, sum));
    }

    #[inline(always)]
    fn multiply_by(&self, x: &[f32], out: &mut [f32], add: impl Fn(f32, f32, f32) -> f32 + Copy) {
        let (mut x, mut out) = (x, out);
        while x.len() >= ROWS * self.depth {
            let (rows, x_rest) = x.split_at(ROWS * self.depth);
            let (now, out_rest) = out.split_at_mut(ROWS * self.width);
            for (number, panel) in self.panels.chunks_exact(self.depth).enumerate() {
                let sums = rows_by_panel::<ROWS>(rows, panel, self.depth, add);
                for (out, sums) in now.chunks_exact_mut(self.width).zip(&sums) {
                    store(out, number, sums);
                }
            }
            (x, out) = (x_rest, out_rest);
        }
        for (row, out) in x.chunks_exact(self.depth).zip(out.chunks_exact_mut(self.width)) {
            let groups = self.panels.chunks_exact(PANELS * self.depth);
            let rest = groups.remainder();
            let mut number = 0;
            for panels in groups {
                let sums = row_by_panels::<PANELS>(row, panels, add);
                for sums in &sums {
                    store(out, number, sums);
                    number += 1;
                }
            }
            for panel in rest.chunks_exact(self.depth) {
                store(out, number, &row_by_panels::<1>(row, panel, add)[0]);
                number += 1;
            }
        }
    }
}

/// `R` rows times one panel.
#[inline(always)]
fn rows_by_panel<const R: usize>(
    x: &[f32],
    panel: &[Lanes],
    depth: usize,
    add: impl Fn(f32, f32, f32) -> f32,
) -> [Lanes; R] {
    let rows: [&[f32]; R] = std::array::from_fn(|r| &x[r * depth..][..depth]);
    let panel = &panel[..depth];
    let mut sums = [[0.0; LANES]; R];
    for i in 0..depth {
        for (row, sums) in rows.iter().zip(&mut sums) {
            for (sum, weight) in sums.iter_mut().zip(&panel[i]) {
                *sum = add(row[i], *weight, *sum);
            }
        }
    }
    sums
}

/// One row times `P` panels.
#[inline(always)]
fn row_by_panels<const P: usize>(
    row: &[f32],
    panels: &[Lanes],
    add: impl Fn(f32, f32, f32) -> f32,
) -> [Lanes; P] {
    let depth = row.len();
    let panels: [&[Lanes]; P] = std::array::from_fn(|p| &panels[p * depth..][..depth]);
    let mut sums = [[0.0; LANES]; P];
    for (i, x) in row.iter().enumerate() {
        for (panel, sums) in panels.iter().zip(&mut sums) {
            for (sum, weight) in sums.iter_mut().zip(&panel[i]) {
                *sum = add(*x, *weight, *sum);
            }
        }
    }
    sums
}

/// Writes the sums of panel `number` into a row of the answer.
#[inline(always)]
fn store(out: &mut [f32], number: usize, sums: &Lanes) {
    let out = &mut out[number * LANES..];
    match out.first_chunk_mut() {
        Some(whole) => *whole = *sums,
        None => out.iter_mut().zip(sums).for_each(|(out, sum)| *out = *sum),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_of_a_plain_loop_for_any_size_and_batch() {
        for (rows, depth, width) in
            [(1, 1, 1), (1, 5, 40), (7, 3, 8), (8, 4, 9), (19, 13, 33), (64, 30, 3)]
        {
            // Small integers: exact in any order.
            let weight = |i: usize, j: usize| ((i * 7 + j * 3) % 11) as f32 - 5.0;
            let x: Vec<f32> = (0..rows * depth).map(|k| ((k * 5) % 13) as f32 - 6.0).collect();
            let dense = Dense::new(depth, width, weight);
            let mut got = vec![f32::NAN; rows * width];
            dense.multiply(&x, &mut got);
            let mut portable = vec![f32::NAN; rows * width];
            dense.multiply_by(&x, &mut portable, |a, b, sum| a * b + sum);
            for (k, got) in got.iter().enumerate() {
                let (row, j) = (k / width, k % width);
                let wanted: f32 = (0..depth).map(|i| x[row * depth + i] * weight(i, j)).sum();
                assert_eq!((*got, portable[k]), (wanted, wanted), "{rows}x{depth}x{width} at {k}");
            }
        }
    }

    #[test]
    fn a_row_alone_and_in_a_batch_have_the_same_product() {
        let weight = |i: usize, j: usize| ((i * 31 + j * 17) as f32).sin();
        let dense = Dense::new(29, 45, weight);
        let x: Vec<f32> = (0..19 * 29).map(|k| (k as f32 * 0.7).cos()).collect();
        let mut together = vec![0.0; 19 * 45];
        dense.multiply(&x, &mut together);
        for (row, wanted) in x.chunks_exact(29).zip(together.chunks_exact(45)) {
            let mut alone = vec![0.0; 45];
            dense.multiply(row, &mut alone);
            assert_eq!(alone, wanted);
        }
    }
}
