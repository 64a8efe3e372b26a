//! Every reply decoder of a client: what it accepts is written again as the same bytes.

use external_scheduler::wire::extension::ErrorCode;
use external_scheduler::wire::extension::reply::{self, Answer, Placement, Welcome, parse_nodes};
use external_scheduler::wire::frame::PREFIX_LENGTH;
use external_scheduler::wire::reply::Reply;

/// Takes a message, the inside of a frame.
pub fn check(message: &[u8]) {
    if let Some(reply) = Reply::parse(message) {
        assert_eq!(&reply.to_frame().as_bytes()[PREFIX_LENGTH..], message);
    }
    match Answer::parse(message) {
        Some(Answer::Done { body }) => {
            assert_written(message, |out| reply::append_bytes(out, body));
            check_done(message, body);
        }
        Some(Answer::NotPlaced(why)) => assert_written(message, |out| reply::append_not_placed(out, why)),
        Some(Answer::Error { number, text }) => {
            if let Some(code) = ErrorCode::from_number(number) {
                assert_written(message, |out| reply::append_error(out, code, text));
            }
        }
        Some(Answer::Refused) => assert_eq!(Reply::parse(message), Some(Reply::Refused)),
        None => assert_eq!(Reply::parse(message), None),
    }
}

/// What follows a `0x0`, whatever was asked for.
fn check_done(message: &[u8], body: &[u8]) {
    if let Some(welcome) = Welcome::parse(body).filter(|welcome| welcome.version == 2) {
        assert_written(message, |out| reply::append_welcome(out, welcome.capabilities, welcome.instance));
    }
    if let Some(placement) = Placement::parse(body) {
        assert_written(message, |out| reply::append_placement(out, placement));
    }
    if let Some(nodes) = parse_nodes(body, body.len() / 8) {
        assert_written(message, |out| reply::append_nodes(out, nodes));
    }
    assert!(parse_nodes(body, body.len() / 8 + 1).is_none());
}

fn assert_written(message: &[u8], append: impl FnOnce(&mut Vec<u8>)) {
    let mut frame = Vec::new();
    append(&mut frame);
    assert_eq!(frame[..PREFIX_LENGTH], (message.len() as u64).to_le_bytes());
    assert_eq!(&frame[PREFIX_LENGTH..], message);
}
