//! What stands behind the native port.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use windlass_core::api::{ApiError, ErrorCode};
use windlass_core::wire::{ServerFrame, encode_frame};

use super::SessionParts;
use super::connection::serve;
use crate::door::{Door, Excuse, Listen, Origin, Pass, Serve};

impl Serve for SessionParts {
    const NAME: &'static str = "native";

    async fn serve<R, W>(self, reader: R, writer: W, origin: Origin, pass: Pass)
    where
        R: AsyncRead + Unpin + 'static,
        W: AsyncWrite + Unpin + 'static,
    {
        serve(reader, writer, origin, self, pass).await;
    }

    fn excuse(&self, why: Excuse) -> Bytes {
        let error = match why {
            Excuse::TooMany(max) => ApiError::new(
                ErrorCode::Busy,
                format!("there are {max} connections already; try again in a moment"),
            ),
            Excuse::SpeaksTls => ApiError::new(
                ErrorCode::Unsupported,
                "this port speaks TLS; write tls://HOST:PORT".to_owned(),
            ),
        };
        refusal(error)
    }
}

/// What a peer is told that is not served.
pub(crate) fn refusal(error: ApiError) -> Bytes {
    let mut out = BytesMut::new();
    encode_frame(&mut out, &ServerFrame::Refused(error));
    out.freeze()
}

/// Opens the native port. Must run on the arbiter.
#[must_use]
pub fn open(listener: impl Listen, parts: SessionParts) -> Door {
    let (places, phases) = (parts.budget.places(), parts.phases.clone());
    Door::open(listener, parts, places, phases)
}
