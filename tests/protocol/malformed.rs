//! What no honest client sends, and what looks odd but is well-formed.

use crate::common::{
    Client, DONE, REFUSED, Server, Transport, add, add_message, announce, frame, placed, remove, resource, schedule,
    schedule_message,
};

/// Resource keys may be as long as this.
const KEY_LENGTH_MAX: usize = 1024;

/// `--max-frame` where nothing else is said.
const FRAME_LENGTH_MAX: i64 = 1 << 20;

#[test]
fn a_length_that_cannot_be_costs_its_connection_only() {
    let server = Server::start(&[]);
    let mut other = server.connect();
    other.add(1, &[("CPU", 1e6)]);
    let cases = [
        ("minus one", -1, "negative"),
        ("the least of all", i64::MIN, "negative"),
        ("one above the limit", FRAME_LENGTH_MAX + 1, "limit"),
        ("2^31 - 1", i64::from(i32::MAX), "limit"),
        ("2^32 - 1", i64::from(u32::MAX), "limit"),
        ("2^63 - 1", i64::MAX, "limit"),
    ];
    for (name, length, reason) in cases {
        for body in [&b""[..], b"\x02", b"more than a word of what it may mean"] {
            let mut client = server.connect();
            client.add(1, &[("CPU", 1.0)]);
            // What came before it is answered.
            client.send(&[schedule(&[("CPU", 1.0)]), announce(length, body)].concat());
            assert_eq!(client.receive(), placed(1), "{name}");
            client.assert_closed(name);
            let warnings = server.warnings_about(&client.name());
            assert_eq!(warnings.len(), 1, "{name}: one line in the log: {warnings:?}");
            assert!(warnings[0].contains(reason) && warnings[0].contains(&length.to_string()), "{name}: {warnings:?}");
            assert_eq!(other.place(&[("CPU", 1.0)]), Some(1), "{name}: others are served");
        }
    }
    for transport in Transport::ALL {
        let mut client = server.connect_over(transport);
        client.send(&announce(-1, b""));
        client.assert_closed("over every transport");
    }
}

