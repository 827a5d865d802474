//! Answers as bytes (RESP2). Which kind an answer is matters: clients insist on it.

use bytes::{BufMut, BytesMut};

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// `+OK`.
    Ok,
    /// `-ERR text`.
    Error(String),
    /// A bulk string.
    Bulk(String),
    /// Nothing, where a bulk string could be.
    Null,
}

impl Reply {
    /// An error for a peer.
    pub(super) fn error(text: impl std::fmt::Display) -> Reply {
        Reply::Error(text.to_string())
    }

    /// Appends the bytes.
    pub(super) fn write(&self, out: &mut BytesMut) {
        match self {
            Reply::Ok => out.put_slice(b"+OK\r\n"),
            Reply::Null => out.put_slice(b"$-1\r\n"),
            Reply::Error(text) => {
                out.put_slice(b"-ERR ");
                // The text is one line: clients read it to its end.
                let one_line =
                    text.bytes().map(|byte| if byte == b'\r' || byte == b'\n' { b' ' } else { byte });
                out.extend(one_line);
                out.put_slice(b"\r\n");
            }
            Reply::Bulk(text) => {
                out.put_slice(format!("${}\r\n", text.len()).as_bytes());
                out.put_slice(text.as_bytes());
                out.put_slice(b"\r\n");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_answers() {
        let bytes = |reply: Reply| {
            let mut out = BytesMut::new();
            reply.write(&mut out);
            String::from_utf8(out.to_vec()).expect("text")
        };
        assert_eq!(bytes(Reply::Ok), "+OK\r\n");
        assert_eq!(bytes(Reply::Null), "$-1\r\n");
        assert_eq!(bytes(Reply::Bulk("é".to_owned())), "$2\r\né\r\n");
        assert_eq!(bytes(Reply::error("two\r\nlines")), "-ERR two  lines\r\n");
    }
}
