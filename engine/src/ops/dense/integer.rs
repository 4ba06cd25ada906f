//! The product of rows with a constant matrix, both on grids of 8 bits, in integers.
//!
//! A quantised layer is `sx * sw[j] * sum(x[i] * w[i, j])` with whole numbers `x` and `w` of at
//! most 255 steps. Pairs of 16 bits are multiplied and added to 32 bits in one instruction
//! (`vpmaddwd`, with AVX-512 VNNI `vpdpwssd`), so that sums are exact and weights take half the
//! memory of floats. ONNX Runtime calculates the same sums.

use super::super::quantised::{ROUNDER, Steps};

/// Columns of a panel: two registers of AVX2, one of AVX-512.
const LANES: usize = 16;
/// Rows that walk through a panel together.
const ROWS: usize = 6;
/// Panels that a single row walks through together, to hide the latency of each sum.
const PANELS: usize = 4;

/// The largest whole number on either side.
const MOST: f32 = 255.0;
/// More products of [`MOST`] could leave 32 bits.
const DEEPEST: usize = 1 << 15;

type Sums = [i32; LANES];
/// The weights of two features, feature by feature within each column.
type Pairs = [i16; 2 * LANES];

/// A constant matrix of `[depth, width]` whose columns are whole numbers of steps.
#[derive(Debug, Clone)]
pub(in crate::ops) struct IntegerDense {
    /// What the rows are rounded to first.
    steps: Steps,
    /// `[panels, pairs]`, zeros behind the last feature and the last column.
    panels: Vec<Pairs>,
    /// Per column: what one product stands for.
    scales: Vec<f32>,
    depth: usize,
}

impl IntegerDense {
    /// `weight(i, j)` is the weight of feature `i` in column `j`. `None` where a column is not
    /// on a grid of 8 bits, or a sum might not fit into 32 bits.
    pub(in crate::ops) fn new(
        steps: Steps,
        depth: usize,
        width: usize,
        weight: impl Fn(usize, usize) -> f32,
    ) -> Option<Self> {
        if depth == 0 || depth > DEEPEST || steps.most() > MOST {
            return None;
        }
        let pairs = depth.div_ceil(2);
        let mut panels = vec![[0; 2 * LANES]; width.div_ceil(LANES) * pairs];
        let mut scales: Vec<f32> = Vec::with_capacity(width);
        for j in 0..width {
            let column: Vec<f32> = (0..depth).map(|i| weight(i, j)).collect();
            let (scale, numbers) = on_grid(&column, scales.last().copied())?;
            scales.push(scale);
            for (i, number) in numbers.into_iter().enumerate() {
                let panel = &mut panels[j / LANES * pairs..][..pairs];
                panel[i / 2][2 * (j % LANES) + i % 2] = number;
            }
        }
        for scale in &mut scales {
            *scale *= steps.scale();
        }
        Some(Self { steps, panels, scales, depth })
    }

    pub(in crate::ops) fn depth(&self) -> usize {
        self.depth
    }

    pub(in crate::ops) fn width(&self) -> usize {
        self.scales.len()
    }

    /// Writes the products of the rows of `x`, once rounded, to `out`.
    pub(in crate::ops) fn multiply(&self, x: &[f32], out: &mut [f32]) {
        let x = self.packed(x);
        #[cfg(target_arch = "x86_64")]
        {
            use std::is_x86_feature_detected as has;
            if has!("avx512f") && has!("avx512bw") && has!("avx512vnni") {
                #[expect(unsafe_code, reason = "a function with target features")]
                // SAFETY: the processor has the features that it is compiled for.
                unsafe {
                    self.multiply_vnni(&x, out);
                }
                return;
            }
            if has!("avx2") {
                #[expect(unsafe_code, reason = "a function with target features")]
                // SAFETY: the processor has the feature that it is compiled for.
                unsafe {
                    self.multiply_avx2(&x, out);
                }
                return;
            }
        }
        self.multiply_by(
            &x,
            out,
            rows_portable::<ROWS>,
            panels_portable::<PANELS>,
            panels_portable::<1>,
        );
    }

