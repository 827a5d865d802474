//! Numbers out of arbitrary bytes, for targets that read them as a script. When they are used up everything is zero.

/// The bytes that are left.
pub struct Reader<'a>(pub &'a [u8]);

impl Reader<'_> {
    /// Whether there is more.
    pub fn has_more(&self) -> bool {
        !self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// Whether the next byte is odd.
    pub fn flag(&mut self) -> bool {
        self.byte() % 2 == 1
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound.max(1)
    }

    /// A number that is often small and sometimes as large as can be.
    pub fn number(&mut self) -> u64 {
        let byte = self.byte();
        match byte % 8 {
            0 => 0,
            1..=3 => u64::from(byte / 8),
            4 => u64::from(self.byte()) << (byte / 8),
            5 => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
            6 => u64::MAX - u64::from(byte / 8),
            _ => 1 << (byte / 4),
        }
    }
}
