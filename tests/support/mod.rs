//! Real servers, broken servers and made-up modules for the integration tests.
#![allow(dead_code, reason = "each test uses its own part")]

pub mod clients;
pub mod faults;
pub mod pages;
pub mod points;
pub mod random;
pub mod servers;
pub mod shell;
pub mod store;

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::id,
    sync::atomic::{AtomicU32, Ordering},
};

use bytes::Bytes;
use propeller_proxy::embedded::sample;
use propeller_proxy::oci::wasm::MODULE_PREAMBLE;
use sha2::{Digest as _, Sha256};

/// Returns a TCP port of 127.0.0.1 that is free now and that no other caller in this process gets.
///
/// It lies below the range from which the kernel takes ports for outgoing connections, so that a server which was
/// killed finds it free when it comes back.
pub fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const PORTS: u32 = 22_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let start = id().wrapping_mul(617);
        let offset = start.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % PORTS;
        let port = u16::try_from(FIRST + offset).expect("a port below 32,000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Writes a file, and the folders above it that are missing, and returns its path.
pub fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("create the file's folder");
    fs::write(&path, text).expect("write the file");
    self::path(&path).to_owned()
}

/// Returns a path as text.
pub fn path(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Compares a page of the repository that is made from the code; with `UPDATE_DOCS=1` it is written anew.
pub fn generated(page: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(page);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, text).expect("write the page");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "{page} is not what the code says; run this test with UPDATE_DOCS=1");
}

/// A variable of the environment and its value.
pub type Variable<'a> = (&'static str, &'a str);

pub const AUTHENTICATE: Variable = ("PROXY_AUTHENTICATE", "true");

/// Returns the variables of someone who gives registries a password.
pub const fn login<'a>(username: &'a str, password: &'a str) -> [Variable<'a>; 3] {
    [AUTHENTICATE, ("PROXY_REGISTRY_USERNAME", username), ("PROXY_REGISTRY_PASSWORD", password)]
}

/// Returns `sha256:` and the hexadecimal SHA-256 digest of `bytes`.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Bytes::copy_from_slice(&Sha256::digest(bytes)))
}

/// Returns a valid Wasm core module of exactly `size` bytes: 8, or at least 15.
pub fn wasm_of_size(size: usize) -> Bytes {
    if size == MODULE_PREAMBLE.len() { Bytes::from_static(&MODULE_PREAMBLE) } else { sample::noise(size, 0).into() }
}