#[test]
fn the_longest_message_that_is_allowed_is_answered() {
    let server = Server::start(&["--max-frame", "64"]);
    let mut client = server.connect();
    assert_eq!(client.call(&frame(&[9; 64])), REFUSED);
    client.round_trip();
    client.send(&frame(&[9; 65]));
    client.assert_closed("one byte more");

    let server = Server::start(&[]);
    let mut client = server.connect();
    assert_eq!(client.call(&frame(&vec![9; FRAME_LENGTH_MAX as usize])), REFUSED);
    client.round_trip();
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_is_allocated_because_it_was_announced() {
    const MIB: u64 = 1 << 20;
    let server = Server::start(&["--max-frame", "64MiB"]);
    let mut other = server.connect();
    other.round_trip();
    let before = server.process.memory_peak_bytes();
    let clients: Vec<Client> = (0..30)
        .map(|_| {
            let mut client = server.connect();
            client.send(&announce(64 * MIB as i64, b"\x02"));
            client
        })
        .collect();
    let mut cut_off = server.connect();
    cut_off.send(&announce(1 << 40, b"\x02"));
    cut_off.assert_closed("above the limit");
    other.round_trip();
    let grown = server.process.memory_peak_bytes() - before;
    assert!(grown < 32 * MIB, "{grown} bytes for {} announced messages", clients.len());
}

/// Messages that are no requests, with the reason that the log gives.
fn malformed_messages() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let two = |first: Vec<u8>, second: Vec<u8>| [first, second].concat();
    let cpu = || resource(b"CPU", 9.0);
    let long_key = [b'k'; KEY_LENGTH_MAX + 1];
    let amounts = "not a finite number";
    vec![
        ("nothing", vec![], "empty message"),
        ("unknown code", vec![3], "unknown message code"),
        ("unknown code with a body", two(vec![0xff], cpu()), "unknown message code"),
        ("code of a version to come, which is not ours", vec![0x7f, 0, 0], "unknown message code"),
        ("add without an ID", vec![0], "fewer than 8 bytes"),
        ("add with 7 bytes of an ID", vec![0, 1, 0, 0, 0, 0, 0, 0], "fewer than 8 bytes"),
        ("remove without an ID", vec![1], "fewer than 8 bytes"),
        ("remove with 7 bytes of an ID", vec![1, 1, 0, 0, 0, 0, 0, 0], "fewer than 8 bytes"),
        ("remove of node 1 with a byte too many", vec![1, 1, 0, 0, 0, 0, 0, 0, 0, 0], "after the node ID"),
        ("add of node -1", add_message(-1, &cpu()), "node -1"),
        ("add of node -1 without resources", add_message(-1, b""), "node -1"),
        ("schedule, key without 0x0", schedule_message(b"CPU"), "without its final 0x0"),
        ("schedule, bytes left over", schedule_message(&two(cpu(), b"G".to_vec())), "without its final 0x0"),
        ("add, key without 0x0", add_message(1, b"CPU"), "without its final 0x0"),
        ("add, bytes left over", add_message(1, &two(cpu(), b"G".to_vec())), "without its final 0x0"),
        ("schedule without an amount", schedule_message(b"CPU\0"), "fewer than 8 bytes"),
        ("schedule, 7 bytes of an amount", schedule_message(b"CPU\x001234567"), "fewer than 8 bytes"),
        ("add, 7 bytes of an amount", add_message(1, &two(cpu(), b"a\x001234567".to_vec())), "fewer than 8 bytes"),
        ("schedule of NaN", schedule_message(&resource(b"CPU", f64::NAN)), amounts),
        ("schedule of -NaN", schedule_message(&resource(b"CPU", -f64::NAN)), amounts),
        ("schedule of infinity", schedule_message(&resource(b"CPU", f64::INFINITY)), amounts),
        ("schedule of minus infinity", schedule_message(&resource(b"CPU", f64::NEG_INFINITY)), amounts),
        ("add with NaN", add_message(1, &two(cpu(), resource(b"a", f64::NAN))), amounts),
        ("add with infinity", add_message(3, &two(cpu(), resource(b"a", f64::INFINITY))), amounts),
        ("add with minus infinity", add_message(1, &two(cpu(), resource(b"a", f64::NEG_INFINITY))), amounts),
        ("NaN in front of the same key again", schedule_message(&two(resource(b"CPU", f64::NAN), cpu())), amounts),
        ("schedule, empty key", schedule_message(&resource(b"", 1.0)), "empty resource key"),
        ("add, empty key", add_message(3, &two(cpu(), resource(b"", 1.0))), "empty resource key"),
        ("schedule, long key", schedule_message(&resource(&long_key, 0.0)), "longer than 1024 bytes"),
        ("add, long key", add_message(3, &two(cpu(), resource(&long_key, 1.0))), "longer than 1024 bytes"),
        ("schedule of less than nothing", schedule_message(&resource(b"CPU", -1.0)), "negative amount"),
        ("schedule of hardly less than nothing", schedule_message(&resource(b"CPU", -1e-9)), "negative amount"),
        ("negative after positive", schedule_message(&two(cpu(), resource(b"a", -1.0))), "negative amount"),
    ]
}

/// Adds nodes of which little is left, so that every change of them shows.
fn add_nodes_with_little_room(client: &mut Client) {
    // Many that are too small, since a few nodes are searched in another way.
    for node in 100..140 {
        client.add(node, &[("CPU", 0.5)]);
    }
    client.add(1, &[("CPU", 3.0), ("a", 1.0)]);
    client.add(2, &[("CPU", 1.0)]);
    assert_eq!(client.place(&[("CPU", 2.0)]), Some(1));
}

/// Uses up exactly what was left. Strict servers only.
fn assert_nothing_has_changed(client: &mut Client, name: &str) {
    let rest = [(&[("CPU", 1.0), ("a", 1.0)][..], Some(1)), (&[("CPU", 1.0)], Some(2)), (&[("CPU", 1.0)], None)];
    for (demand, node) in rest {
        assert_eq!(client.place(demand), node, "{name}: nothing has changed ({demand:?})");
    }
}

#[test]
fn a_malformed_message_is_refused_and_changes_nothing() {
    let server = Server::start(&["--strict"]);
    for (name, message, reason) in malformed_messages() {
        let mut client = server.connect();
        add_nodes_with_little_room(&mut client);
        for _ in 0..3 {
            assert_eq!(client.call(&frame(&message)), REFUSED, "{name}");
        }
        assert_nothing_has_changed(&mut client, name);
        let warnings = server.warnings_about(&client.name());
        assert_eq!(warnings.len(), 1, "{name}: logged once: {warnings:?}");
        assert!(warnings[0].contains(reason), "{name}: {warnings:?} says why ({reason})");
    }
}

