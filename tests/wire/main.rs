//! The native protocol byte by byte: what a version was when it was written down it stays, and what `docs/protocol.md` shows is what
//! travels.

mod frames;
mod numbers;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use bytes::BytesMut;
use windlass_core::limits;
use windlass_core::wire::{ClientFrame, FrameError, ServerFrame, decode_exact, encode_frame, next_frame};

/// What the frames were when their version was made; never to be changed, only to be added to. A version has all frames of those before
/// it.
const GOLDEN: [&str; 2] = [include_str!("golden-1.txt"), include_str!("golden-2.txt")];

fn bytes_of<T: bincode::Encode>(frame: &T) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode_frame(&mut out, frame);
    out.to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len())
        .step_by(2)
        .map(|at| {
            u8::from_str_radix(&digits[at..at + 2], 16)
                .unwrap_or_else(|_| panic!("no hex at {at} of {digits}"))
        })
        .collect()
}

/// All frames of this version, by name, as bytes with their length prefix.
fn now() -> Vec<(&'static str, Vec<u8>)> {
    let client = frames::client().into_iter().map(|(name, frame)| (name, bytes_of(&frame)));
    let server = frames::server().into_iter().map(|(name, frame)| (name, bytes_of(&frame)));
    client.chain(server).collect()
}

fn golden() -> BTreeMap<&'static str, Vec<u8>> {
    let lines =
        GOLDEN.iter().flat_map(|text| text.lines()).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(' ')).map(|(name, bytes)| (name, unhex(bytes))).collect()
}

#[test]
fn versions_are_what_they_were() {
    let golden = golden();
    let mut wrong = String::new();
    for (name, bytes) in now() {
        if golden.get(name) != Some(&bytes) {
            writeln!(wrong, "{name} {}", hex(&bytes)).expect("writing to a string");
        }
    }
    assert!(wrong.is_empty(), "these frames are not what their version was; they are now\n{wrong}");
    assert_eq!(golden.len(), now().len(), "the golden file has frames that nobody checks");
}

#[test]
fn golden_bytes_are_read_back() {
    let golden = golden();
    for (name, frame) in frames::client() {
        assert_eq!(decode_exact::<ClientFrame>(&golden[name][4..]).as_ref(), Ok(&frame), "{name}");
    }
    for (name, frame) in frames::server() {
        assert_eq!(decode_exact::<ServerFrame>(&golden[name][4..]).as_ref(), Ok(&frame), "{name}");
    }
}

/// Blocks of the document that begin with "```wire NAME": hex, and after a `;` what it means.
#[test]
fn the_document_shows_what_travels() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md");
    let text = std::fs::read_to_string(&path).expect("docs/protocol.md");
    let now: BTreeMap<_, _> = now().into_iter().collect();
    let mut shown = 0;
    for block in text.split("```wire ").skip(1) {
        let (name, rest) = block.split_once('\n').expect("a name and a block");
        let body = rest.split("```").next().expect("an end");
        let digits: String = body.lines().map(|line| line.split(';').next().unwrap_or("")).collect();
        let bytes = now
            .get(name.trim())
            .unwrap_or_else(|| panic!("the document shows {name}, which is no frame here"));
        assert_eq!(hex(&unhex(&digits)), hex(bytes), "what the document shows of {name}");
        shown += 1;
    }
    assert!(shown >= 5, "the document shows {shown} frames");
}

#[test]
fn every_cut_and_every_extra_byte_is_refused() {
    for (name, bytes) in now() {
        let mut buffer = BytesMut::from(&bytes[..]);
        assert!(matches!(next_frame(&mut buffer, limits::FRAME_BYTES_MAX), Ok(Some(_))), "{name}");
        for end in 0..bytes.len() {
            let mut cut = BytesMut::from(&bytes[..end]);
            assert_eq!(next_frame(&mut cut, limits::FRAME_BYTES_MAX), Ok(None), "{name} cut at {end}");
        }
        let is_client = frames::client().iter().any(|(client, _)| *client == name);
        let refused = |body: &[u8]| match is_client {
            true => decode_exact::<ClientFrame>(body).is_err(),
            false => decode_exact::<ServerFrame>(body).is_err(),
        };
        for end in 4..bytes.len() {
            assert!(refused(&bytes[4..end]), "{name}: a body cut at {end} was taken");
        }
        let longer = [&bytes[4..], &[0]].concat();
        assert!(refused(&longer), "{name}: a byte too many was taken");
    }
}

#[test]
fn lengths_that_lie_cost_no_memory() {
    let mut buffer = BytesMut::from(&[0xff, 0xff, 0xff, 0xff][..]);
    let error = next_frame(&mut buffer, limits::FRAME_BYTES_MAX_UNGREETED);
    assert_eq!(
        error,
        Err(FrameError::TooLong { bytes: u32::MAX as usize, bytes_max: limits::FRAME_BYTES_MAX_UNGREETED })
    );
    // A Resume of 2^63 leases in a body of ten bytes.
    let body = [&[2, 0xfd][..], &(1u64 << 63).to_le_bytes()].concat();
    assert!(matches!(decode_exact::<ClientFrame>(&body), Err(FrameError::Garbled(_))));
}
