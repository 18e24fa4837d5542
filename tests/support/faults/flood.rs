//! A registry that speaks TLS, and whose answers have no end.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::faulty_registry::server_config;
use crate::support::servers::tls::Tls;

/// What comes without end.
#[derive(Clone, Copy, Debug)]
pub enum Flood {
    /// Interim responses, before the one that is asked for (RFC 9110, section 15.2).
    Interim,
    /// Header fields.
    Fields,
    /// The extension of a chunk (RFC 9112, section 7.1.1).
    Extension,
    /// Trailer fields behind the body (RFC 9112, section 7.1.2).
    Trailers,
}

impl Flood {
    /// Every flood.
    pub const ALL: [Self; 4] = [Self::Interim, Self::Fields, Self::Extension, Self::Trailers];

    /// The beginning of an answer, and what then comes again and again.
    fn parts(self) -> (&'static str, &'static str) {
        match self {
            Self::Interim => ("", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
            Self::Fields => ("HTTP/1.1 200 OK\r\n", "x-field: value\r\n"),
            Self::Extension => ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;", "extension=value;"),
            Self::Trailers => ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", "x-field: value\r\n"),
        }
    }
}

/// A registry on 127.0.0.1 that answers until the client closes the connection.
pub struct FloodingRegistry {
    url: String,
    _server: JoinSet<()>,
}

impl FloodingRegistry {
    pub async fn start(flood: Flood, tls: &Tls) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port for the registry");
        let url = format!("https://{}", listener.local_addr().expect("the registry's address"));
        let acceptor = TlsAcceptor::from(Arc::new(server_config(tls)));
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                connections.spawn(answer(stream, acceptor.clone(), flood));
            }
        });
        Self { url, _server: server }
    }

    /// Returns its URL.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// Answers the first request of a connection, until the client closes it.
async fn answer(stream: TcpStream, acceptor: TlsAcceptor, flood: Flood) {
    const PIECE: usize = 16 << 10;
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_buf(&mut request).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    let (begin, again) = flood.parts();
    if stream.write_all(begin.as_bytes()).await.is_ok() {
        let piece = again.repeat(PIECE / again.len());
        while stream.write_all(piece.as_bytes()).await.is_ok() {}
    }
}
