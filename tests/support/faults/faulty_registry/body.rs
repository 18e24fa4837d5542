//! Bodies that end as they should, too early, too late or never.

use std::{io, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::time;

type Piece = io::Result<Bytes>;

/// All of `bytes`, piece by piece.
pub(super) fn whole(bytes: Bytes) -> Body {
    Body::from_stream(pieces(bytes))
}

/// `start`, followed by a filler without end.
pub(super) fn endless(start: impl Into<Bytes>, filler: u8) -> Body {
    let filler = Bytes::from(vec![filler; 8192]);
    Body::from_stream(pieces(start.into()).chain(stream::repeat_with(move || Ok(filler.clone()))))
}

/// `bytes`, after which the connection breaks.
pub(super) fn cut(bytes: Bytes) -> Body {
    let error = async {
        // The bytes before the cut go out while the server waits for more; nothing signals when the last one has.
        time::sleep(Duration::from_millis(5)).await;
        Err(io::Error::other("cut by the tests"))
    };
    Body::from_stream(pieces(bytes).chain(stream::once(error)))
}

/// `bytes`, one each second.
pub(super) fn slow(bytes: Bytes) -> Body {
    Body::from_stream(stream::unfold(bytes, |mut rest| async {
        time::sleep(Duration::from_secs(1)).await;
        (!rest.is_empty()).then(|| (Piece::Ok(rest.split_to(1)), rest))
    }))
}

fn pieces(bytes: Bytes) -> impl Stream<Item = Piece> {
    const PIECE: usize = 64 << 10;
    let starts = (0..bytes.len()).step_by(PIECE);
    stream::iter(starts.map(move |start| Ok(bytes.slice(start..bytes.len().min(start + PIECE)))))
}
