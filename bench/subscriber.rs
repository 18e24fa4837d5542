//! A bare subscriber: it acknowledges messages, and passes them to one listener.

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use super::mqtt::{self, PUBACK, PUBCOMP, PUBREC, PUBREL, Packet, Reader};

/// A connection that receives, on a thread of its own.
pub struct Subscriber(Arc<Mutex<Option<Listener>>>);

struct Listener {
    topic: String,
    on_message: Box<OnMessage>,
}

type OnMessage = dyn FnMut(Instant, &[u8]) + Send;

impl Subscriber {
    /// Connects, and subscribes to `filter` at QoS 2: each message comes at the QoS at which it was published.
    pub fn connect(port: u16, client_id: &str, filter: &str) -> Self {
        let (mut reader, mut stream) = mqtt::connect(port, client_id);
        mqtt::subscribe(&mut reader, &mut stream, filter, 2);
        let listener = Arc::default();
        let subscriber = Self(Arc::clone(&listener));
        thread::spawn(move || receive(reader, stream, &listener));
        subscriber
    }

    /// Passes each message on `topic` to `on_message` from now on, with the time at which it had arrived in full.
    /// Replaces the listener.
    pub fn listen(&self, topic: String, on_message: impl FnMut(Instant, &[u8]) + Send + 'static) {
        *self.0.lock().expect("the listener") = Some(Listener { topic, on_message: Box::new(on_message) });
    }
}

/// Receives until the broker is gone.
fn receive(mut reader: Reader, mut stream: TcpStream, listener: &Mutex<Option<Listener>>) -> io::Result<()> {
    loop {
        let acknowledgement = match reader.read()? {
            Packet::Publish { topic, qos, id, payload } => {
                let arrived = Instant::now();
                if let Some(listener) = &mut *listener.lock().expect("the listener")
                    && listener.topic.as_bytes() == topic
                {
                    (listener.on_message)(arrived, payload);
                }
                match qos {
                    0 => continue,
                    1 => mqtt::acknowledgement(PUBACK, id),
                    _ => mqtt::acknowledgement(PUBREC, id),
                }
            }
            Packet::Other { kind: PUBREL, number } => mqtt::acknowledgement(PUBCOMP, number),
            Packet::Other { .. } => continue,
        };
        stream.write_all(&acknowledgement)?;
    }
}
