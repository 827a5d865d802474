//! A question over HTTP, without a library: one request, one answer, one connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

/// Longest wait for a part of the answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks for a path; the status and the body come back.
///
/// # Errors
/// When nobody answers, or not HTTP.
pub fn get(at: SocketAddr, path: &str) -> Result<(u16, String)> {
    ask(at, &format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n"))
}

/// Posts JSON to a path; the status and the body come back.
///
/// # Errors
/// When nobody answers, or not HTTP.
pub fn post(at: SocketAddr, path: &str, json: &str) -> Result<(u16, String)> {
    let kind = "Content-Type: application/json";
    let length = json.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n{kind}\r\n");
    ask(at, &format!("{head}Content-Length: {length}\r\n\r\n{json}"))
}

fn ask(at: SocketAddr, request: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").context("no end of the head")?;
    let status = head.split_whitespace().nth(1).context("no status")?.parse()?;
    Ok((status, body.to_owned()))
}
