//! Whole connections with the scheduler behind them: any bytes, in any pieces, over several connections that may share
//! views, end and come back, while time passes.

use super::checked::Checked;

/// The first two bytes are the [`Checked::new`] ones. Then come events, a byte each: its low two bits are a connection, the
/// others how many bytes of the input the connection sends now, or one of these.
pub fn check(bytes: &[u8]) {
    let [policy, options, rest @ ..] = bytes else { return };
    let mut checked = Checked::new(*policy, *options);
    let mut rest = rest;
    while let Some((&event, after)) = rest.split_first() {
        let connection = usize::from(event & 3);
        let length = match event >> 2 {
            END => {
                checked.end(connection);
                0
            }
            PAUSE => {
                checked.pass_half_a_lease();
                0
            }
            ALL => after.len(),
            length => usize::from(length) + 1,
        };
        let (piece, after) = after.split_at(length.min(after.len()));
        checked.send(connection, piece);
        rest = after;
    }
    checked.finish();
}

/// The connection ends.
const END: u8 = 61;
/// Half a lease passes.
const PAUSE: u8 = 62;
/// The connection sends all that is left of the input.
const ALL: u8 = 63;
