//! Requests on their way: bodies are sent without being copied, and no slower than the least pace.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use reqwest::header::CONTENT_LENGTH;
use reqwest::{Body, RequestBuilder, Response, Url};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::retry::Failure;
use super::transport::{IDLE_TIMEOUT, MIN_RATE, RATE_WINDOW, shown, silent, unreachable};
use crate::error::Error;

/// Bytes that are handed to the connection at once.
const PIECE_SIZE: usize = 64 << 10;
/// The least rate at which a registry may check and move what it was sent, before it answers, bytes a second.
const COMMIT_RATE: u64 = 4 << 20;

/// Sends a request to `url` and waits for the head of its answer.
pub(super) async fn send(request: RequestBuilder, url: &Url, body: Option<&Bytes>) -> Result<Response, Failure> {
    let Some(body) = body else {
        let response = timeout(IDLE_TIMEOUT, request.send()).await;
        return response.map_err(|_| silent(url, IDLE_TIMEOUT))?.map_err(unreachable);
    };
    let (sender, sent) = watch::channel(0);
    // The length is given, or the body would go in chunks, which some registries do not take.
    let request = request.header(CONTENT_LENGTH, body.len()).body(Body::wrap_stream(pieces(body.clone(), sender)));
    tokio::select! {
        response = request.send() => response.map_err(unreachable),
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

/// Waits until the connection takes too little, or nothing comes after all was sent.
async fn stalled(url: &Url, size: u64, mut sent: watch::Receiver<u64>) -> Failure {
    loop {
        let before = *sent.borrow();
        let all = timeout(RATE_WINDOW, sent.wait_for(|sent| *sent == size)).await.is_ok();
        if all {
            break;
        }
        let taken = *sent.borrow() - before;
        if taken < MIN_RATE * RATE_WINDOW.as_secs() {
            let detail = format!("it took {taken} bytes in {} s, which is too slow", RATE_WINDOW.as_secs());
            return Failure::Permanent(Error::RegistryUnreachable { object: shown(url), detail });
        }
    }
    let time = IDLE_TIMEOUT + Duration::from_secs(size / COMMIT_RATE);
    sleep(time).await;
    silent(url, time)
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
            let mut heard = Vec::new();
            while !heard.ends_with(&body) {
                assert_ne!(stream.read_buf(&mut heard).await.unwrap(), 0, "it ends early");
            }
            stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            String::from_utf8_lossy(&heard[..heard.len() - body.len()]).to_ascii_lowercase()
        };
        let (response, head) = tokio::join!(send(client().put(url.clone()), &url, Some(&body)), listening);
        assert_eq!(response.unwrap().status(), 201);
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())) && !head.contains("chunked"), "{head}");
    }
}