#[test]
fn a_malformed_message_between_others_in_one_write_changes_nothing() {
    let server = Server::start(&["--strict"]);
    for transport in Transport::ALL {
        let mut client = server.connect_over(transport);
        add_nodes_with_little_room(&mut client);
        let malformed: Vec<u8> = malformed_messages().iter().flat_map(|(_, message, _)| frame(message)).collect();
        let last = schedule(&[("CPU", 1.0), ("a", 1.0)]);
        client.send(&[schedule(&[("CPU", 9.0)]), malformed, last].concat());
        for _ in 0..=malformed_messages().len() {
            assert_eq!(client.receive(), REFUSED);
        }
        assert_eq!(client.receive(), placed(1));
        assert_eq!([client.place(&[("CPU", 1.0)]), client.place(&[("CPU", 1.0)])], [Some(2), None]);
    }
}

#[test]
fn each_reason_is_logged_once_for_each_connection() {
    let server = Server::start(&[]);
    let mut random = crate::common::random();
    for _ in 0..2 {
        let mut client = server.connect();
        let mut messages = [malformed_messages(), malformed_messages()].concat();
        random.shuffle(&mut messages);
        for (name, message, _) in messages {
            assert_eq!(client.call(&frame(&message)), REFUSED, "{name}");
        }
        let mut warnings = server.warnings_about(&client.name());
        // Each line tells another reason. The rest of a line is the time.
        let reasons = |line: &String| line.split_once("malformed").map(|(_, reason)| reason.to_owned());
        warnings.sort_by_key(reasons);
        let lines = warnings.len();
        warnings.dedup_by_key(|line| reasons(line));
        assert_eq!(warnings.len(), lines, "no reason comes twice");
        for (name, _, reason) in malformed_messages() {
            assert!(warnings.iter().any(|line| line.contains(reason)), "{name}: {reason} is logged");
        }
    }
}

