//! Clients that send and do not read.

use std::io::{ErrorKind, Write};
use std::thread;

use super::client::{Client, uninterrupted};
use super::messages::{remove, schedule};
use super::{PATIENCE, QUIET};

/// Requests sent without reading a reply, until the connection took no more.
pub struct Flood {
    /// The message of each reply, a byte, to what was sent and to the rest.
    pub expected: Vec<u8>,
    /// What could not be sent.
    pub rest: Vec<u8>,
}

/// Far above what the buffers of both kernels hold.
const FLOOD_BYTES_MAX: usize = 128 << 20;

/// Requests sent at a time: some 4 KiB, which a server reads at once if it reads.
const FLOOD_BATCH: usize = 320;

/// Sends requests without reading until the connection takes no more. Their replies are a random sequence of done
/// and refused, so that one lost or out of order would show. They change no node: the debug build checks the whole
/// table at each change, which would take long here.
///
/// After each batch another client is answered, if there is one, so that the server has had the time to read the batch: a server
/// that reads on whatever happens is not saved by being slower than its client.
pub fn flood(client: &mut Client, mut other: Option<&mut Client>, random: &mut fastrand::Rng) -> Flood {
    let requests = [remove(i64::MIN), schedule(&[])];
    let mut expected = Vec::new();
    let mut sent = 0;
    client.socket.set_write_timeout(Some(QUIET)).expect("a socket");
    // The less the client's own side holds, the sooner it is full.
    client.socket.set_send_buffer_size(1 << 14).expect("a socket");
    loop {
        assert!(sent < FLOOD_BYTES_MAX, "a client that does not read is read for ever");
        let kinds: Vec<u8> = (0..FLOOD_BATCH).map(|_| random.u8(0..2)).collect();
        let bytes: Vec<u8> = kinds.iter().flat_map(|&kind| requests[usize::from(kind)].iter().copied()).collect();
        expected.extend(kinds);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            match uninterrupted(|| client.socket.write(rest)) {
                Ok(count) => {
                    rest = &rest[count..];
                    sent += count;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    client.socket.set_write_timeout(Some(PATIENCE)).expect("a socket");
                    return Flood { expected, rest: rest.to_vec() };
                }
                Err(error) => panic!("the connection is lost: {error}"),
            }
        }
        if let Some(other) = &mut other {
            other.round_trip();
        }
    }
}

impl Flood {
    /// Sends the rest and checks every reply.
    pub fn finish(self, client: &mut Client) {
        let mut sender = client.sender();
        let rest = self.rest;
        let writer = thread::spawn(move || sender.write_all(&rest));
        for (number, kind) in self.expected.iter().enumerate() {
            assert_eq!(client.receive(), [*kind], "reply {number} of {}", self.expected.len());
        }
        writer.join().expect("the writer lives").expect("all is sent");
    }
}
