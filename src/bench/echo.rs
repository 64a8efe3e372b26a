//! The do-nothing peer: the server's own loop, answering fixed bytes of the same sizes.
//!
//! What a scheduler's latency is above the echo's is what scheduling adds; all the rest is the kernel's.

use crate::execute::Refusal;
use crate::server::service::{Output, Service};
use crate::wire::NodeId;
use crate::wire::reply::Reply;
use crate::wire::request;

/// Answers each message with as many bytes as the scheduler would, without looking at more than its code.
#[derive(Clone, Copy, Debug)]
pub struct EchoService;

impl Service for EchoService {
    type Session = ();

    fn open(&mut self) {}

    #[inline]
    fn execute(&mut self, (): &mut (), message: &[u8], output: &mut Output<'_>) -> Option<Refusal> {
        let reply = match message.first() {
            Some(&request::SCHEDULE) => Reply::Placed { node: NodeId(0) },
            _ => Reply::Done,
        };
        output.append(reply.to_frame().as_bytes());
        None
    }

    fn summary(&self) -> String {
        "echo".to_owned()
    }
}
