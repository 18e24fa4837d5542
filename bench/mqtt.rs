//! The subset of MQTT 3.1.1 that it takes to publish and to subscribe as fast as the broker can.
//!
//! No keep-alive, no reconnect, no retained messages: a connection lasts as long as its broker.

use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};

/// The first byte of packets: type and fixed flags (MQTT 3.1.1, sections 2.2.1 and 2.2.2).
pub const PUBLISH: u8 = 0x30;
pub const PUBACK: u8 = 0x40;
pub const PUBREC: u8 = 0x50;
pub const PUBREL: u8 = 0x62;
pub const PUBCOMP: u8 = 0x70;
const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;

/// Bytes of the read buffer; larger reads bypass it.
const READ_BUFFER: usize = 64 << 10;

/// Connects with a clean session, and returns the reading and the writing half.
pub fn connect(port: u16, client_id: &str) -> (Reader, TcpStream) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection to the broker");
    stream.set_nodelay(true).expect("turn Nagle's algorithm off");
    // Protocol name and level, clean session, no keep-alive (section 3.1.2).
    let body = [b"\0\x04MQTT\x04\x02\0\0".as_slice(), &text(client_id)].concat();
    stream.write_all(&packet(CONNECT, &body)).expect("connect to the broker");
    let input = stream.try_clone().expect("both halves of the connection");
    let mut reader = Reader { stream: BufReader::with_capacity(READ_BUFFER, input), body: Vec::new() };
    let answer = reader.read().expect("CONNACK");
    assert!(matches!(answer, Packet::Other { kind: CONNACK, number: 0 }), "the broker refused: {answer:?}");
    (reader, stream)
}

/// Subscribes to `filter`, and returns after SUBACK.
pub fn subscribe(reader: &mut Reader, stream: &mut TcpStream, filter: &str, qos: u8) {
    let body = [b"\0\x01".as_slice(), &text(filter), &[qos]].concat();
    stream.write_all(&packet(SUBSCRIBE, &body)).expect("subscribe");
    let answer = reader.read().expect("SUBACK");
    assert!(matches!(answer, Packet::Other { kind: SUBACK, .. }), "the broker refused {filter}: {answer:?}");
}

/// Returns an acknowledgement of packet identifier `id`.
pub fn acknowledgement(kind: u8, id: u16) -> [u8; 4] {
    let [high, low] = id.to_be_bytes();
    [kind, 2, high, low]
}

/// Returns the bytes before `payload` in a PUBLISH packet; at QoS 0 it has no packet identifier.
pub fn publish_head(topic: &str, qos: u8, id: u16, payload: &[u8]) -> Vec<u8> {
    let mut variable = text(topic);
    if qos > 0 {
        variable.extend(id.to_be_bytes());
    }
    let mut head = vec![PUBLISH | qos << 1];
    head.extend(length(variable.len() + payload.len()));
    head.extend(variable);
    head
}

/// A packet that was read.
#[derive(Debug)]
pub enum Packet<'a> {
    Publish {
        topic: &'a [u8],
        qos: u8,
        id: u16,
        payload: &'a [u8],
    },
    /// Any other: its first byte, and its first two bytes as a number: the packet identifier, or flags and return code
    /// of CONNACK.
    Other {
        kind: u8,
        number: u16,
    },
}

/// The reading half of a connection.
pub struct Reader {
    stream: BufReader<TcpStream>,
    body: Vec<u8>,
}

impl Reader {
    /// Reads one packet.
    pub fn read(&mut self) -> io::Result<Packet<'_>> {
        let kind = self.byte()?;
        let mut size = 0;
        for group in 0_u32.. {
            let byte = self.byte()?;
            size |= usize::from(byte & 0x7f) << (7 * group);
            if byte & 0x80 == 0 {
                break;
            }
        }
        self.body.resize(size, 0);
        self.stream.read_exact(&mut self.body)?;
        let number = |bytes: &[u8]| u16::from_be_bytes([bytes[0], bytes[1]]);
        if kind & 0xf0 != PUBLISH {
            return Ok(Packet::Other { kind, number: number(&self.body) });
        }
        let (topic, rest) = self.body[2..].split_at(number(&self.body).into());
        let qos = kind >> 1 & 3;
        let (id, payload) = if qos == 0 { (0, rest) } else { (number(rest), &rest[2..]) };
        Ok(Packet::Publish { topic, qos, id, payload })
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.stream.read_exact(&mut byte)?;
        Ok(byte[0])
    }
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind];
    packet.extend(length(body.len()));
    packet.extend(body);
    packet
}

/// The remaining length: seven bits a byte, the lowest first (section 2.2.3).
#[allow(clippy::cast_possible_truncation, reason = "seven bits")]
fn length(mut size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while size > 0x7f {
        bytes.push(size as u8 | 0x80);
        size >>= 7;
    }
    bytes.push(size as u8);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    let size = u16::try_from(text.len()).expect("a text of at most 65,535 bytes");
    [&size.to_be_bytes(), text.as_bytes()].concat()
}
