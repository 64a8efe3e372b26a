//! Every request decoder: what it accepts is what the protocol calls well-formed, and says the same when written again.

use external_scheduler::execute::Refusal;
use external_scheduler::wire::frame::PREFIX_LENGTH;
use external_scheduler::wire::request::{self, Request, RequestError};
use external_scheduler::wire::resources::Resources;

/// Takes a message, the inside of a frame.
pub fn check(message: &[u8]) {
    match Request::parse(message) {
        Ok(request) => {
            assert!(is_well_formed(message), "{message:?} was taken for {request:?}");
            check_written_again(message, request);
        }
        Err(error) => {
            assert!(!is_well_formed(message), "{message:?} was refused: {error}");
            check_error(error);
        }
    }
}

fn check_written_again(message: &[u8], request: Request<'_>) {
    let mut frame = Vec::new();
    match request {
        Request::AddNode { node, resources } => request::append_add_node(&mut frame, node, resources),
        Request::RemoveNode { node } => request::append_remove_node(&mut frame, node),
        Request::Schedule { demand } => request::append_schedule(&mut frame, demand),
        Request::Extension(extension) => extension.append(&mut frame),
    }
    let written = &frame[PREFIX_LENGTH..];
    match (request, Request::parse(written).expect("what is written is well-formed")) {
        // Amounts are rounded to those that there are.
        (Request::AddNode { node, resources }, Request::AddNode { node: again, resources: resources_again }) => {
            assert_eq!(node, again);
            check_same(resources, resources_again);
        }
        (Request::Schedule { demand }, Request::Schedule { demand: again }) => check_same(demand, again),
        (request, again) => assert_eq!((message, request), (written, again)),
    }
}

/// Names are the same, and amounts as far as a double can tell them.
fn check_same(resources: Resources<'_>, again: Resources<'_>) {
    const EXACT_MAX: u64 = 1 << 51;
    assert_eq!(resources.count(), again.count());
    for ((name, amount), (name_again, amount_again)) in resources.zip(again) {
        let is_exact = amount.units().unsigned_abs() <= EXACT_MAX;
        assert!(name == name_again && (amount == amount_again || !is_exact), "{amount} {amount_again}");
    }
}

fn check_error(error: RequestError) {
    assert!(error.index() < RequestError::REASONS);
    assert!(Refusal::Malformed(error).index() < Refusal::REASONS);
    assert!(!error.to_string().is_empty());
    if let RequestError::Extension(error) = error {
        assert!(error.code().number() > 0);
    }
}

/// What is left of a message, field by field. Everything is `None` once it ends too early.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (field, rest) = (self.0.get(..count)?, &self.0[count..]);
        self.0 = rest;
        Some(field)
    }

    fn number(&mut self, length: usize) -> Option<usize> {
        Some(self.bytes(length)?.iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte)))
    }

    /// A node ID. Whether it is that of a node.
    fn node(&mut self) -> Option<bool> {
        Some(self.bytes(8)? != [0xff; 8])
    }

    fn list(&mut self, may_be_negative: bool) -> Option<()> {
        let length = self.number(4)?;
        Fields(self.bytes(length)?).resources(may_be_negative)
    }

    /// Resources to the end.
    fn resources(&mut self, may_be_negative: bool) -> Option<()> {
        while !self.0.is_empty() {
            let length = self.0.iter().position(|&byte| byte == 0)?;
            self.bytes(length + 1)?;
            let amount = f64::from_le_bytes(self.bytes(8)?.try_into().ok()?);
            let is_amount = amount.is_finite() && (may_be_negative || amount >= 0.0);
            if !(1..=1024).contains(&length) || !is_amount {
                return None;
            }
        }
        Some(())
    }

    fn name(&mut self) -> Option<()> {
        let length = self.number(1)?;
        let name = std::str::from_utf8(self.bytes(length)?).ok()?;
        (!name.chars().any(char::is_control)).then_some(())
    }

    fn flags(&mut self, known: usize) -> Option<()> {
        (self.number(1)? & !known == 0).then_some(())
    }
}

/// Whether the protocol allows a message, read from `PROTOCOL.md` once more.
fn is_well_formed(message: &[u8]) -> bool {
    let mut fields = Fields(message);
    let mut check = || -> Option<()> {
        match fields.number(1)? {
            0x00 => {
                let is_node = fields.node()?;
                fields.resources(true)?;
                is_node.then_some(())
            }
            0x01 => fields.node().map(drop),
            0x02 | 0x15 => fields.resources(false),
            0x10 => {
                let version = fields.number(2)?;
                fields.name()?;
                fields.name()?;
                let token_length = fields.number(2)?;
                fields.bytes(token_length)?;
                (version == 2).then_some(())
            }
            0x11 => {
                let is_node = fields.node()?;
                fields.list(true)?;
                fields.list(true)?;
                is_node.then_some(())
            }
            0x12 => {
                fields.node()?;
                fields.list(false)?;
                fields.number(4).map(drop)
            }
            0x13 => {
                let strategy = fields.number(1)?;
                fields.flags(1)?;
                let count = fields.number(2)?;
                (0..count).try_for_each(|_| fields.list(false))?;
                (strategy <= 4 && count <= 10_000).then_some(())
            }
            0x14 => {
                fields.flags(3)?;
                fields.number(1)?;
                for _ in 0..2 {
                    let count = fields.number(1)?;
                    fields.bytes(8 * count)?;
                }
                fields.list(false)
            }
            0x16 => {
                fields.node()?;
                (fields.number(1)? <= 1).then_some(())
            }
            0x17 => Some(()),
            0x18 => fields.bytes(fields.0.len()).map(drop),
            _ => None,
        }
    };
    check().is_some() && fields.0.is_empty()
}
