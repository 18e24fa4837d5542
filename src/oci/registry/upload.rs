//! Sending a request with a body: without a copy, as slowly as the link is, and never silent for long.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use reqwest::header::CONTENT_LENGTH;
use reqwest::{Body, RequestBuilder, Response, Url};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::failure::Failure;
use super::response::IDLE_TIMEOUT;

/// Bytes of an upload that are passed to the connection at once.
#[doc(alias = "bound")]
const PIECE_SIZE: usize = 16 << 10;
/// The least rate at which a registry may check and store a body before it answers, bytes a second.
#[doc(alias = "bound")]
const COMMIT_RATE: u64 = 4 << 20;

/// Sends a request with `body` to `url`, and waits for the head of the response.
pub(super) async fn send(request: RequestBuilder, url: &Url, body: &Bytes) -> Result<Response, Failure> {
    let (sender, sent) = watch::channel(0);
    // With its length, or the body would be sent in chunks, which some registries do not accept.
    let request = request.header(CONTENT_LENGTH, body.len()).body(Body::wrap_stream(pieces(body.clone(), sender)));
    tokio::select! {
        response = request.send() => response.map_err(Failure::unreachable),
        failure = stalled(url, body.len() as u64, sent) => Err(failure),
    }
}

/// The body in pieces, counted as the connection takes them.
fn pieces(body: Bytes, sent: watch::Sender<u64>) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    let pieces = (0..body.len()).step_by(PIECE_SIZE);
    stream::iter(pieces).map(move |start| {
        let piece = body.slice(start..body.len().min(start + PIECE_SIZE));
        sent.send_modify(|sent| *sent += piece.len() as u64);
        Ok(piece)
    })
}

/// Waits until the connection takes no further piece, or no response comes after the whole body.
async fn stalled(url: &Url, size: u64, mut sent: watch::Receiver<u64>) -> Failure {
    while *sent.borrow_and_update() < size {
        match timeout(IDLE_TIMEOUT, sent.changed()).await {
            Ok(Ok(())) => {}
            // It takes no more.
            Ok(Err(_)) => break,
            Err(_) => return Failure::silent(url, IDLE_TIMEOUT),
        }
    }
    let time = IDLE_TIMEOUT + Duration::from_secs(size / COMMIT_RATE);
    sleep(time).await;
    Failure::silent(url, time)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn client() -> reqwest::Client {
        let tls = crate::tls::client_config(crate::tls::roots(&[]).unwrap(), &[], None).unwrap();
        reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build().unwrap()
    }

    #[tokio::test]
    async fn a_body_arrives_whole_with_its_length() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let body: Bytes = (0..=250).cycle().take(3 * PIECE_SIZE + 7).collect();
        let listening = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut received = Vec::new();
            while !received.ends_with(&body) {
                assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0, "it ends early");
            }
            stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            String::from_utf8_lossy(&received[..received.len() - body.len()]).to_ascii_lowercase()
        };
        let (response, head) = tokio::join!(send(client().put(url.clone()), &url, &body), listening);
        assert_eq!(response.unwrap().status(), 201);
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())) && !head.contains("chunked"), "{head}");
    }
}
