//! Messages, written out byte by byte.

/// Reply to an add or a remove.
pub const DONE: &[u8] = &[0];

/// Reply to a malformed request, or to a demand that fits nowhere.
pub const REFUSED: &[u8] = &[1];

/// Reply to a demand that is placed.
pub fn placed(node: i64) -> Vec<u8> {
    [&[0], &node.to_le_bytes()[..]].concat()
}

/// A frame that announces `length` bytes and holds `body`.
pub fn announce(length: i64, body: &[u8]) -> Vec<u8> {
    [&length.to_le_bytes()[..], body].concat()
}

/// The frame of a message.
pub fn frame(message: &[u8]) -> Vec<u8> {
    announce(message.len() as i64, message)
}

/// One entry of a list of resources.
pub fn resource(key: &[u8], amount: f64) -> Vec<u8> {
    [key, &[0], &amount.to_le_bytes()].concat()
}

/// A list of resources.
pub fn resources(list: &[(&str, f64)]) -> Vec<u8> {
    list.iter().flat_map(|(key, amount)| resource(key.as_bytes(), *amount)).collect()
}

/// The message of an add, its list of resources as bytes.
pub fn add_message(node: i64, resources: &[u8]) -> Vec<u8> {
    [&[0], &node.to_le_bytes()[..], resources].concat()
}

/// The frame of an add.
pub fn add(node: i64, list: &[(&str, f64)]) -> Vec<u8> {
    frame(&add_message(node, &resources(list)))
}

/// The frame of a remove.
pub fn remove(node: i64) -> Vec<u8> {
    frame(&[&[1], &node.to_le_bytes()[..]].concat())
}

/// The message of a schedule, its list of resources as bytes.
pub fn schedule_message(resources: &[u8]) -> Vec<u8> {
    [&[2], resources].concat()
}

/// The frame of a schedule.
pub fn schedule(list: &[(&str, f64)]) -> Vec<u8> {
    frame(&schedule_message(&resources(list)))
}

/// The bytes that a text of hexadecimal digits stands for.
pub fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().map(|digit| digit.to_digit(16).expect("a hexadecimal digit") as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
