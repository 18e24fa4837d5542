//! A TCP relay that makes a good link a bad one.

use std::{
    io, mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinSet,
    time::{self, Instant},
};

use crate::support::servers::mosquitto::Mosquitto;

/// The rate of a link without a limit.
pub const UNLIMITED: u32 = u32::MAX;

const SECOND: Duration = Duration::from_secs(1);
const PACKET: usize = 64 * 1024;
/// Bytes of a packet on a narrow link.
const SMALL_PACKET: usize = 2 * 1024;
/// Packets under way in one direction of one connection.
const WINDOW: usize = 8;
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 64;
/// A limited link moves so many slices a second, each at once.
const SLICES: u32 = 20;

/// A relay on 127.0.0.1; it closes its connections when dropped.
pub struct Relay {
    port: u16,
    link: Arc<Connection>,
    _accepting: JoinSet<()>,
}

impl Relay {
    /// Starts a relay to `upstream`, such as `127.0.0.1:1883`.
    pub async fn start(upstream: impl Into<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port for the relay");
        Self::on(listener, upstream.into(), PACKET)
    }

    /// Starts a relay before a broker that takes so many bytes a second from its clients.
    pub async fn before(mosquitto: &Mosquitto, up: u32) -> Self {
        let relay = Self::start(format!("127.0.0.1:{}", mosquitto.port())).await;
        relay.limit(up, UNLIMITED);
        relay
    }

    /// Starts a relay that holds so little that clients cannot write much faster than it moves what they wrote.
    pub fn narrow(upstream: impl Into<String>) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket for the relay");
        // Connections inherit it.
        socket.set_recv_buffer_size(u32::try_from(SMALL_PACKET).expect("a small packet")).expect("a small buffer");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a port for the relay");
        let listener = socket.listen(BACKLOG).expect("a listener for the relay");
        Self::on(listener, upstream.into(), SMALL_PACKET)
    }

    fn on(listener: TcpListener, upstream: String, packet: usize) -> Self {
        let port = listener.local_addr().expect("the relay's address").port();
        let link = Arc::new(Connection::new(upstream, packet));
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&link)));
        Self { port, link, _accepting: accepting }
    }

    /// Returns `127.0.0.1:PORT`, to connect to instead of the upstream.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns the URL of a broker's relay.
    pub fn address(&self) -> String {
        format!("tcp://{}", self.host())
    }

    /// Limits what all connections together move, in bytes a second: up to the server and down to the client.
    pub fn limit(&self, up: u32, down: u32) {
        self.link.up.rate.store(up, Relaxed);
        self.link.down.rate.store(down, Relaxed);
    }

    /// Keeps every byte that comes from now on for this long, each way.
    pub fn delay(&self, delay: Duration) {
        self.link.delay.send_replace(delay);
    }

    /// Closes the connections that are open, and returns when they are closed.
    pub async fn cut(&self) {
        let cuts = mem::take(&mut *self.link.cuts.lock().expect("the open connections"));
        cuts.send_replace(());
        cuts.closed().await;
    }

    /// Closes new connections at once, or stops doing so.
    pub fn refuse(&self, refuse: bool) {
        self.link.refuse.store(refuse, Relaxed);
    }

    /// Keeps connections and moves nothing, or goes on.
    pub fn stall(&self, stall: bool) {
        self.link.stall.send_replace(stall);
    }

    /// Returns how many bytes have gone up to the server.
    pub fn up(&self) -> u64 {
        self.link.up.moved.load(Relaxed)
    }

    /// Returns how many connections have come, those refused included.
    pub fn connections(&self) -> usize {
        self.link.connections.load(Relaxed)
    }
}

struct Connection {
    upstream: String,
    /// Largest packet, bytes.
    packet: usize,
    up: Lane,
    down: Lane,
    connections: AtomicUsize,
    refuse: AtomicBool,
    delay: watch::Sender<Duration>,
    stall: watch::Sender<bool>,
    /// Wakes the connections that came since the last cut at the next one.
    cuts: Mutex<watch::Sender<()>>,
}

