//! `propeller-proxy healthcheck`: whether the service on this machine is alive, for the health check of a container, which
//! has no other HTTP client.

use std::net::IpAddr;
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::exit;
use crate::failure::Failure;
use crate::operation::{HttpAddress, Operation};
use crate::settings::Flags;
use crate::shutdown::unless_stopped;
use crate::terminal::printable;

/// Longest line of the health check's response, bytes.
#[doc(alias = "bound")]
const MAX_LINE: u64 = 1024;
/// How long the response to a health check may take.
#[doc(alias = "bound")]
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    settings: Flags<Operation>,
}

pub(crate) async fn run(options: Options, stop: CancellationToken) -> Result<u8, Failure> {
    let operation = options.settings.load()?;
    let Some(HttpAddress { host, port: port @ 1.. }) = operation.http else {
        let hint = "give PROXY_HTTP_PORT the number of a port".to_owned();
        return Err(Failure::Other(exit::FAILURE, "the HTTP endpoint has no fixed port".into(), Some(hint)));
    };
    // A server that listens on every address also listens on the loopback one.
    let host = match host.parse() {
        Ok(IpAddr::V4(ip)) if ip.is_unspecified() => "127.0.0.1".to_owned(),
        Ok(IpAddr::V6(ip)) if ip.is_unspecified() => "::1".to_owned(),
        _ => host,
    };
    let unhealthy = |detail: &dyn std::fmt::Display| {
        Failure::Other(exit::FAILURE, format!("{host}:{port} is not alive: {detail}"), None)
    };
    let answer = async {
        let answer = tokio::time::timeout(TIMEOUT, request(&host, port)).await;
        answer.map_err(|error| unhealthy(&error))?.map_err(|error| unhealthy(&error))
    };
    let answer = unless_stopped(&stop, answer).await?;
    match answer.split(' ').nth(1) {
        Some("200") => Ok(exit::SUCCESS),
        _ => Err(unhealthy(&printable(answer.trim()))),
    }
}

/// The first line of the answer (RFC 9112, section 4).
async fn request(host: &str, port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((host, port)).await?;
    let head = format!("GET /livez HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_LINE)).read_line(&mut line).await?;
    Ok(line)
}
