//! Lines from a stream: what ends in LF, with or without CR before it. Pure; the connection reads.

use bytes::{Bytes, BytesMut};

/// A line that is longer than it may be. The rest of it cannot be told from a command, so the conversation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the line is longer than {max} bytes")]
pub(super) struct TooLong {
    pub(super) max: usize,
}

/// Cuts lines; remembers how far it has looked, so that a long line is looked through once.
#[derive(Debug)]
pub(super) struct Lines {
    max: usize,
    scanned: usize,
}

impl Lines {
    /// Lines of at most `max` bytes, their end not counted.
    pub(super) fn new(max: usize) -> Lines {
        Lines { max, scanned: 0 }
    }

    /// Allows longer lines from now on.
    pub(super) fn allow(&mut self, max: usize) {
        self.max = max;
    }

    /// Takes the next whole line, without its end. `None`: more bytes are needed.
    ///
    /// # Errors
    /// [`TooLong`] as soon as it is certain.
    pub(super) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, TooLong> {
        let too_long = TooLong { max: self.max };
        let Some(at) = buffer[self.scanned..].iter().position(|byte| *byte == b'\n') else {
            self.scanned = buffer.len();
            // A CR that is part of the end does not count.
            return if self.scanned > self.max + 1 { Err(too_long) } else { Ok(None) };
        };
        let end = self.scanned + at;
        self.scanned = 0;
        let mut line = buffer.split_to(end + 1).freeze();
        line.truncate(end);
        if line.last() == Some(&b'\r') {
            line.truncate(end - 1);
        }
        if line.len() > self.max { Err(too_long) } else { Ok(Some(line)) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(lines: &mut Lines, buffer: &mut BytesMut) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| lines.next(buffer).expect("short lines").map(|line| line.to_vec())).collect()
    }

    #[test]
    fn both_ends_of_lines_are_taken() {
        let mut buffer = BytesMut::from("END\r\nINFO\n\r\n\nhalf");
        let got = all(&mut Lines::new(10), &mut buffer);
        assert_eq!(got, [&b"END"[..], b"INFO", b"", b""]);
        assert_eq!(&buffer[..], b"half");
    }

    #[test]
    fn a_long_line_is_refused_before_it_has_ended() {
        let mut lines = Lines::new(4);
        assert_eq!(lines.next(&mut BytesMut::from("1234\r")), Ok(None));
        assert_eq!(Lines::new(4).next(&mut BytesMut::from("123456")), Err(TooLong { max: 4 }));
        assert_eq!(Lines::new(4).next(&mut BytesMut::from("12345\n")), Err(TooLong { max: 4 }));
        assert_eq!(Lines::new(4).next(&mut BytesMut::from("1234\r\n")), Ok(Some(Bytes::from("1234"))));
    }

    proptest! {
        /// However the stream is cut, the lines are the same.
        #[test]
        fn cuts_do_not_matter(parts in proptest::collection::vec("[a-c\r\n]{0,6}", 0..12)) {
            let whole = parts.concat();
            let expected = all(&mut Lines::new(100), &mut BytesMut::from(whole.as_str()));
            let (mut lines, mut buffer, mut got) = (Lines::new(100), BytesMut::new(), Vec::new());
            for part in &parts {
                buffer.extend_from_slice(part.as_bytes());
                got.extend(all(&mut lines, &mut buffer));
            }
            prop_assert_eq!(got, expected);
        }
    }
}
