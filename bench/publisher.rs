//! A bare publisher: prepared messages, written as fast as the broker accepts them.

use std::io::{self, IoSlice, Write as _};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;

use super::mqtt::{self, PUBACK, PUBCOMP, PUBREC, PUBREL, Packet, Reader};

/// Messages in flight: as many as mosquitto 2.0 accepts at QoS 2 without losing any.
const WINDOW: usize = 20;

/// A connection that publishes.
pub struct Publisher {
    stream: TcpStream,
    events: mpsc::Receiver<Event>,
    /// The packet identifier of the last message.
    id: u16,
}

enum Event {
    /// A message on the topic that this publisher is subscribed to.
    Request,
    Acknowledged {
        kind: u8,
        id: u16,
    },
}

impl Publisher {
    pub fn connect(port: u16, client_id: &str) -> Self {
        let (reader, stream) = mqtt::connect(port, client_id);
        Self::over(reader, stream)
    }

    fn over(reader: Reader, stream: TcpStream) -> Self {
        let (sender, events) = mpsc::channel();
        thread::spawn(move || receive(reader, &sender));
        Self { stream, events, id: 0 }
    }

    /// Publishes `messages` on `topic`, and returns when the broker has acknowledged all of them.
    pub fn publish<M: AsRef<[u8]>>(&mut self, topic: &str, qos: u8, messages: &[M]) {
        let (mut in_flight, mut releases) = (0, Vec::new());
        for message in messages {
            while in_flight == WINDOW {
                in_flight -= self.wait(&mut releases);
            }
            in_flight -= self.drain(&mut releases);
            self.id = self.id.checked_add(1).unwrap_or(1);
            let message = message.as_ref();
            let head = mqtt::publish_head(topic, qos, self.id, message);
            self.write(&mut [IoSlice::new(&releases), IoSlice::new(&head), IoSlice::new(message)]);
            releases.clear();
            in_flight += usize::from(qos > 0);
        }
        while in_flight > 0 {
            in_flight -= self.wait(&mut releases);
        }
    }

    /// Writes the PUBREL packets that are due, waits for a packet, and returns the number of messages it completes.
    fn wait(&mut self, releases: &mut Vec<u8>) -> usize {
        self.write(&mut [IoSlice::new(releases)]);
        releases.clear();
        let event = self.events.recv().expect("the broker's acknowledgement");
        take(&event, releases) + self.drain(releases)
    }

    fn drain(&self, releases: &mut Vec<u8>) -> usize {
        self.events.try_iter().map(|event| take(&event, releases)).sum()
    }

    fn write(&mut self, mut parts: &mut [IoSlice]) {
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            let written = self.stream.write_vectored(parts).expect("publish");
            IoSlice::advance_slices(&mut parts, written);
        }
    }
}

/// Answers each message on `requests` with the same messages on `answers`, until the broker is gone.
pub fn answer<M>(port: u16, client_id: &str, requests: &str, answers: String, qos: u8, messages: M)
where
    M: AsRef<[Vec<u8>]> + Send + 'static,
{
    let (mut reader, mut stream) = mqtt::connect(port, client_id);
    mqtt::subscribe(&mut reader, &mut stream, requests, 0);
    let mut publisher = Publisher::over(reader, stream);
    thread::spawn(move || {
        while let Ok(Event::Request) = publisher.events.recv() {
            publisher.publish(&answers, qos, messages.as_ref());
        }
    });
}

fn receive(mut reader: Reader, events: &mpsc::Sender<Event>) -> io::Result<()> {
    loop {
        let event = match reader.read()? {
            Packet::Publish { .. } => Event::Request,
            Packet::Other { kind, number } => Event::Acknowledged { kind, id: number },
        };
        if events.send(event).is_err() {
            return Ok(());
        }
    }
}

/// Returns the number of messages that this event completes; a PUBREC requires a PUBREL first.
fn take(event: &Event, releases: &mut Vec<u8>) -> usize {
    match *event {
        Event::Acknowledged { kind: PUBREC, id } => {
            releases.extend(mqtt::acknowledgement(PUBREL, id));
            0
        }
        Event::Acknowledged { kind: PUBACK | PUBCOMP, .. } => 1,
        _ => 0,
    }
}
