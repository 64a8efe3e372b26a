use super::*;
use crate::scheduler::amount::Amount;
use crate::scheduler::policy::DEFINITIONS;
use crate::wire::frame::{self, Frame, PREFIX_LENGTH};
use crate::wire::request::{Request, RequestError};
use crate::wire::resources::{self, ResourcesError};

fn resources(entries: &[(&str, f64)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    entries.iter().for_each(|(key, value)| resources::append(&mut bytes, key.as_bytes(), Amount::from_f64(*value)));
    bytes
}

fn list(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_le_bytes()[..], bytes].concat()
}

fn parse(message: &[u8]) -> Result<Extension<'_>, RequestError> {
    Request::parse(message).map(|request| match request {
        Request::Extension(extension) => extension,
        other => panic!("{other:?} is no extension"),
    })
}

fn message_of(extension: Extension<'_>) -> Vec<u8> {
    let mut frame = Vec::new();
    extension.append(&mut frame);
    frame.split_off(PREFIX_LENGTH)
}

/// The first demand of the tables: 1 of `a`.
const ONE_A: &[u8] = b"a\0\0\0\0\0\0\0\xf0\x3f";
const NODE_7: &[u8] = b"\x07\0\0\0\0\0\0\0";
const NODE_NIL: &[u8] = b"\xff\xff\xff\xff\xff\xff\xff\xff";

/// Well-formed messages of every code, written out, with what they mean.
fn well_formed() -> Vec<(&'static str, Vec<u8>, Extension<'static>)> {
    let one_a = Resources::parse(ONE_A, Meaning::Demand).unwrap();
    let name = |name| Name::new(name).unwrap();
    let nodes = |bytes| NodeIds::parse(bytes).unwrap();
    let demands = |count, bytes| Demands::parse(count, bytes).unwrap().0;
    let long: &str = "µ".repeat(127).leak();
    let many: &[u8] = NODE_7.repeat(255).leak();
    let most: &[u8] = [0; 4].repeat(SCHEDULE_MANY_MAX).leak();
    let node = NodeId(7);
    let empty = Resources::EMPTY;
    vec![
        (
            "hello",
            b"\x10\x02\x00\x01v\x02\xc2\xb5\x03\x00\x00t\xff".to_vec(),
            Extension::Hello { view: name("v"), owner: name("µ"), token: b"\x00t\xff" },
        ),
        (
            "hello with nothing but the version",
            b"\x10\x02\x00\x00\x00\x00\x00".to_vec(),
            Extension::Hello { view: name(""), owner: name(""), token: b"" },
        ),
        (
            "hello with long names",
            [b"\x10\x02\x00\xfe", long.as_bytes(), b"\xfe", long.as_bytes(), b"\x00\x00"].concat(),
            Extension::Hello { view: name(long), owner: name(long), token: b"" },
        ),
        (
            "update node",
            [b"\x11", NODE_7, b"\x0a\0\0\0", ONE_A, b"\x0a\0\0\0", ONE_A].concat(),
            Extension::UpdateNode { node, available: one_a, total: Some(one_a) },
        ),
        (
            "update node, total the same",
            [b"\x11", NODE_7, b"\x0a\0\0\0", ONE_A, b"\0\0\0\0"].concat(),
            Extension::UpdateNode { node, available: one_a, total: None },
        ),
        (
            "update node that has nothing",
            [b"\x11", NODE_7, b"\0\0\0\0\0\0\0\0"].concat(),
            Extension::UpdateNode { node, available: empty, total: None },
        ),
        (
            "release",
            [b"\x12", NODE_7, b"\x0a\0\0\0", ONE_A, b"\x04\x03\x02\x01"].concat(),
            Extension::Release { node, resources: one_a, count: 0x0102_0304 },
        ),
        (
            "release of no placement, of a node that is never there",
            [b"\x12", NODE_NIL, b"\0\0\0\0\0\0\0\0"].concat(),
            Extension::Release { node: NodeId::NIL, resources: empty, count: 0 },
        ),
        (
            "schedule many",
            [b"\x13\x02\x01\x03\x00", &b"\x0a\0\0\0"[..], ONE_A, b"\0\0\0\0", b"\x0a\0\0\0", ONE_A].concat(),
            Extension::ScheduleMany {
                strategy: Strategy::Spread,
                strict: true,
                demands: demands(3, [b"\x0a\0\0\0", ONE_A, b"\0\0\0\0\x0a\0\0\0", ONE_A].concat().leak()),
            },
        ),
        (
            "schedule many of none",
            b"\x13\x00\x00\x00\x00".to_vec(),
            Extension::ScheduleMany { strategy: Strategy::Each, strict: false, demands: demands(0, b"") },
        ),
        (
            "schedule many of as many as allowed",
            [b"\x13\x04\x00\x10\x27", most].concat(),
            Extension::ScheduleMany {
                strategy: Strategy::StrictSpread,
                strict: false,
                demands: demands(SCHEDULE_MANY_MAX as u16, most),
            },
        ),
        (
            "schedule with hints",
            [b"\x14\x03\x09\x01", NODE_7, b"\x02", NODE_NIL, NODE_7, b"\x0a\0\0\0", ONE_A].concat(),
            Extension::ScheduleWithHints {
                strict: true,
                dry_run: true,
                policy: 9,
                preferred: nodes(NODE_7),
                avoided: nodes([NODE_NIL, NODE_7].concat().leak()),
                demand: one_a,
            },
        ),
        (
            "schedule with hints, dry, without any",
            b"\x14\x02\x00\x00\x00\0\0\0\0".to_vec(),
            Extension::ScheduleWithHints {
                strict: false,
                dry_run: true,
                policy: 0,
                preferred: nodes(b""),
                avoided: nodes(b""),
                demand: empty,
            },
        ),
        (
            "schedule with as many hints as can be",
            [b"\x14\x01\xff\xff", many, b"\xff", many, b"\0\0\0\0"].concat(),
            Extension::ScheduleWithHints {
                strict: true,
                dry_run: false,
                policy: 255,
                preferred: nodes(many),
                avoided: nodes(many),
                demand: empty,
            },
        ),
        ("explain", [b"\x15", ONE_A].concat(), Extension::Explain { demand: one_a }),
        ("explain of nothing", b"\x15".to_vec(), Extension::Explain { demand: empty }),
        ("drain on", [b"\x16", NODE_7, b"\x01"].concat(), Extension::Drain { node, on: true }),
        ("drain off", [b"\x16", NODE_NIL, b"\x00"].concat(), Extension::Drain { node: NodeId::NIL, on: false }),
        ("stats", b"\x17".to_vec(), Extension::Stats),
        ("ping", b"\x18\x00\xff".to_vec(), Extension::Ping { payload: b"\x00\xff" }),
        ("ping of nothing", b"\x18".to_vec(), Extension::Ping { payload: b"" }),
    ]
}

