//! Bodies made from others, by a chance that is the same each time.

/// Pieces that mean something to a decoder.
const WORDS: [&[u8]; 48] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"\\",
    b"null",
    b"true",
    b"NaN",
    b"-Infinity",
    b"Infinity",
    b"\"NaN\"",
    b"-1",
    b"0",
    b"1e999",
    b"1e-999",
    b"-0.0",
    b"3.5",
    b"\\u0000",
    b"\\ud800",
    b"\xff",
    b"\xef\xbf\xbfNaN",
    b"\"id\"",
    b"\"inputs\"",
    b"\"outputs\"",
    b"\"name\"",
    b"\"shape\"",
    b"\"datatype\"",
    b"\"data\"",
    b"\"parameters\"",
    b"\"binary_data_size\"",
    b"\"binary_data\"",
    b"\"classification\"",
    b"\"instances\"",
    b"\"examples\"",
    b"\"context\"",
    b"{\"b64\":\"YQ==\"}",
    b"\"FP32\"",
    b"\"FP16\"",
    b"\"BYTES\"",
    b"\"BOOL\"",
    b"\"x\"",
    b"\x00\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"\x01\x00\x00\x00a",
    b"\n",
];

const NUMBERS: [&str; 10] = [
    "18446744073709551615",
    "18446744073709551616",
    "9223372036854775808",
    "-9223372036854775809",
    "4294967296",
    "65536",
    "-1",
    "1e400",
    "1e39",
    "340282346638528859811704183484516925440",
];

/// Longer bodies are not kept: repeated doubling would make them huge.
const LONGEST_KEPT: usize = 4096;
/// So many bodies are kept to make others from.
const LARGEST_POOL: usize = 256;

pub struct Mutator(u64);

impl Mutator {
    pub fn new(seed: &str) -> Self {
        Self(
            seed.bytes()
                .fold(0x9e37_79b9, |state: u64, byte| state.rotate_left(7) ^ u64::from(byte)),
        )
    }

    /// The next number below `end`.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end.max(1) as u64) as usize
    }

    pub fn keep(&mut self, pool: &mut Vec<Vec<u8>>, body: Vec<u8>) {
        if body.len() > LONGEST_KEPT {
            return;
        }
        if pool.len() < LARGEST_POOL {
            pool.push(body);
        } else {
            // The corpus itself stands in front and stays.
            let place = LARGEST_POOL / 2 + self.below(LARGEST_POOL / 2);
            pool[place] = body;
        }
    }

    pub fn body(&mut self, pool: &[Vec<u8>]) -> Vec<u8> {
        let mut body = pool[self.below(pool.len())].clone();
        let changes = if self.below(4) == 0 { 2 + self.below(4) } else { 1 };
        for _ in 0..changes {
            self.change(&mut body, pool);
        }
        body
    }

    fn change(&mut self, body: &mut Vec<u8>, pool: &[Vec<u8>]) {
        let at = self.below(body.len() + 1);
        let end = (at + self.below(12)).min(body.len());
        match self.below(9) {
            0 if at < body.len() => body[at] ^= 1 << self.below(8),
            1 if at < body.len() => body[at] = self.below(256) as u8,
            2 => insert(body, at..at, WORDS[self.below(WORDS.len())]),
            3 => insert(body, at..end, WORDS[self.below(WORDS.len())]),
            4 => drop(body.drain(at..end)),
            5 => {
                let again = body[at..end].to_vec();
                insert(body, at..at, &again);
            }
            6 => {
                let other = &pool[self.below(pool.len())];
                let from = self.below(other.len() + 1);
                let to = (from + self.below(64)).min(other.len());
                insert(body, at..end, &other[from..to]);
            }
            7 => self.other_number(body, at),
            _ => body.truncate(at),
        }
    }

    /// Puts another number in the place of the first one from `at` on.
    fn other_number(&mut self, body: &mut Vec<u8>, at: usize) {
        let Some(from) = (at..body.len()).find(|i| body[*i].is_ascii_digit()) else { return };
        let to = (from..body.len()).find(|i| !body[*i].is_ascii_digit()).unwrap_or(body.len());
        insert(body, from..to, NUMBERS[self.below(NUMBERS.len())].as_bytes());
    }
}

fn insert(body: &mut Vec<u8>, place: std::ops::Range<usize>, piece: &[u8]) {
    body.splice(place, piece.iter().copied());
}
