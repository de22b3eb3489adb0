//! The command line. docs/protocol.md, "Booting".

use runtime::cmdline::{BadWord, decimal, pair, words};

use crate::guests::{self, Image};

/// The keys of the words below, with their `=`: a loader's path ends where the first of them begins.
pub const KEYS: &[&str] = &["guest=", "count=", "npt="];

/// What the command line asks for.
pub struct Options {
    /// The guest to run.
    pub guest: &'static Image,
    /// What the guest finds as its count.
    pub count: u64,
    /// Whether nested paging may be used when it is offered.
    pub nested_paging: bool,
}

impl Options {
    /// Reads the words of the command line; a word that comes twice counts as it comes last.
    pub fn parse(line: &str) -> Result<Self, BadWord<'_>> {
        let mut options = Self {
            guest: &guests::ALL[0],
            count: 1000,
            nested_paging: true,
        };
        for word in words(line) {
            match pair(word)? {
                ("guest", name) => options.guest = guests::find(name).ok_or(BadWord(word))?,
                ("count", number) => options.count = decimal(word, number)?,
                ("npt", "auto") => options.nested_paging = true,
                ("npt", "off") => options.nested_paging = false,
                _ => return Err(BadWord(word)),
            }
        }
        Ok(options)
    }
}
