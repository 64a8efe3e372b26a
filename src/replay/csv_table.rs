//! CSV files: rows by column names, and errors that name file, line and column.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use csv::{ErrorKind, Reader, ReaderBuilder, StringRecord, Trim};

use crate::scheduler::amount::Amount;

/// Longest file in bytes. A month of a large cluster is some 10 MB; a path that never ends (a device) must.
const FILE_LENGTH_MAX: u64 = 1 << 30;

/// Columns at most: what is kept for each resource is then bounded.
const COLUMNS_MAX: usize = 256;

/// Most of an amount: the end of the range of Ray's fixed point numbers, and of [`Amount`].
const AMOUNT_MAX: f64 = 9.2e14;

/// Longest time in seconds: 30,000 years, and sums of them are still exact to a millisecond.
const SECONDS_MAX: f64 = 1e12;

/// Most characters of a field, and of the names of all columns, that an error repeats.
const SHOWN_MAX: usize = 40;
const SHOWN_HEADER_MAX: usize = 120;

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    pub file: String,
    pub line: Option<u64>,
    pub column: Option<String>,
    pub message: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ": line {line}")?;
        }
        if let Some(column) = &self.column {
            write!(f, ", column '{column}'")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// A file in memory.
#[derive(Clone, Debug)]
pub struct CsvFile {
    name: String,
    content: Vec<u8>,
}

impl CsvFile {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or is longer than 1 GiB.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let name = path.display().to_string();
        let error = |message: String| FileError { file: name.clone(), line: None, column: None, message };
        let mut content = Vec::new();
        let length = File::open(path)
            .and_then(|file| file.take(FILE_LENGTH_MAX + 1).read_to_end(&mut content))
            .map_err(|cause: io::Error| error(cause.to_string()))?;
        if length as u64 > FILE_LENGTH_MAX {
            return Err(error("longer than 1 GiB".to_owned()));
        }
        Ok(Self { name, content })
    }

    /// A file of this name and content.
    pub fn new(name: &str, content: &str) -> Self {
        Self { name: name.to_owned(), content: content.as_bytes().to_vec() }
    }

    /// Its rows.
    ///
    /// # Errors
    /// When it has no header, or the header names a column twice or not at all.
    pub fn table(&self) -> Result<Table<'_>, FileError> {
        let reader = ReaderBuilder::new()
            .has_headers(false)
            // Lengths are checked here, so that the error can name the column.
            .flexible(true)
            .trim(Trim::All)
            .from_reader(self.content.as_slice());
        let mut table = Table { file: self, header: Vec::new(), reader, record: StringRecord::new() };
        if !table.read()? {
            return Err(table.error_at(1, None, "the file is empty: it needs a line of column names"));
        }
        let line = table.line();
        if table.record.len() > COLUMNS_MAX {
            return Err(table.error_at(line, None, &format!("more than {COLUMNS_MAX} columns")));
        }
        for index in 0..table.record.len() {
            let name = table.record[index].to_owned();
            if name.is_empty() {
                return Err(table.error_at(line, None, &format!("column {} has no name", index + 1)));
            }
            if table.header.contains(&name) {
                return Err(table.error_at(line, Some(&name), "this column is there twice"));
            }
            table.header.push(name);
        }
        Ok(table)
    }
}

/// The rows of a file, one after the other.
#[derive(Debug)]
pub struct Table<'a> {
    file: &'a CsvFile,
    header: Vec<String>,
    reader: Reader<&'a [u8]>,
    record: StringRecord,
}

