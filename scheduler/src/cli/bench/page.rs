//! One page over HTTP/1.0, for its time: a whole client would bring more than this needs.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cli::error::CliError;

/// Longest wait for a page.
const PATIENCE: Duration = Duration::from_secs(30);
/// Largest page: fifty jobs with the largest payloads would be more, and no measure of a list.
const PAGE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What came back.
pub(super) struct Page {
    /// The status.
    pub(super) status: u16,
    /// The body.
    pub(super) body: String,
}

impl Page {
    /// Fetches `path` from `address`.
    ///
    /// # Errors
    /// When nobody answers in time, or with something that is no HTTP.
    pub(super) async fn get(address: &str, path: &str) -> Result<Page, CliError> {
        let failed = |why: String| CliError::failure(format!("bench: http://{address}{path}: {why}"));
        match tokio::time::timeout(PATIENCE, fetch(address, path)).await {
            Ok(Ok(text)) => parse(&text).ok_or_else(|| failed("the answer is no HTTP".to_owned())),
            Ok(Err(e)) => Err(failed(e.to_string())),
            Err(_) => Err(failed(format!("no answer within {PATIENCE:?}"))),
        }
    }
}

async fn fetch(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    // Version 1.0: the body ends with the connection, not in chunks.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: application/json\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(PAGE_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn parse(text: &str) -> Option<Page> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some(Page { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_answer_is_taken_apart() {
        let page = super::parse("HTTP/1.0 200 OK\r\nA: b\r\n\r\n{}").expect("an answer");
        assert_eq!((page.status, page.body.as_str()), (200, "{}"));
        assert!(super::parse("SSH-2.0").is_none());
    }
}
