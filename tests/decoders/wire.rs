//! Frames of the native protocol.

use bytes::{Buf, BytesMut};
use windlass_core::limits;
use windlass_core::wire::{ClientFrame, PREFIX_BYTES, ServerFrame, decode_exact, encode_into, next_frame};

/// A frame that is taken is the same after it was written and read again, whichever side reads it.
pub fn frame(data: &[u8]) {
    again::<ClientFrame>(data);
    again::<ServerFrame>(data);
}

fn again<T: bincode::Encode + bincode::Decode<()> + std::fmt::Debug>(data: &[u8]) {
    let Ok(first) = decode_exact::<T>(data) else { return };
    let mut once = Vec::new();
    encode_into(&mut once, &first);
    assert!(once.len() <= data.len(), "{first:?} is written longer than it was read");
    let second = decode_exact::<T>(&once).expect("what was written is read");
    let mut twice = Vec::new();
    encode_into(&mut twice, &second);
    // As bytes, since there are numbers that do not equal themselves.
    assert_eq!(once, twice, "{first:?} became {second:?}");
}

/// The frames of a stream do not depend on the pieces in which it arrives; the first byte says how long those are.
pub fn frame_stream(data: &[u8]) {
    let Some((&pieces, stream)) = data.split_first() else { return };
    let bytes_max = if pieces % 2 == 0 { limits::FRAME_BYTES_MAX_UNGREETED } else { limits::FRAME_BYTES_MAX };
    let whole = read(stream, bytes_max, stream.len());
    let split = read(stream, bytes_max, usize::from(pieces / 2));
    assert_eq!(whole, split, "in pieces of {}", pieces / 2);
    let (frames, _) = whole;
    let taken: usize = frames.iter().map(|frame| frame.len() + PREFIX_BYTES).sum();
    assert!(taken <= stream.len() && frames.iter().all(|frame| frame.len() <= bytes_max));
    let written: Vec<u8> =
        frames.iter().flat_map(|f| [&(f.len() as u32).to_le_bytes(), &f[..]].concat()).collect();
    assert!(stream.starts_with(&written), "frames are what stands in the stream, in order");
    frames.iter().for_each(|body| frame(body));
}

/// The frames of a stream that arrives in pieces of about `piece` bytes, and the error that ends it.
fn read(mut stream: &[u8], bytes_max: usize, piece: usize) -> (Vec<Vec<u8>>, Option<String>) {
    let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
    let mut round = 0;
    loop {
        match next_frame(&mut buffer, bytes_max) {
            Ok(Some(body)) => frames.push(body.to_vec()),
            Ok(None) if stream.has_remaining() => {
                // Pieces of one byte among longer ones, so that prefixes are cut too.
                round += 1;
                let length = if round % 3 == 0 { 1 } else { piece.max(1) }.min(stream.len());
                buffer.extend_from_slice(&stream[..length]);
                stream.advance(length);
            }
            Ok(None) => return (frames, None),
            Err(error) => return (frames, Some(error.to_string())),
        }
    }
}