impl Table<'_> {
    /// The names of the columns.
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// The index of a column.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|column| column == name)
    }

    /// The index of a column.
    ///
    /// # Errors
    /// When it is not there.
    pub fn required_column(&self, name: &str) -> Result<usize, FileError> {
        self.column(name).ok_or_else(|| self.missing_column(name, ""))
    }

    /// An error about a column that is not there. It tells what is, which shows other separators than commas as well.
    pub fn missing_column(&self, name: &str, note: &str) -> FileError {
        let there_is = shown(&self.header.join(","), SHOWN_HEADER_MAX);
        self.error_at(1, Some(name), &format!("this column is missing{note}: there is '{there_is}'"))
    }

    /// Goes to the next row; `false` at the end.
    ///
    /// # Errors
    /// When it has other columns than the header, or is not valid UTF-8.
    pub fn advance(&mut self) -> Result<bool, FileError> {
        if !self.read()? {
            return Ok(false);
        }
        let (fields, columns) = (self.record.len(), self.header.len());
        if let Some(missing) = self.header.get(fields) {
            return Err(self.error_at(self.line(), Some(missing), "the line ends before this column"));
        }
        if fields > columns {
            let message = format!("{fields} fields where the header has {columns}");
            return Err(self.error_at(self.line(), None, &message));
        }
        Ok(true)
    }

    /// A field of the row.
    pub fn field(&self, column: usize) -> &str {
        self.record.get(column).unwrap_or_default()
    }

    /// The beginning of a field of the row, to repeat in an error.
    pub fn shown(&self, column: usize) -> String {
        shown(self.field(column), SHOWN_MAX)
    }

    /// A field of the row as a number that is not negative.
    ///
    /// # Errors
    /// When it is none.
    pub fn number(&self, column: usize) -> Result<f64, FileError> {
        let field = self.field(column);
        let fault = match field.parse::<f64>() {
            Ok(number) if !number.is_finite() => "is not a finite number",
            Ok(number) if number < 0.0 => "is negative: give 0 or more",
            Ok(number) => return Ok(number),
            Err(_) if field.is_empty() => return Err(self.error(column, "there is no number")),
            Err(_) => "is not a number",
        };
        Err(self.error(column, &format!("'{}' {fault}", self.shown(column))))
    }

    /// A field of the row as a time or a duration in seconds.
    ///
    /// # Errors
    /// When it is none, or negative, or above 10^12.
    pub fn seconds(&self, column: usize) -> Result<f64, FileError> {
        let field = self.field(column);
        if !field.is_empty() && field.parse::<f64>().is_err() {
            return Err(self.error(column, &format!("'{}' is not a number of seconds", self.shown(column))));
        }
        let seconds = self.number(column)?;
        if seconds > SECONDS_MAX {
            return Err(self.error(
                column,
                &format!("'{}' seconds are too many: give at most {SECONDS_MAX:e}", self.shown(column)),
            ));
        }
        Ok(seconds)
    }

    /// A field of the row, `scale` to a whole, as an amount.
    ///
    /// # Errors
    /// When it is no number, or negative, or beyond the range of amounts.
    pub fn amount(&self, column: usize, scale: f64) -> Result<Amount, FileError> {
        let amount = self.number(column)? * scale;
        if amount > AMOUNT_MAX {
            let most = AMOUNT_MAX / scale;
            return Err(self.error(column, &format!("'{}' is too large: give at most {most:e}", self.shown(column))));
        }
        Ok(Amount::from_f64(amount))
    }

    /// An error about a field of the row.
    pub fn error(&self, column: usize, message: &str) -> FileError {
        self.error_at(self.line(), self.header.get(column).map(String::as_str), message)
    }

    /// An error about a line.
    pub fn error_at(&self, line: u64, column: Option<&str>, message: &str) -> FileError {
        FileError {
            file: self.file.name.clone(),
            line: Some(line),
            column: column.map(|column| shown(column, SHOWN_MAX)),
            message: message.to_owned(),
        }
    }

    fn read(&mut self) -> Result<bool, FileError> {
        self.reader.read_record(&mut self.record).map_err(|error| {
            let start = error.position().map_or(0, |position| position.byte());
            match error.kind() {
                ErrorKind::Utf8 { err, .. } => {
                    let column = self.header.get(err.field()).map(String::as_str);
                    self.error_at(self.line_at(start), column, "this is not valid UTF-8: save the file as such")
                }
                _ => self.error_at(self.line_at(start), None, &error.to_string()),
            }
        })
    }

    /// The line of the row.
    fn line(&self) -> u64 {
        self.line_at(self.record.position().map_or(0, |position| position.byte()))
    }

    /// The line of the row that starts at a byte or after the empty lines there, which the reader has passed over.
    fn line_at(&self, byte: u64) -> u64 {
        let content = &self.file.content;
        let byte = (byte as usize).min(content.len());
        let empty = content[byte..].iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
        let before = &content[..byte + empty];
        1 + before.iter().filter(|&&byte| byte == b'\n').count() as u64
    }
}

