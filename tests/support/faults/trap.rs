//! Listeners inside the operator's network, to which the daemon must never connect.

use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    iter,
    net::{IpAddr, TcpListener, TcpStream, UdpSocket},
};

/// A port on every address of this machine that takes connections and answers nothing.
pub struct Trap {
    listener: TcpListener,
    port: u16,
}

impl Trap {
    pub fn set() -> Self {
        // Linux leads IPv4 there, too.
        let listener = TcpListener::bind("[::]:0").or_else(|_| TcpListener::bind("0.0.0.0:0")).expect("a port");
        listener.set_nonblocking(true).expect("a listener that does not wait");
        let port = listener.local_addr().expect("the trap's address").port();
        Self { listener, port }
    }

    /// Returns the `host:port` that lead here on this machine, as references may have them.
    pub fn hosts(&self) -> Vec<String> {
        let addresses = ["127.0.0.1", "127.1.2.3", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "localhost"];
        self.leading_here(addresses.map(str::to_owned).into_iter().chain(names_of_loopback()).chain(private_address()))
    }

    /// Returns further ones, which are addresses in URLs and nowhere else.
    pub fn spellings(&self) -> Vec<String> {
        self.leading_here(["2130706433", "0x7f.1", "0177.0.0.01", "127.1", "0"].map(str::to_owned))
    }

    /// Returns every URL that leads here.
    pub fn urls(&self) -> Vec<String> {
        let hosts = [self.hosts(), self.spellings()].concat();
        ["http", "https"]
            .iter()
            .flat_map(|scheme| hosts.iter().map(move |host| format!("{scheme}://{host}/")))
            .collect()
    }

    /// Returns what came through each connection since the last call.
    pub fn caught(&self) -> Vec<String> {
        let connections = iter::from_fn(|| self.listener.accept().ok());
        connections.map(|(connection, _)| received(connection)).collect()
    }

    fn leading_here(&self, names: impl IntoIterator<Item = String>) -> Vec<String> {
        let hosts: BTreeSet<_> = names.into_iter().map(|name| format!("{name}:{}", self.port)).collect();
        let hosts: Vec<_> = hosts.into_iter().filter(|host| TcpStream::connect(host).is_ok()).collect();
        assert_eq!(self.caught().len(), hosts.len(), "some of {hosts:?} lead elsewhere");
        hosts
    }
}

fn received(mut connection: TcpStream) -> String {
    let mut bytes = Vec::new();
    connection.set_nonblocking(true).expect("a connection that does not wait");
    // What has come is kept, whether or not more could.
    let _ = connection.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns the names that this machine gives its loopback addresses.
fn names_of_loopback() -> Vec<String> {
    let table = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let rows = table.lines().filter_map(|line| line.split('#').next()?.split_once(char::is_whitespace));
    let ours = rows.filter(|(address, _)| address.parse().is_ok_and(|address: IpAddr| address.is_loopback()));
    ours.flat_map(|(_, names)| names.split_whitespace()).map(str::to_owned).collect()
}

/// Returns this machine's address in a private network, if it is in one.
fn private_address() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // No packet leaves: this only looks up the route.
    socket.connect("192.0.2.1:9").ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(address) if address.is_private() => Some(address.to_string()),
        _ => None,
    }
}