#[test]
fn well_formed_messages_mean_what_the_protocol_says() {
    let table = well_formed();
    for (name, message, expected) in &table {
        assert_eq!(parse(message), Ok(*expected), "{name}");
        assert_eq!(message_of(*expected), *message, "{name}");
        assert_eq!(message[0], expected.code() as u8, "{name}");
    }
    for code in Code::ALL {
        assert!(table.iter().any(|(_, _, extension)| extension.code() == code), "{} is not in the table", code.name());
    }
}

#[test]
fn lists_give_what_is_in_them() {
    let message =
        [b"\x13\x01\x00\x02\x00".to_vec(), list(b""), list(&resources(&[("CPU", 2.0), ("GPU", 0.5)]))].concat();
    let Ok(Extension::ScheduleMany { strategy: Strategy::Pack, strict: false, mut demands }) = parse(&message) else {
        panic!("not a schedule many")
    };
    assert_eq!(demands.len(), 2);
    assert_eq!(demands.next(), Some(Resources::EMPTY));
    assert_eq!(demands.len(), 1);
    let entries: Vec<_> = demands.next().unwrap().collect();
    assert_eq!(entries, [(&b"CPU"[..], Amount::from_f64(2.0)), (b"GPU", Amount::from_f64(0.5))]);
    assert_eq!(demands.next(), None);

    let nodes = NodeIds::parse(&[NODE_NIL, NODE_7].concat()).unwrap().collect::<Vec<_>>();
    assert_eq!(nodes, [NodeId::NIL, NodeId(7)]);
}