    /// Two features of a row in each number, the first in the lower half.
    fn packed(&self, x: &[f32]) -> Vec<i32> {
        let pairs = self.depth.div_ceil(2);
        let mut packed = vec![0; x.len() / self.depth * pairs];
        let mut counts = vec![0.0; 2 * pairs];
        for (row, packed) in x.chunks_exact(self.depth).zip(packed.chunks_exact_mut(pairs)) {
            self.steps.count(row, &mut counts[..self.depth]);
            for (packed, two) in packed.iter_mut().zip(counts.chunks_exact(2)) {
                // The last bits of the sum are those of the whole number.
                let [first, second] = [two[0], two[1]].map(|x| (x + ROUNDER).to_bits());
                *packed = (first & 0xffff | second << 16) as i32;
            }
        }
        packed
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn multiply_avx2(&self, x: &[i32], out: &mut [f32]) {
        use x86::avx2;
        self.multiply_by(
            x,
            out,
            |x, pairs, panel| avx2::<ROWS, 1>(x, pairs, panel),
            |x, panels| {
                let [sums] = avx2::<1, PANELS>(x, x.len(), panels);
                sums
            },
            |x, panel| {
                let [sums] = avx2::<1, 1>(x, x.len(), panel);
                sums
            },
        );
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn multiply_vnni(&self, x: &[i32], out: &mut [f32]) {
        use x86::vnni;
        self.multiply_by(
            x,
            out,
            |x, pairs, panel| vnni::<ROWS, 1>(x, pairs, panel),
            |x, panels| {
                let [sums] = vnni::<1, PANELS>(x, x.len(), panels);
                sums
            },
            |x, panel| {
                let [sums] = vnni::<1, 1>(x, x.len(), panel);
                sums
            },
        );
    }

    /// Rows in blocks of [`ROWS`] through panel after panel, the rest one by one through
    /// [`PANELS`] panels at a time.
    #[inline(always)]
    fn multiply_by(
        &self,
        x: &[i32],
        out: &mut [f32],
        rows_by_panel: impl Fn(&[i32], usize, &[Pairs]) -> [[Sums; 1]; ROWS],
        row_by_panels: impl Fn(&[i32], &[Pairs]) -> [Sums; PANELS],
        row_by_panel: impl Fn(&[i32], &[Pairs]) -> [Sums; 1],
    ) {
        let (pairs, width) = (self.depth.div_ceil(2), self.width());
        let whole = x.len() / (ROWS * pairs) * ROWS;
        let (x, x_rest) = x.split_at(whole * pairs);
        let (out, out_rest) = out.split_at_mut(whole * width);
        for (number, panel) in self.panels.chunks_exact(pairs).enumerate() {
            for (x, out) in x.chunks_exact(ROWS * pairs).zip(out.chunks_exact_mut(ROWS * width)) {
                let sums = rows_by_panel(x, pairs, panel);
                for (out, sums) in out.chunks_exact_mut(width).zip(&sums) {
                    self.store(out, number, &sums[0]);
                }
            }
        }
        for (row, out) in x_rest.chunks_exact(pairs).zip(out_rest.chunks_exact_mut(width)) {
            let groups = self.panels.chunks_exact(PANELS * pairs);
            let rest = groups.remainder();
            let mut number = 0;
            for panels in groups {
                for sums in &row_by_panels(row, panels) {
                    self.store(out, number, sums);
                    number += 1;
                }
            }
            for panel in rest.chunks_exact(pairs) {
                self.store(out, number, &row_by_panel(row, panel)[0]);
                number += 1;
            }
        }
    }

    /// Writes the sums of panel `number` into a row of the answer.
    #[inline(always)]
    fn store(&self, out: &mut [f32], number: usize, sums: &Sums) {
        let from = number * LANES;
        let (out, scales) = (&mut out[from..], &self.scales[from..]);
        if let (Some(out), Some(scales)) = (out.first_chunk_mut::<LANES>(), scales.first_chunk()) {
            let scales: &[f32; LANES] = scales;
            for lane in 0..LANES {
                out[lane] = sums[lane] as f32 * scales[lane];
            }
            return;
        }
        for ((out, scale), sum) in out.iter_mut().zip(scales).zip(sums) {
            *out = *sum as f32 * scale;
        }
    }
}

fn rows_portable<const R: usize>(x: &[i32], pairs: usize, panel: &[Pairs]) -> [[Sums; 1]; R] {
    std::array::from_fn(|r| panels_portable(&x[r * pairs..][..pairs], panel))
}

fn panels_portable<const P: usize>(x: &[i32], panels: &[Pairs]) -> [Sums; P] {
    std::array::from_fn(|p| {
        let mut sums = [0; LANES];
        for (two, weights) in x.iter().zip(&panels[p * x.len()..]) {
            let (first, second) = (i32::from(*two as i16), *two >> 16);
            for (sum, weights) in sums.iter_mut().zip(weights.chunks_exact(2)) {
                *sum += first * i32::from(weights[0]) + second * i32::from(weights[1]);
            }
        }
        sums
    })
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{LANES, Pairs, Sums};

    /// `R` rows of `pairs` numbers each through `P` panels.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn avx2<const R: usize, const P: usize>(
        x: &[i32],
        pairs: usize,
        panels: &[Pairs],
    ) -> [[Sums; P]; R] {
        let rows: [&[i32]; R] = std::array::from_fn(|r| &x[r * pairs..][..pairs]);
        let panels: [&[Pairs]; P] = std::array::from_fn(|p| &panels[p * pairs..][..pairs]);
        let mut sums = [[[_mm256_setzero_si256(); 2]; P]; R];
        for i in 0..pairs {
            for p in 0..P {
                let weights: *const Pairs = &panels[p][i];
                #[expect(unsafe_code, reason = "vectors are read through pointers")]
                // SAFETY: 64 bytes, in two halves; no alignment is needed.
                let weights = unsafe {
                    let half = weights.cast::<__m256i>();
                    [_mm256_loadu_si256(half), _mm256_loadu_si256(half.add(1))]
                };
                for r in 0..R {
                    let two = _mm256_set1_epi32(rows[r][i]);
                    for (sum, weights) in sums[r][p].iter_mut().zip(weights) {
                        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(two, weights));
                    }
                }
            }
        }
        let mut out = [[[0; LANES]; P]; R];
        for (out, sums) in out.as_flattened_mut().iter_mut().zip(sums.as_flattened()) {
            let to = out.as_mut_ptr().cast::<__m256i>();
            #[expect(unsafe_code, reason = "vectors are written through pointers")]
            // SAFETY: 64 bytes, in two halves; no alignment is needed.
            unsafe {
                _mm256_storeu_si256(to, sums[0]);
                _mm256_storeu_si256(to.add(1), sums[1]);
            }
        }
        out
    }

