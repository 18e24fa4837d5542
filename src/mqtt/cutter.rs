//! Cuts the payloads of messages that are too large, while they are read.
//!
//! A message over the limit would end the connection, and the broker would publish it again on the next one: at each
//! subscription if it is retained, at each connection if it is queued. So the reader passes on the beginning of such a
//! PUBLISH, as a packet of the size of the limit, and skips the rest: the packet identifier is in front (MQTT 3.1.1, section
//! 3.3.2), so the message is acknowledged as usual. Other packets pass as they are.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, BufReader, ReadBuf};

/// The types of control packets (MQTT 3.1.1, section 2.2.1), in the upper half of the first byte.
const PUBLISH: u8 = 3;
const PINGRESP: [u8; 2] = [0xD0, 0];
/// Largest fixed header, bytes: one, and the remaining length (MQTT 3.1.1, section 2.2.3).
#[doc(alias = "bound")]
const MAX_HEADER: usize = 5;
/// Bytes that are read at once.
#[doc(alias = "bound")]
const BUFFER: usize = 32 << 10;
/// While bytes are skipped, so often a PINGRESP says that the broker is there: its own ones come behind them.
const PROOF_INTERVAL: Duration = Duration::from_secs(2);

/// A stream with packets of at most `limit` bytes after their fixed header.
#[derive(Debug)]
pub(super) struct Cutter<S> {
    stream: BufReader<S>,
    limit: usize,
    part: Part,
    /// Bytes that are passed on before anything else.
    ready: Vec<u8>,
}

/// The part of a packet that is read.
#[derive(Debug)]
enum Part {
    /// The fixed header, as far as it came.
    Header(Vec<u8>),
    /// The rest: bytes that are passed on, and bytes that are skipped after them.
    Rest { pass: usize, skip: usize },
    /// Bytes that are skipped; since when nothing was passed on.
    Skipped { skip: usize, since: Instant },
}

impl<S: AsyncRead> Cutter<S> {
    /// Reads `stream`, and cuts what is larger than `limit`, which has to be larger than any topic: 64 KiB.
    pub(super) fn new(stream: S, limit: usize) -> Self {
        Self {
            stream: BufReader::with_capacity(BUFFER, stream),
            limit,
            part: Part::Header(Vec::new()),
            ready: Vec::new(),
        }
    }

    /// Passes the header on, if it is complete.
    fn end_header(&mut self) {
        let Part::Header(header) = &mut self.part else { return };
        let is_open = header.len() < 2 || header.last().is_some_and(|byte| byte & 0x80 != 0);
        if is_open && header.len() < MAX_HEADER {
            return;
        }
        let remaining = length(&header[1..]);
        let is_cut = header[0] >> 4 == PUBLISH && remaining > self.limit;
        let pass = if is_cut { self.limit } else { remaining };
        self.ready = std::mem::take(header);
        if is_cut {
            self.ready.truncate(1);
            self.ready.extend(encoded(pass));
        }
        self.part = Part::Rest { pass, skip: remaining - pass };
    }
}

/// The remaining length that these bytes encode.
fn length(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |length, byte| (length << 7) | usize::from(byte & 0x7f))
}

fn encoded(mut length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(length & 0x7f).unwrap_or_default();
        length >>= 7;
        bytes.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            return bytes;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Cutter<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !this.ready.is_empty() {
                let size = this.ready.len().min(buf.remaining());
                buf.put_slice(&this.ready[..size]);
                this.ready.drain(..size);
                return Poll::Ready(Ok(()));
            }
            match this.part {
                Part::Rest { pass: 0, skip: 0 } | Part::Skipped { skip: 0, .. } => this.part = Part::Header(Vec::new()),
                Part::Rest { pass: 0, skip } => this.part = Part::Skipped { skip, since: Instant::now() },
                _ => {}
            }
            let come = ready!(Pin::new(&mut this.stream).poll_fill_buf(cx))?;
            if come.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let size = match &mut this.part {
                Part::Header(header) => {
                    header.push(come[0]);
                    1
                }
                Part::Rest { pass, .. } => {
                    let size = come.len().min(*pass).min(buf.remaining());
                    buf.put_slice(&come[..size]);
                    *pass -= size;
                    Pin::new(&mut this.stream).consume(size);
                    return Poll::Ready(Ok(()));
                }
                Part::Skipped { skip, since } => {
                    let size = come.len().min(*skip);
                    *skip -= size;
                    if since.elapsed() >= PROOF_INTERVAL {
                        *since = Instant::now();
                        this.ready = PINGRESP.to_vec();
                    }
                    size
                }
            };
            Pin::new(&mut this.stream).consume(size);
            this.end_header();
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Cutter<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.stream.get_mut()).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.stream.get_mut()).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    const LIMIT: usize = 200;

    fn packet(first: u8, body: &[u8]) -> Vec<u8> {
        [&[first], &*encoded(body.len()), body].concat()
    }

    /// A PUBLISH at QoS 1 with the packet identifier 7.
    fn publish(payload: usize) -> Vec<u8> {
        packet(0x32, &[&b"\0\x03a/b\0\x07"[..], &vec![b'x'; payload]].concat())
    }

    #[tokio::test]
    async fn only_publishes_that_are_too_large_are_cut() {
        const OF_TOPIC: usize = 7;
        let cut = publish(LIMIT - OF_TOPIC);
        let large = [0x90, 0xff, 0xff, 0xff, 0x7f];
        for (sent, read) in [
            (publish(0), publish(0)),
            (publish(LIMIT - OF_TOPIC), cut.clone()),
            (publish(LIMIT - OF_TOPIC + 1), cut.clone()),
            (publish(5 << 20), cut.clone()),
            (packet(0x90, &[0; LIMIT + 1]), packet(0x90, &[0; LIMIT + 1])),
            (PINGRESP.to_vec(), PINGRESP.to_vec()),
            // The library refuses it.
            (large.to_vec(), large.to_vec()),
        ] {
            let [stream, expected] =
                [sent, read].map(|packet| [publish(3), packet, publish(4), PINGRESP.to_vec()].concat());
            let mut all: Vec<u8> = Vec::new();
            Cutter::new(&*stream, LIMIT).read_to_end(&mut all).await.unwrap();
            assert!(all == expected, "{} of {} bytes", all.len(), stream.len());
        }
    }

    #[tokio::test]
    async fn every_cut_of_the_stream_is_read_alike() {
        let stream = [publish(5000), publish(1), PINGRESP.to_vec()].concat();
        let expected = [publish(LIMIT - 7), publish(1), PINGRESP.to_vec()].concat();
        for size in [1, 2, 3, 100, 6000] {
            let (mut sender, receiver) = tokio::io::duplex(size);
            let sent = stream.clone();
            let writer = tokio::spawn(async move {
                tokio::io::AsyncWriteExt::write_all(&mut sender, &sent).await.unwrap();
            });
            let mut all: Vec<u8> = Vec::new();
            let mut cutter = Cutter::new(receiver, LIMIT);
            let mut piece = [0; 3];
            while let size @ 1.. = cutter.read(&mut piece).await.unwrap() {
                all.extend(&piece[..size]);
            }
            writer.await.unwrap();
            assert_eq!(all, expected, "{size}");
        }
    }
}