#[test]
fn a_message_cut_anywhere_is_malformed() {
    for (name, message, extension) in well_formed() {
        // Long ones are cut at every place of their beginning and end; the middle repeats itself.
        let cuts = (1..message.len()).filter(|cut| *cut < 600 || message.len() - cut < 600);
        for cut in cuts {
            match (parse(&message[..cut]), extension.code()) {
                (Err(RequestError::Extension(ExtensionError::CutShort(_))), _) => {}
                (Err(RequestError::Extension(ExtensionError::Resources(Field::Demand, _))), Code::Explain) => {}
                (Ok(Extension::Explain { .. }), Code::Explain) => assert_eq!(cut, 1),
                (Ok(Extension::Ping { payload }), Code::Ping) => assert_eq!(payload, &message[1..cut]),
                (other, _) => panic!("{name}, {cut} bytes of {}: {other:?}", message.len()),
            }
        }
    }
}

#[test]
fn bytes_after_the_last_field_are_malformed() {
    for (name, mut message, extension) in well_formed() {
        if !matches!(extension.code(), Code::Explain | Code::Ping) {
            message.push(0);
            assert_eq!(parse(&message), Err(ExtensionError::TrailingBytes.into()), "{name}");
        }
    }
}

#[test]
fn malformed_messages_are_refused_for_their_first_fault() {
    let negative = list(&resources(&[("a", -1.0)]));
    let not_finite = list(b"a\0\0\0\0\0\0\0\xf8\x7f");
    let half = list(b"a\0\0\0");
    let update = |lists: &[&[u8]]| [b"\x11", NODE_7, &lists.concat()].concat();
    let with_hints = |rest: &[u8]| [b"\x14", rest].concat();
    let in_list = |field, error| ExtensionError::Resources(field, error);
    let cases: Vec<(&str, Vec<u8>, ExtensionError)> = vec![
        ("hello, version 1", b"\x10\x01\x00\x00\x00\x00\x00".to_vec(), ExtensionError::Version(1)),
        ("hello, a version to come", b"\x10\x03\x00whatever".to_vec(), ExtensionError::Version(3)),
        ("hello, view cut", b"\x10\x02\x00\xffv".to_vec(), ExtensionError::CutShort(Field::View)),
        ("hello, owner cut", b"\x10\x02\x00\x01v\x02o".to_vec(), ExtensionError::CutShort(Field::Owner)),
        ("hello, token cut", b"\x10\x02\x00\x00\x00\xff\xfft".to_vec(), ExtensionError::CutShort(Field::Token)),
        (
            "hello, view not UTF-8",
            b"\x10\x02\x00\x01\xc2\x00\x00\x00".to_vec(),
            ExtensionError::Name(Field::View, NameError::NotUtf8),
        ),
        (
            "hello, owner with a line feed",
            b"\x10\x02\x00\x00\x01\n\x00\x00".to_vec(),
            ExtensionError::Name(Field::Owner, NameError::ControlCharacter),
        ),
        ("update of nil", [b"\x11", NODE_NIL, b"\0\0\0\0\0\0\0\0"].concat(), ExtensionError::NodeIdNil),
        (
            "update, list longer than the message",
            update(&[b"\xff\xff\xff\xff", ONE_A]),
            ExtensionError::CutShort(Field::Available),
        ),
        ("update, list one longer", update(&[b"\x0b\0\0\0", ONE_A]), ExtensionError::CutShort(Field::Available)),
        (
            "update, list one shorter",
            update(&[b"\x09\0\0\0", ONE_A, b"\0\0\0\0"]),
            in_list(Field::Available, ResourcesError::AmountCutShort),
        ),
        (
            "update, available",
            update(&[&not_finite, &list(b"")]),
            in_list(Field::Available, ResourcesError::AmountNotFinite),
        ),
        ("update, total", update(&[&list(b""), &half]), in_list(Field::Total, ResourcesError::AmountCutShort)),
        (
            "release, negative",
            [b"\x12", NODE_7, &negative, b"\x01\0\0\0"].concat(),
            in_list(Field::Resources, ResourcesError::AmountNegative),
        ),
        ("many, strategy", b"\x13\x05\x00\x00\x00".to_vec(), ExtensionError::Strategy(5)),
        ("many, strategy and flags", b"\x13\xff\xff\x00\x00".to_vec(), ExtensionError::Strategy(255)),
        ("many, dry run", b"\x13\x00\x02\x00\x00".to_vec(), ExtensionError::Flags(2)),
        (
            "many, one too many",
            [b"\x13\x00\x00\x11\x27".to_vec(), vec![0; 40_004]].concat(),
            ExtensionError::Entries(10_001),
        ),
        ("many, far too many", b"\x13\x00\x00\xff\xff".to_vec(), ExtensionError::Entries(65_535)),
        ("many, fewer than said", b"\x13\x00\x00\x02\x00\0\0\0\0".to_vec(), ExtensionError::CutShort(Field::Demands)),
        (
            "many, the last one negative",
            [b"\x13\x00\x00\x02\x00\0\0\0\0", &negative[..]].concat(),
            in_list(Field::Demands, ResourcesError::AmountNegative),
        ),
        ("hints, flags", with_hints(b"\x04\x00\x00\x00\0\0\0\0"), ExtensionError::Flags(4)),
        ("hints, all flags", with_hints(b"\xff\x00\x00\x00\0\0\0\0"), ExtensionError::Flags(255)),
        ("hints, preferred cut", with_hints(b"\x00\x00\x011234567"), ExtensionError::CutShort(Field::Preferred)),
        (
            "hints, avoided cut",
            with_hints(b"\x00\x00\x00\x02123456781234567"),
            ExtensionError::CutShort(Field::Avoided),
        ),
        (
            "hints, negative",
            with_hints(&[b"\x00\x00\x00\x00", &negative[..]].concat()),
            in_list(Field::Demand, ResourcesError::AmountNegative),
        ),
        ("explain, key alone", b"\x15CPU".to_vec(), in_list(Field::Demand, ResourcesError::KeyUnterminated)),
        (
            "explain, negative",
            [b"\x15", &negative[4..]].concat(),
            in_list(Field::Demand, ResourcesError::AmountNegative),
        ),
        ("drain, neither on nor off", [b"\x16", NODE_7, b"\x02"].concat(), ExtensionError::Switch(2)),
        ("stats of something", b"\x17\x00".to_vec(), ExtensionError::TrailingBytes),
    ];
    for (name, message, expected) in cases {
        assert_eq!(parse(&message), Err(expected.into()), "{name}");
    }
}

