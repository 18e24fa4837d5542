//! An HTTP proxy whose tunnels (RFC 9110, "CONNECT") all lead to one server.

use std::{
    io,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// A proxy on 127.0.0.1 that remembers its requests; it closes its tunnels when dropped.
pub struct Tunnel {
    host: String,
    heads: Arc<Mutex<Vec<String>>>,
    _accepting: JoinSet<()>,
}

impl Tunnel {
    /// Starts a proxy before `server`, such as `127.0.0.1:5000`.
    pub async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port for the proxy");
        let host = listener.local_addr().expect("the proxy's address").to_string();
        let (heads, server) = (Arc::default(), server.to_owned());
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, server, Arc::clone(&heads)));
        Self { host, heads, _accepting: accepting }
    }

    /// Returns `127.0.0.1:PORT`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the head of every request so far, in lower case.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("the heads").clone()
    }
}

async fn accept(listener: TcpListener, server: String, heads: Arc<Mutex<Vec<String>>>) {
    let mut open = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.expect("accept a connection");
        open.spawn(carry(client, server.clone(), Arc::clone(&heads)));
    }
}

async fn carry(client: TcpStream, server: String, heads: Arc<Mutex<Vec<String>>>) -> io::Result<()> {
    let (mut client, mut head) = (BufReader::new(client), String::new());
    while !head.ends_with("\r\n\r\n") {
        if client.read_line(&mut head).await? == 0 {
            return Ok(());
        }
    }
    heads.lock().expect("the heads").push(head.to_lowercase());
    let mut server = TcpStream::connect(server).await?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