/// The beginning of a text, in one line and without what a terminal would obey.
fn shown(text: &str, characters_max: usize) -> String {
    let mut shown = String::new();
    for character in text.chars().take(characters_max) {
        match character.is_control() {
            true => shown.extend(character.escape_debug()),
            false => shown.push(character),
        }
    }
    if text.chars().nth(characters_max).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first error that reading every field as an amount gives.
    fn first_error(content: &str) -> Option<String> {
        let file = CsvFile::new("x.csv", content);
        let read = || -> Result<(), FileError> {
            let mut table = file.table()?;
            while table.advance()? {
                for column in 0..table.header().len() {
                    table.amount(column, 1.0)?;
                }
            }
            Ok(())
        };
        read().err().map(|error| error.to_string())
    }

    #[test]
    fn errors_name_file_line_and_column() {
        let cases = [
            ("", "x.csv: line 1: the file is empty: it needs a line of column names"),
            ("\n\n", "x.csv: line 1: the file is empty: it needs a line of column names"),
            ("a,,b\n", "x.csv: line 1: column 2 has no name"),
            ("a,b,a\n", "x.csv: line 1, column 'a': this column is there twice"),
            ("a,b\n1,2\n1\n", "x.csv: line 3, column 'b': the line ends before this column"),
            ("a,b\n1,2,3\n", "x.csv: line 2: 3 fields where the header has 2"),
            ("a,b\n1,two\n", "x.csv: line 2, column 'b': 'two' is not a number"),
            ("a,b\n1,\n", "x.csv: line 2, column 'b': there is no number"),
            ("a,b\n-1,2\n", "x.csv: line 2, column 'a': '-1' is negative: give 0 or more"),
            ("a,b\nNaN,2\n", "x.csv: line 2, column 'a': 'NaN' is not a finite number"),
            ("a,b\n1,inf\n", "x.csv: line 2, column 'b': 'inf' is not a finite number"),
            ("a,b\n1,1e999\n", "x.csv: line 2, column 'b': '1e999' is not a finite number"),
            ("a,b\n1,1e15\n", "x.csv: line 2, column 'b': '1e15' is too large: give at most 9.2e14"),
            ("a,b\r\n1,2\r\n\r\n\r\n1,x\r\n", "x.csv: line 5, column 'b': 'x' is not a number"),
            ("\n\na,b\n\n\n1,2\n\n1,x", "x.csv: line 8, column 'b': 'x' is not a number"),
            ("a,b\n\"1\n\",2\n1,x\n", "x.csv: line 4, column 'b': 'x' is not a number"),
            // A quote that nothing closes, and what would colour a terminal.
            ("a,b\n1,\"2\n3,4\n", "x.csv: line 2, column 'b': '2\\n3,4' is not a number"),
            ("a,b\n1,\u{1b}[31m\n", "x.csv: line 2, column 'b': '\\u{1b}[31m' is not a number"),
        ];
        for (content, expected) in cases {
            assert_eq!(first_error(content).as_deref(), Some(expected), "{content:?}");
        }
        assert_eq!(first_error("\u{feff}a , b\n 1 ,\"2\"\n"), None);
        assert_eq!(first_error(&"a".repeat(100)), None);
        let long = first_error(&format!("a\n{}\n", "µ".repeat(41)));
        assert_eq!(long, Some(format!("x.csv: line 2, column 'a': '{}…' is not a number", "µ".repeat(40))));
    }

    #[test]
    fn bytes_that_are_no_text_are_an_error() {
        let file = CsvFile { name: "x.csv".to_owned(), content: b"a,b\n1,2\n1,\xff\n".to_vec() };
        let mut table = file.table().unwrap();
        assert_eq!(table.advance(), Ok(true));
        let error = table.advance().unwrap_err();
        assert_eq!(error.to_string(), "x.csv: line 3, column 'b': this is not valid UTF-8: save the file as such");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let missing = CsvFile::read(Path::new("no-such-file.csv")).unwrap_err();
        assert!(missing.to_string().starts_with("no-such-file.csv: "), "{missing}");
    }
}