    /// `R` rows of `pairs` numbers each through `P` panels.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) fn vnni<const R: usize, const P: usize>(
        x: &[i32],
        pairs: usize,
        panels: &[Pairs],
    ) -> [[Sums; P]; R] {
        let rows: [&[i32]; R] = std::array::from_fn(|r| &x[r * pairs..][..pairs]);
        let panels: [&[Pairs]; P] = std::array::from_fn(|p| &panels[p * pairs..][..pairs]);
        let mut sums = [[_mm512_setzero_si512(); P]; R];
        for i in 0..pairs {
            for p in 0..P {
                let weights: *const Pairs = &panels[p][i];
                #[expect(unsafe_code, reason = "vectors are read through pointers")]
                // SAFETY: 64 bytes; no alignment is needed.
                let weights = unsafe { _mm512_loadu_si512(weights.cast()) };
                for r in 0..R {
                    let two = _mm512_set1_epi32(rows[r][i]);
                    sums[r][p] = _mm512_dpwssd_epi32(sums[r][p], two, weights);
                }
            }
        }
        let mut out = [[[0; LANES]; P]; R];
        for (out, sum) in out.as_flattened_mut().iter_mut().zip(sums.as_flattened()) {
            #[expect(unsafe_code, reason = "vectors are written through pointers")]
            // SAFETY: 64 bytes; no alignment is needed.
            unsafe {
                _mm512_storeu_si512(out.as_mut_ptr().cast(), *sum);
            }
        }
        out
    }
}