#[test]
fn faults_have_the_code_that_programs_look_for() {
    let cases = [
        (ExtensionError::CutShort(Field::View), ErrorCode::Malformed),
        (ExtensionError::TrailingBytes, ErrorCode::Malformed),
        (ExtensionError::NodeIdNil, ErrorCode::Malformed),
        (ExtensionError::Resources(Field::Demand, ResourcesError::KeyEmpty), ErrorCode::Malformed),
        (ExtensionError::Switch(2), ErrorCode::Malformed),
        (ExtensionError::Version(3), ErrorCode::UnsupportedVersion),
        (ExtensionError::Name(Field::View, NameError::NotUtf8), ErrorCode::BadName),
        (ExtensionError::Strategy(5), ErrorCode::UnknownStrategy),
        (ExtensionError::Flags(4), ErrorCode::ReservedFlags),
        (ExtensionError::Entries(10_001), ErrorCode::TooManyEntries),
    ];
    for (error, code) in cases {
        assert_eq!(error.code(), code, "{error}");
    }
}

#[test]
fn codes_around_those_of_the_extensions_are_unknown() {
    for byte in (0x03..0x10).chain(0x19..=0xff) {
        assert_eq!(Request::parse(&[byte]), Err(RequestError::UnknownCode(byte)));
        assert_eq!(Code::from_byte(byte), None);
    }
}

#[test]
fn every_extension_is_a_capability_of_its_own() {
    let mut seen = 0;
    for code in Code::ALL {
        let capability = Capabilities::of(code);
        assert_eq!(capability.0, 1 << (code as u8 - 0x10));
        assert!(Capabilities::ALL.contains(capability));
        assert!(!Capabilities(!capability.0).contains(capability));
        seen |= capability.0;
    }
    assert_eq!(Capabilities(seen), Capabilities::ALL);
}

