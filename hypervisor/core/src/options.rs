//! The command line. docs/protocol.md, "Booting".

use runtime::cmdline::{BadWord, decimal, hexadecimal, pair, words};
use svm::features::SvmFeatures;

use svm::pending::Method;

use crate::defect;
use crate::guests::{self, Image};
use crate::memory::SLOTS;

/// The keys of the words below, with their `=`: a loader's path ends where the first of them begins.
pub const KEYS: &[&str] = &[
    "guest=",
    "count=",
    "npt=",
    "without=",
    "interrupts=",
    "slice=",
    "svm-key=",
    "move-processor=",
    "move-vmcb=",
    "defect=",
];

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
    /// Some that are part of the hypervisor.
    BuiltIn(Images),
    /// One of those, with a whole machine rather than 2 MiB of memory and no devices.
    WholeMachine(&'static Image),
    /// A Linux kernel, which comes as a boot module.
    Linux,
}

/// One guest or several.
#[derive(Clone, Copy)]
pub struct Images {
    images: [&'static Image; SLOTS],
    count: usize,
}

impl Images {
    /// The guest that runs when none is asked for.
    fn one() -> Self {
        Self {
            images: [guests::default(); SLOTS],
            count: 1,
        }
    }

    /// From names with commas between them; `None` if one is unknown, or if they are too many.
    fn parse(names: &str) -> Option<Self> {
        let mut found = Self {
            count: 0,
            ..Self::one()
        };
        for name in names.split(',') {
            *found.images.get_mut(found.count)? = guests::find(name)?;
            found.count += 1;
        }
        Some(found)
    }

    /// In the order in which they were asked for.
    pub fn all(&self) -> &[&'static Image] {
        &self.images[..self.count]
    }
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
    /// How interrupts reach a built-in guest.
    pub interrupts: Method,
    /// How many milliseconds a built-in guest may run while another waits for its turn; 0 for as many as it likes.
    pub slice: u64,
    /// What unlocks SVM where firmware has locked it (15.31).
    pub svm_key: Option<u64>,
    /// When a built-in guest goes elsewhere.
    pub moves: Moves,
}

/// After how many exits a built-in guest moves; 0 for never.
#[derive(Clone, Copy, Default)]
pub struct Moves {
    /// To the other processor.
    pub processor: u64,
    /// With its VMCB into another page.
    pub vmcb: u64,
}

impl Options {
    /// Reads the words of the command line; a word that comes twice counts as it comes last.
    pub fn parse(line: &str) -> Result<Self, BadWord<'_>> {
        let mut options = Self {
            guest: Choice::BuiltIn(Images::one()),
            count: 1000,
            nested_paging: true,
            without: SvmFeatures::empty(),
            interrupts: Method::Inject,
            slice: 0,
            svm_key: None,
            moves: Moves::default(),
        };
        for word in words(line) {
            match pair(word)? {
                ("guest", "linux") => options.guest = Choice::Linux,
                ("guest", names) => {
                    options.guest = match names.strip_prefix(WHOLE_MACHINE) {
                        Some(name) => Choice::WholeMachine(guests::find(name).ok_or(BadWord(word))?),
                        None => Choice::BuiltIn(Images::parse(names).ok_or(BadWord(word))?),
                    };
                }
                ("count", number) => options.count = decimal(word, number)?,
                ("npt", "auto") => options.nested_paging = true,
                ("npt", "off") => options.nested_paging = false,
                ("without", names) => options.without = without(names).ok_or(BadWord(word))?,
                ("interrupts", "inject") => options.interrupts = Method::Inject,
                ("interrupts", "virtual") => options.interrupts = Method::Virtual,
                ("slice", number) => options.slice = decimal(word, number)?,
                ("svm-key", number) => options.svm_key = Some(hexadecimal(word, number)?),
                ("move-processor", number) => options.moves.processor = decimal(word, number)?,
                ("move-vmcb", number) => options.moves.vmcb = decimal(word, number)?,
                ("defect", name) => defect::choose(name).ok_or(BadWord(word))?,
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