impl Connection {
    fn new(upstream: String, packet: usize) -> Self {
        Self {
            upstream,
            packet,
            up: Lane::new(),
            down: Lane::new(),
            connections: AtomicUsize::new(0),
            refuse: AtomicBool::new(false),
            delay: watch::Sender::new(Duration::ZERO),
            stall: watch::Sender::new(false),
            cuts: Mutex::default(),
        }
    }

    async fn carry(&self, client: TcpStream) -> io::Result<()> {
        let server = TcpStream::connect(&self.upstream).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::try_join!(self.pump(from_client, to_server, &self.up), self.pump(from_server, to_client, &self.down))?;
        Ok(())
    }

    async fn pump(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, lane: &Lane) -> io::Result<()> {
        let (sender, mut packets) = mpsc::channel::<(Instant, Bytes)>(WINDOW);
        let read = async move {
            loop {
                let mut packet = BytesMut::with_capacity(self.packet);
                if from.read_buf(&mut packet).await? == 0 {
                    return Ok(());
                }
                let due = Instant::now() + *self.delay.borrow();
                sender.send((due, packet.freeze())).await.map_err(io::Error::other)?;
            }
        };
        let write = async {
            let mut stall = self.stall.subscribe();
            while let Some((due, packet)) = packets.recv().await {
                sleep_until(due).await;
                for slice in packet.chunks(lane.slice()) {
                    lane.turn(slice.len()).await;
                    stall.wait_for(|stall| !stall).await.map_err(io::Error::other)?;
                    to.write_all(slice).await?;
                    lane.moved.fetch_add(slice.len() as u64, Relaxed);
                }
            }
            to.shutdown().await
        };
        tokio::try_join!(read, write).map(drop)
    }
}

async fn accept(listener: TcpListener, link: Arc<Connection>) {
    let mut open = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.expect("accept a connection");
        link.connections.fetch_add(1, Relaxed);
        while open.try_join_next().is_some() {}
        if link.refuse.load(Relaxed) {
            continue;
        }
        let link = Arc::clone(&link);
        let mut cuts = link.cuts.lock().expect("the open connections").subscribe();
        open.spawn(async move {
            tokio::select! {
                // Which end closed, and why, does not matter here.
                _ = link.carry(client) => {}
                _ = cuts.changed() => {}
            }
        });
    }
}

/// One direction of the link, which its connections share.
struct Lane {
    /// Bytes a second.
    rate: AtomicU32,
    moved: AtomicU64,
    /// When the bytes that were let through so far have passed.
    free_at: Mutex<Instant>,
}

impl Lane {
    fn new() -> Self {
        Self { rate: AtomicU32::new(UNLIMITED), moved: AtomicU64::new(0), free_at: Mutex::new(Instant::now()) }
    }

    /// Returns how many bytes pass at once.
    fn slice(&self) -> usize {
        let slice = self.rate.load(Relaxed) / SLICES;
        (slice as usize).clamp(1, PACKET)
    }

    /// Waits until `size` bytes may pass.
    async fn turn(&self, size: usize) {
        let rate = self.rate.load(Relaxed).max(1);
        let needed = SECOND * u32::try_from(size).expect("a slice of a packet") / rate;
        let turn = {
            let mut free_at = self.free_at.lock().expect("the lane's state");
            // A late timer is made up for, idleness is not.
            *free_at = (*free_at).max(Instant::now() - SECOND / SLICES) + needed;
            *free_at
        };
        sleep_until(turn).await;
    }
}

/// Sleeps only when there is time left: a timer takes a millisecond even for a moment that has passed.
async fn sleep_until(moment: Instant) {
    if moment > Instant::now() {
        time::sleep_until(moment).await;
    }
}
