//! Changes to inputs, drawn from a seed: what a damaged file, a broken client and a hostile one have in common.

/// A small generator (splitmix).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).expect("below a bound that is one")
    }
}

/// Longest input that is made.
const BYTES_MAX: usize = 64 * 1024;
/// Pieces of text that mean something somewhere.
const WORDS: &[&str] = &[
    "*",
    "*/",
    "0",
    "-1",
    "59",
    "60",
    "31",
    "L",
    "@every ",
    "@daily",
    "1-5",
    ",",
    ":",
    "null",
    "{}",
    "[",
    "\"",
    "\\u0000",
    "1e999",
    "<fuzz>",
    "%00",
    "%2F",
    "%",
    "&",
    "=",
    "?",
    "..",
    "UTC",
    "Europe/",
    "\n",
    "\r\n",
    "\t",
    "\u{fffd}",
    "ß",
    "18446744073709551616",
    "9999999999999999d",
    "-0",
    "true",
    "'''",
    "#",
];

/// A mutation of one of the inputs, often of several at once.
pub(crate) fn mutate(inputs: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = inputs[random.below(inputs.len())].clone();
    for _ in 0..=random.below(4) {
        change(&mut bytes, inputs, random);
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

fn change(bytes: &mut Vec<u8>, inputs: &[Vec<u8>], random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    let left = bytes.len() - at;
    match random.below(11) {
        0 | 1 if left > 0 => bytes[at] ^= 1 << random.below(8),
        2 if left > 0 => bytes[at] = random.next() as u8,
        3 => bytes.truncate(at),
        4 => drop(bytes.drain(at..at + random.below(left + 1).min(16))),
        5 => insert(bytes, at, &random.next().to_le_bytes()[..1 + random.below(8)]),
        // The bytes there again and again, as of a list that does not end.
        6 => {
            let piece = bytes[at..at + left.min(1 + random.below(24))].to_vec();
            insert(bytes, at, &piece.repeat(1 + random.below(40)));
        }
        // A length that lies: the prefix of a varint and a huge number, or a fixed one.
        7 => {
            let lie: &[u8] = match random.below(5) {
                0 => &[0xfd, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1],
                1 => &[0xfc, 0xff, 0xff, 0xff, 0x7f],
                2 => &[0xfb, 0xff, 0xff],
                3 => &[0xff; 4],
                _ => &[0xfe; 17],
            };
            if random.below(2) == 0 && left > 0 {
                bytes.splice(at..=at, lie.iter().copied());
            } else {
                insert(bytes, at, lie);
            }
        }
        8 => insert(bytes, at, WORDS[random.below(WORDS.len())].as_bytes()),
        // The rest of another input.
        9 => {
            let other = &inputs[random.below(inputs.len())];
            bytes.truncate(at);
            bytes.extend_from_slice(&other[random.below(other.len() + 1)..]);
        }
        _ => bytes.extend((0..random.below(64)).map(|_| random.next() as u8)),
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    bytes.splice(at..at, piece.iter().copied());
}
