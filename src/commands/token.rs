//! Files that hold a token.

use std::path::Path;

use super::CommandError;

/// As many bytes as a hello can carry.
const TOKEN_LENGTH_MAX: usize = u16::MAX as usize;

/// Reads the token from a file; the white space around it does not count.
pub fn read(path: &Path) -> Result<Vec<u8>, CommandError> {
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|error| CommandError::failure(format!("cannot read {shown}"), error))?;
    match bytes.trim_ascii() {
        [] => Err(CommandError::Failure(format!("{shown} is empty: a token has at least one byte"))),
        token if token.len() > TOKEN_LENGTH_MAX => {
            Err(CommandError::Failure(format!("{shown}: a token has at most {TOKEN_LENGTH_MAX} bytes")))
        }
        token => Ok(token.to_vec()),
    }
}
