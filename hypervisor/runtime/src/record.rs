//! Records: what an image tells the harness, one a line. docs/protocol.md, "Records", is the contract.
//!
//! This module only writes the line; [`crate::console`] numbers it and sends it.

use core::fmt::{self, Write};

/// A record's line, with everything around the body, is at most this long.
pub const MAX_LENGTH: usize = 1024;
/// Between people's lines and records there is no doubt: a record begins so.
pub const PREFIX: &str = "@rec ";
/// What stands around the body: the prefix, two numbers of fixed width, the newline, and the longest SEQ.
const FRAME: usize = PREFIX.len() + "LLLL CCCCCCCC ".len() + 1 + MAX_SEQUENCE;
const MAX_SEQUENCE: usize = 11;
const MAX_BODY: usize = MAX_LENGTH - FRAME;

/// A record under construction: a kind, then `key=value` pairs in the order in which they are added.
///
/// A string that does not fit is cut; any other pair that does not fit is left out whole.
pub struct Record {
    body: Line<MAX_BODY>,
}

impl Record {
    /// Begins a record.
    pub fn new(kind: &str) -> Self {
        debug_assert!(
            kind.bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-'))
        );
        let mut body = Line::new();
        body.push_all(kind.as_bytes());
        Self { body }
    }

    /// Adds an integer.
    #[must_use]
    pub fn hex(mut self, key: &str, value: u64) -> Self {
        self.pair(key, format_args!("{value:#x}"));
        self
    }

    /// Adds yes (0x1) or no (0x0).
    #[must_use]
    pub fn flag(self, key: &str, value: bool) -> Self {
        self.hex(key, value.into())
    }

    /// Adds a bare word; what is not one is added as a string.
    #[must_use]
    pub fn word(mut self, key: &str, value: &str) -> Self {
        let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"._:+-".contains(&byte);
        if value.is_empty() || !value.bytes().all(bare) {
            return self.text(key, value.as_bytes());
        }
        self.pair(key, format_args!("{value}"));
        self
    }

    /// Adds a string, cut where the record is full.
    #[must_use]
    pub fn text(mut self, key: &str, value: &[u8]) -> Self {
        const LONGEST_ESCAPE: usize = "\\x00".len();
        if self.body.room() < key.len() + " =\"\"".len() {
            return self;
        }
        let _ = write!(self.body, " {key}=\"");
        for &byte in value {
            if self.body.room() < LONGEST_ESCAPE + 1 {
                break;
            }
            match byte {
                b'"' | b'\\' => {
                    let _ = write!(self.body, "\\x{byte:02x}");
                }
                0x20..=0x7E => {
                    self.body.push_all(&[byte]);
                }
                _ => {
                    let _ = write!(self.body, "\\x{byte:02x}");
                }
            }
        }
        self.body.push_all(b"\"");
        self
    }

    /// Adds what a format string makes, as a string; its first 256 bytes at most.
    #[must_use]
    pub fn format(self, key: &str, value: fmt::Arguments) -> Self {
        let mut text = Line::<256>::new();
        let _ = text.write_fmt(value);
        self.text(key, text.bytes())
    }

    /// The whole line, newline included, as record number `sequence`.
    pub fn line(&self, sequence: u32) -> Line<MAX_LENGTH> {
        let mut numbered = Line::<MAX_LENGTH>::new();
        let _ = write!(numbered, "{sequence} ");
        numbered.push_all(self.body.bytes());
        let mut line = Line::new();
        let _ = write!(
            line,
            "{PREFIX}{:04} {:08x} ",
            numbered.bytes().len(),
            crc32fast::hash(numbered.bytes())
        );
        line.push_all(numbered.bytes());
        line.push_all(b"\n");
        line
    }

    fn pair(&mut self, key: &str, value: fmt::Arguments) {
        let before = self.body.length;
        if write!(self.body, " {key}={value}").is_err() {
            self.body.length = before;
        }
    }
}

/// A buffer of fixed size to format into; what does not fit is cut off, and for a formatter that is an error.
pub struct Line<const N: usize> {
    buffer: [u8; N],
    length: usize,
}

impl<const N: usize> Line<N> {
    /// An empty line.
    pub const fn new() -> Self {
        Self {
            buffer: [0; N],
            length: 0,
        }
    }

    /// What was written so far.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    /// How many bytes still fit.
    pub fn room(&self) -> usize {
        N - self.length
    }

    /// Adds bytes, as many as fit; false if those were not all.
    pub fn push_all(&mut self, bytes: &[u8]) -> bool {
        let count = bytes.len().min(self.room());
        self.buffer[self.length..self.length + count].copy_from_slice(&bytes[..count]);
        self.length += count;
        count == bytes.len()
    }

    /// Forgets what was written.
    pub fn clear(&mut self) {
        self.length = 0;
    }
}

impl<const N: usize> Default for Line<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Write for Line<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.push_all(text.as_bytes()) {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(record: &Record, sequence: u32) -> String {
        String::from_utf8(record.line(sequence).bytes().to_vec()).unwrap()
    }

    #[test]
    fn a_record_reads_as_the_protocol_says() {
        let record = Record::new("step")
            .word("name", "cpuid.vendor")
            .flag("ok", true)
            .text("vendor", b"AuthenticAMD");
        let line = line(&record, 7);
        let body = "7 step name=cpuid.vendor ok=0x1 vendor=\"AuthenticAMD\"";
        assert_eq!(
            line,
            format!(
                "@rec {:04} {:08x} {body}\n",
                body.len(),
                crc32fast::hash(body.as_bytes())
            )
        );
    }

    #[test]
    fn the_checksum_is_the_one_of_zip() {
        assert_eq!(crc32fast::hash(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn strings_are_escaped() {
        let record = Record::new("guest.print").text("text", b"a \"b\" \\ \n\xFF~");
        assert!(line(&record, 1).ends_with(" text=\"a \\x22b\\x22 \\x5c \\x0a\\xff~\"\n"));
    }

    #[test]
    fn what_is_no_bare_word_becomes_a_string() {
        assert!(line(&Record::new("boot").word("defect", "a b"), 1).ends_with(" defect=\"a b\"\n"));
        assert!(line(&Record::new("boot").word("defect", ""), 1).ends_with(" defect=\"\"\n"));
        assert!(line(&Record::new("boot").word("version", "0.1.0+x"), 1).ends_with(" version=0.1.0+x\n"));
    }

    #[test]
    fn a_piece_that_does_not_fit_is_cut() {
        let mut full = Line::<6>::new();
        assert!(write!(full, "{}{}{}", 1234, 5678, 9).is_err());
        assert_eq!(full.bytes(), b"123456");
        let long = "m".repeat(300);
        let record = Record::new("panic").format("message", format_args!("at {long} end"));
        let cut = "m".repeat(256 - "at ".len());
        assert!(line(&record, 1).ends_with(&format!(" message=\"at {cut}\"\n")));
        // But half a number would be a wrong number.
        let mut record = Record::new("k").text("t", &[b'a'; MAX_BODY - 20]);
        record = record.hex("number", u64::MAX);
        assert!(line(&record, 1).ends_with("a\"\n"));
    }

    #[test]
    fn a_full_record_is_cut_and_stays_well_formed() {
        let record = Record::new("guest.print")
            .text("text", &[0xFF; 2000])
            .hex("late", u64::MAX);
        let line = line(&record, u32::MAX);
        assert!(line.len() <= MAX_LENGTH, "{}", line.len());
        assert!(line.ends_with("\\xff\"\n"), "{line}");
        assert!(!line.contains("late"));
    }
}
