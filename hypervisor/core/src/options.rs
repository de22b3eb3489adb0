//! The command line. docs/protocol.md, "Booting".

use runtime::cmdline::{BadWord, decimal, pair, words};
use svm::features::SvmFeatures;

use crate::guests::{self, Image};

/// The keys of the words below, with their `=`: a loader's path ends where the first of them begins.
pub const KEYS: &[&str] = &["guest=", "count=", "npt=", "without="];

/// Parts of SVM that can be done without, by their names on the command line: README.md, "What of SVM is used".
const OPTIONAL: &[(&str, SvmFeatures)] = &[
    ("nrips", SvmFeatures::NRIPS),
    ("decode-assists", SvmFeatures::DECODE_ASSISTS),
    ("clean-bits", SvmFeatures::VMCB_CLEAN),
    ("flush-by-asid", SvmFeatures::FLUSH_BY_ASID),
    ("pause-filter", SvmFeatures::PAUSE_FILTER),
    ("pause-threshold", SvmFeatures::PAUSE_FILTER_THRESHOLD),
    ("lbr", SvmFeatures::LBR_VIRT),
];

/// What stands before the name of a built-in guest that gets a whole machine.
const WHOLE_MACHINE: &str = "pc.";

/// Which guest.
#[derive(Clone, Copy)]
pub enum Choice {
    /// One that is part of the hypervisor.
    BuiltIn(&'static Image),
    /// One of those, with a whole machine rather than 2 MiB of memory and no devices.
    WholeMachine(&'static Image),
    /// A Linux kernel, which comes as a boot module.
    Linux,
}

/// What the command line asks for.
pub struct Options {
    /// The guest to run.
    pub guest: Choice,
    /// What the guest finds as its count.
    pub count: u64,
    /// Whether nested paging may be used when it is offered.
    pub nested_paging: bool,
    /// What is not used although the processor offers it.
    pub without: SvmFeatures,
}

impl Options {
    /// Reads the words of the command line; a word that comes twice counts as it comes last.
    pub fn parse(line: &str) -> Result<Self, BadWord<'_>> {
        let mut options = Self {
            guest: Choice::BuiltIn(&guests::ALL[0]),
            count: 1000,
            nested_paging: true,
            without: SvmFeatures::empty(),
        };
        for word in words(line) {
            match pair(word)? {
                ("guest", "linux") => options.guest = Choice::Linux,
                ("guest", name) => {
                    let (small, whole_machine) = match name.strip_prefix(WHOLE_MACHINE) {
                        Some(small) => (small, true),
                        None => (name, false),
                    };
                    let image = guests::find(small).ok_or(BadWord(word))?;
                    options.guest = if whole_machine {
                        Choice::WholeMachine(image)
                    } else {
                        Choice::BuiltIn(image)
                    };
                }
                ("count", number) => options.count = decimal(word, number)?,
                ("npt", "auto") => options.nested_paging = true,
                ("npt", "off") => options.nested_paging = false,
                ("without", names) => options.without = without(names).ok_or(BadWord(word))?,
                _ => return Err(BadWord(word)),
            }
        }
        Ok(options)
    }
}

/// Names with commas between them.
fn without(names: &str) -> Option<SvmFeatures> {
    let feature = |name| {
        OPTIONAL
            .iter()
            .find(|(known, _)| *known == name)
            .map(|&(_, feature)| feature)
    };
    names.split(',').map(feature).collect()
}