#[test]
fn names_for_the_wire_are_short_and_plain() {
    let longest = "n".repeat(255);
    assert_eq!(Name::new(&longest).map(Name::as_str), Ok(longest.as_str()));
    assert_eq!(Name::new(&"n".repeat(256)), Err(NameError::TooLong));
    assert_eq!(Name::new("a\0b"), Err(NameError::ControlCharacter));
    assert_eq!(Name::new("job 7, µ").map(Name::as_str), Ok("job 7, µ"));
}

/// Changes a message a little: bytes flipped, set, cut out, doubled or cut off.
fn mutate(message: &mut Vec<u8>, random: &mut fastrand::Rng) {
    for _ in 0..random.usize(1..4) {
        let place = random.usize(0..message.len());
        match random.u8(0..6) {
            0 => message[place] ^= 1 << random.u8(0..8),
            1 => message[place] = random.choice([0, 1, 2, 8, 10, 0x7f, 0x80, 0xff]).unwrap_or(0),
            2 => message.truncate(place.max(1)),
            3 => message.insert(place, random.u8(..)),
            4 if message.len() > 1 => drop(message.remove(place)),
            _ => {
                let end = random.usize(place..message.len());
                message.extend_from_within(place..end);
            }
        }
    }
}

#[test]
fn whatever_comes_is_refused_or_is_exactly_what_it_is_written_as() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut valid: Vec<Vec<u8>> = well_formed().into_iter().map(|(_, message, _)| message).collect();
    valid.retain(|message| message.len() < 1_000);
    let mut accepted = 0;
    for _ in 0..200_000 {
        let mut message = random.choice(&valid).expect("there are messages").clone();
        mutate(&mut message, &mut random);
        let Ok(Request::Extension(extension)) = Request::parse(&message) else { continue };
        accepted += 1;
        assert_eq!(message_of(extension), message, "{extension:?}");
        // What is in it can be gone through to its end.
        match extension {
            Extension::ScheduleMany { demands, .. } => {
                demands.flatten().for_each(drop);
                assert_eq!(demands.count(), demands.len());
            }
            Extension::ScheduleWithHints { preferred, avoided, .. } => {
                assert_eq!(preferred.count() + avoided.count(), preferred.len() + avoided.len());
            }
            _ => {}
        }
    }
    assert!(accepted > 1_000, "the mutations leave too little that is accepted: {accepted}");
}

#[test]
fn the_examples_in_the_description_are_well_formed() {
    let text = include_str!("../PROTOCOL.md");
    // One frame a line; a line that begins with a space goes on with the one before.
    let mut frames: Vec<(bool, Vec<u8>)> = Vec::new();
    for line in text.split("```").skip(1).step_by(2).flat_map(str::lines).filter(|line| !line.is_empty()) {
        let (direction, digits) = line.split_at(1);
        if direction != " " {
            frames.push((direction == ">", Vec::new()));
        }
        let bytes = digits.split_whitespace().map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal"));
        frames.last_mut().expect("a first line").1.extend(bytes);
    }
    assert!(frames.len() >= 14);
    for (is_request, bytes) in frames {
        let Ok(Frame::Complete { message, consumed }) = frame::split(&bytes, 1 << 20) else { panic!("{bytes:02x?}") };
        assert_eq!(consumed, bytes.len(), "{bytes:02x?}");
        if is_request {
            assert!(Request::parse(message).is_ok(), "{:?} for {bytes:02x?}", Request::parse(message));
        } else {
            assert!(reply::Answer::parse(message).is_some(), "{bytes:02x?}");
        }
    }
}

#[test]
fn the_description_numbers_policies_and_errors_as_the_code_does() {
    let text = include_str!("../PROTOCOL.md").split_whitespace().collect::<Vec<_>>().join(" ");
    for (place, policy) in DEFINITIONS.iter().enumerate() {
        let entry = format!("`{}` {}", place + 1, policy.name);
        assert!(text.contains(&entry), "{entry}");
    }
    for code in ErrorCode::ALL {
        assert!(text.contains(&format!("| {} | ", code.number())), "{code:?}");
    }
}