#[test]
fn odd_but_well_formed_messages_mean_what_they_say() {
    let server = Server::start(&["--strict"]);
    let long_key = "k".repeat(KEY_LENGTH_MAX);
    let no_text = |amount| resource(b"\xff\x80\x01 \"\n", amount);
    let done = || DONE.to_vec();
    let refused = || REFUSED.to_vec();
    let smallest = f64::from_bits(1);
    type Exchanges = Vec<(Vec<u8>, Vec<u8>)>;
    let cases: Vec<(&str, Exchanges)> = vec![
        ("minus zero is no demand", vec![(add(1, &[]), done()), (schedule(&[("CPU", -0.0)]), placed(1))]),
        (
            "a node with minus zero",
            vec![
                (add(1, &[("CPU", -0.0)]), done()),
                (schedule(&[("CPU", 0.0001)]), refused()),
                (schedule(&[]), placed(1)),
            ],
        ),
        (
            "a subnormal amount is nothing",
            vec![
                (add(1, &[("CPU", smallest)]), done()),
                (schedule(&[("CPU", 0.0001)]), refused()),
                (schedule(&[("CPU", smallest), ("GPU", -0.0)]), placed(1)),
            ],
        ),
        (
            "a huge amount is more than a node has",
            vec![(add(1, &[("CPU", 4.0)]), done()), (schedule(&[("CPU", 1e308)]), refused())],
        ),
        (
            "a huge amount on a node",
            vec![
                (add(1, &[("CPU", 1e308)]), done()),
                (schedule(&[("CPU", 1e9)]), placed(1)),
                (schedule(&[("CPU", f64::MAX)]), refused()),
                (add(1, &[("CPU", f64::MAX)]), done()),
                (schedule(&[("CPU", 1e308)]), placed(1)),
                (schedule(&[("CPU", 0.0001)]), refused()),
            ],
        ),
        (
            "a hugely negative amount on a node",
            vec![
                (add(1, &[("CPU", f64::MIN), ("GPU", 1.0)]), done()),
                (schedule(&[("CPU", 0.0001)]), refused()),
                (schedule(&[("GPU", 1.0)]), placed(1)),
            ],
        ),
        (
            "the last amount of a key counts in an add",
            vec![
                (add(1, &[("CPU", 8.0), ("GPU", 1.0), ("CPU", 1.0)]), done()),
                (schedule(&[("CPU", 2.0)]), refused()),
                (schedule(&[("CPU", 1.0), ("GPU", 1.0)]), placed(1)),
                (add(1, &[("CPU", 1.0), ("CPU", 8.0)]), done()),
                (schedule(&[("CPU", 8.0)]), placed(1)),
                (add(1, &[("CPU", 1.0), ("CPU", 0.0)]), done()),
                (schedule(&[("CPU", 1.0)]), refused()),
                (add(1, &[("CPU", -1.0), ("CPU", 2.0)]), done()),
                (schedule(&[("CPU", 2.0)]), placed(1)),
            ],
        ),
        (
            "the last amount of a key counts in a demand",
            vec![
                (add(1, &[("CPU", 4.0)]), done()),
                (schedule(&[("CPU", 1.0), ("CPU", 8.0)]), refused()),
                (schedule(&[("CPU", 8.0), ("CPU", 3.0)]), placed(1)),
                (schedule(&[("CPU", 2.0)]), refused()),
                (schedule(&[("CPU", 1.0)]), placed(1)),
                (schedule(&[("CPU", 8.0), ("CPU", 0.0)]), placed(1)),
                (schedule(&[("none has it", 1.0), ("none has it", 0.0)]), placed(1)),
                (schedule(&[("none has it", 0.0), ("none has it", 1.0)]), refused()),
            ],
        ),
        (
            "zero is no demand, of whatever",
            vec![
                (schedule(&[]), refused()),
                (add(1, &[]), done()),
                (schedule(&[("none has it", 0.0), ("CPU", 0.00004)]), placed(1)),
            ],
        ),
        (
            "any bytes but 0x0 make a key",
            vec![
                (frame(&add_message(1, &no_text(2.0))), done()),
                (frame(&schedule_message(&no_text(2.0))), placed(1)),
                (frame(&schedule_message(&no_text(1.0))), refused()),
                (add(2, &[("µ-Einheit", 1.0)]), done()),
                (schedule(&[("µ-einheit", 1.0)]), refused()),
                (schedule(&[("µ-Einheit", 1.0)]), placed(2)),
            ],
        ),
        (
            "the longest key",
            vec![
                (add(1, &[(&long_key, 1.0)]), done()),
                (schedule(&[(&long_key[1..], 1.0)]), refused()),
                (schedule(&[(&long_key, 1.0)]), placed(1)),
            ],
        ),
        (
            "a node with a negative amount is there for other demands",
            vec![
                (add(1, &[("CPU", -2.0), ("GPU", 1.0)]), done()),
                (schedule(&[("CPU", 0.0001)]), refused()),
                (schedule(&[("CPU", 1.0), ("GPU", 1.0)]), refused()),
                (schedule(&[("CPU", 0.0), ("GPU", 1.0)]), placed(1)),
            ],
        ),
        (
            "a node with nothing of it",
            vec![
                (add(1, &[("CPU", 0.0)]), done()),
                (schedule(&[("CPU", 0.0001)]), refused()),
                (schedule(&[("CPU", 0.0)]), placed(1)),
            ],
        ),
        (
            "the ends of the range of IDs",
            vec![
                (add(i64::MIN, &[("a", 1.0)]), done()),
                (add(i64::MAX, &[("b", 1.0)]), done()),
                (add(0, &[("c", 1.0)]), done()),
                (schedule(&[("a", 1.0)]), placed(i64::MIN)),
                (schedule(&[("b", 1.0)]), placed(i64::MAX)),
                (schedule(&[("c", 1.0)]), placed(0)),
            ],
        ),
        ("a remove of node -1, which is never there", vec![(remove(-1), done())]),
    ];
    for (name, exchanges) in cases {
        let mut client = server.connect();
        for (number, (request, reply)) in exchanges.iter().enumerate() {
            assert_eq!(client.call(request), *reply, "{name}, request {number}");
        }
        assert_eq!(server.warnings_about(&client.name()), Vec::<String>::new(), "{name}: nothing to complain about");
    }
}

#[test]
fn a_node_may_have_thousands_of_resources() {
    // A node in many placement groups has; an add that is refused would end its raylet.
    let server = Server::start(&["--strict"]);
    let mut client = server.connect();
    let names: Vec<String> = (0..3_000).map(|group| format!("CPU_group_{group}_{group:036x}")).collect();
    let all: Vec<(&str, f64)> = names.iter().map(|name| (name.as_str(), 1.0)).collect();
    client.add(1, &[("CPU", 1.0)]);
    client.add(2, &all);
    assert_eq!(client.place(&[all[0], all[1_500], all[2_999]]), Some(2));
    assert_eq!(client.place(&[all[1_500]]), None);
    assert_eq!(client.place(&[all[1_501]]), Some(2));
    // All of them at once, and again: as many demands as resources.
    client.add(2, &all);
    assert_eq!(client.place(&all), Some(2));
    assert_eq!(client.place(&all[..1]), None);
    client.remove(2);
    assert_eq!(client.place(&all[1..2]), None);
    assert_eq!(client.place(&[("CPU", 1.0)]), Some(1));
}
