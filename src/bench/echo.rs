//! The do-nothing peer: the server's own loop, answering fixed bytes of the same sizes.
//!
//! What a scheduler's latency is above the echo's is what scheduling adds; all the rest is the kernel's.

use crate::execute::Refusal;
use crate::server::service::{Output, Service};
use crate::wire::NodeId;
use crate::wire::extension::Code;
use crate::wire::extension::reply;
use crate::wire::reply::Reply;
use crate::wire::request;

/// Answers each message with as many bytes as the scheduler would, without looking at more than its code, and the number of
/// demands of a gang.
#[derive(Debug, Default)]
pub struct EchoService {
    /// The reply to a gang; kept for its memory.
    reply: Vec<u8>,
}

impl EchoService {
    fn schedule_many(&mut self, message: &[u8]) -> &[u8] {
        let count = match message {
            [_code, _strategy, _flags, low, high, ..] => u16::from_le_bytes([*low, *high]),
            _ => 0,
        };
        self.reply.clear();
        reply::append_nodes(&mut self.reply, (0..count).map(|_| NodeId(0)));
        &self.reply
    }
}

const SCHEDULE_MANY: u8 = Code::ScheduleMany as u8;

impl Service for EchoService {
    type Session = ();

    fn open(&mut self) {}

    #[inline]
    fn execute(&mut self, (): &mut (), message: &[u8], output: &mut Output<'_>) -> Option<Refusal> {
        match message.first() {
            Some(&request::SCHEDULE) => output.append_reply(Reply::Placed { node: NodeId(0) }),
            Some(&SCHEDULE_MANY) => output.append(self.schedule_many(message)),
            _ => output.append_reply(Reply::Done),
        }
        None
    }

    fn summary(&self) -> String {
        "echo".to_owned()
    }
}