/// The scale of a column and its whole numbers, which give back the column to the bit; `None`
/// where there is no scale with numbers of up to [`MOST`]. `hint` is tried first.
fn on_grid(column: &[f32], hint: Option<f32>) -> Option<(f32, Vec<i16>)> {
    let largest = column.iter().fold(0f32, |most, w| most.max(w.abs()));
    if largest == 0.0 {
        return Some((1.0, vec![0; column.len()]));
    }
    // The largest weight has most often the largest number of 8 bits.
    let numbers = [127u8, 128, 255].into_iter().chain((1..=254).rev());
    let tried = numbers.flat_map(|number| {
        let scale = largest / f32::from(number);
        [scale, scale.next_up(), scale.next_down()]
    });
    hint.into_iter().chain(tried).find_map(|scale| {
        let number = |weight: &f32| {
            let number = (weight / scale).round_ties_even();
            (number.abs() <= MOST && number * scale == *weight).then_some(number as i16)
        };
        Some((scale, column.iter().map(number).collect::<Option<Vec<i16>>>()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(k: usize) -> f32 {
        ((k * 37) % 255) as f32 - 127.0
    }

    #[test]
    fn products_are_those_of_rounded_rows_for_any_size_and_batch() {
        for (rows, depth, width) in [(1, 1, 1), (1, 5, 70), (7, 3, 16), (13, 64, 33), (20, 31, 100)]
        {
            let steps = Steps::new(0.02, -123.0, 132.0);
            // Each column has a scale of its own.
            let scale = |j: usize| 0.001 * (j + 1) as f32;
            let weight = |i: usize, j: usize| number(i * width + j) * scale(j);
            let dense = IntegerDense::new(steps, depth, width, weight).expect("a grid");
            let x: Vec<f32> = (0..rows * depth).map(|k| (k as f32 * 0.37).sin() * 3.0).collect();
            let mut whole = vec![0.0; x.len()];
            steps.count(&x, &mut whole);
            let mut got = vec![f32::NAN; rows * width];
            dense.multiply(&x, &mut got);
            let mut portable = vec![f32::NAN; rows * width];
            dense.multiply_by(
                &dense.packed(&x),
                &mut portable,
                rows_portable::<ROWS>,
                panels_portable::<PANELS>,
                panels_portable::<1>,
            );
            assert_eq!(got, portable, "{rows}x{depth}x{width}");
            for (k, got) in got.iter().enumerate() {
                let (row, j) = (k / width, k % width);
                let products = (0..depth).map(|i| whole[row * depth + i] * number(i * width + j));
                let wanted = f64::from(products.sum::<f32>()) * 0.02 * f64::from(scale(j));
                let off = (f64::from(*got) - wanted).abs();
                assert!(off <= 1e-6 * wanted.abs().max(1e-3), "{rows}x{depth}x{width} at {k}");
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_kernel_of_every_processor_gives_the_same_sums() {
        let steps = Steps::new(0.5, -128.0, 127.0);
        let dense = IntegerDense::new(steps, 37, 50, |i, j| number(i * 50 + j) * 0.25).unwrap();
        let x: Vec<f32> = (0..17 * 37).map(|k| number(k) * 0.5).collect();
        let packed = dense.packed(&x);
        let mut wanted = vec![f32::NAN; 17 * 50];
        dense.multiply(&x, &mut wanted);
        let mut got = wanted.clone();
        if std::is_x86_feature_detected!("avx2") {
            got.fill(f32::NAN);
            #[expect(unsafe_code, reason = "a function with target features")]
            // SAFETY: the processor has the feature that it is compiled for.
            unsafe {
                dense.multiply_avx2(&packed, &mut got);
            }
        }
        assert_eq!(got, wanted);
    }

    #[test]
    fn a_matrix_that_is_not_on_a_grid_is_left_alone() {
        let steps = Steps::new(0.5, -128.0, 127.0);
        let smooth = |i: usize, j: usize| ((i * 31 + j * 17) as f32).sin();
        assert!(IntegerDense::new(steps, 40, 3, smooth).is_none());
        let wide = Steps::new(0.5, -32768.0, 32767.0);
        assert!(IntegerDense::new(wide, 4, 3, |_, _| 1.0).is_none(), "16 bits");
        assert!(IntegerDense::new(steps, DEEPEST + 1, 1, |_, _| 1.0).is_none(), "too deep");
        assert!(IntegerDense::new(steps, 4, 3, |_, _| 0.0).is_some(), "nothing but zeros");
    }
}
