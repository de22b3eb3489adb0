//! How an image can end: docs/protocol.md, "Ending". A test holds this table equal to that page.

macro_rules! outcomes {
    ($($code:literal $name:literal $variant:ident),* $(,)?) => {
        /// How the image ended: a name for people, a code for `isa-debug-exit`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Outcome {
            $(#[doc = $name] $variant = $code,)*
        }

        impl Outcome {
            /// Every outcome, in the order of their codes.
            pub const ALL: &[Outcome] = &[$(Outcome::$variant),*];

            /// The outcome's name, as it stands in records and manifests.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Outcome::$variant => $name,)*
                }
            }
        }
    };
}

outcomes! {
    0x10 "guest-finished" GuestFinished,
    0x11 "guest-halted" GuestHalted,
    0x12 "guest-failed" GuestFailed,
    0x13 "guest-shutdown" GuestShutdown,
    0x14 "guest-memory-violation" GuestMemoryViolation,
    0x15 "unhandled-exit" UnhandledExit,
    0x16 "guest-reset" GuestReset,
    0x20 "refused.no-extended-leaves" NoExtendedLeaves,
    0x21 "refused.vendor" Vendor,
    0x22 "refused.no-svm" NoSvm,
    0x23 "refused.no-svm-leaf" NoSvmLeaf,
    0x24 "refused.svm-revision" SvmRevision,
    0x25 "refused.no-asids" NoAsids,
    0x26 "refused.svm-disabled-by-firmware" DisabledByFirmware,
    0x27 "refused.svm-disabled-with-key" DisabledWithKey,
    0x28 "refused.efer-svme" EferSvme,
    0x29 "refused.vm-hsave-pa" VmHsavePa,
    0x2A "refused.no-nested-paging" NoNestedPaging,
    0x2B "refused.svm-key" Key,
    0x30 "vmrun-invalid" VmrunInvalid,
    0x31 "vmrun-gp" VmrunGp,
    0x38 "bad-command-line" BadCommandLine,
    0x39 "bad-modules" BadModules,
    0x3A "not-enough-memory" NotEnoughMemory,
    0x40 "exception" Exception,
    0x41 "panic" Panic,
    0x50 "program-finished" ProgramFinished,
    0x51 "bad-program" BadProgram,
}

impl Outcome {
    /// The byte written to port F4h.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::path::Path;

    fn ours() -> BTreeMap<u8, String> {
        Outcome::ALL
            .iter()
            .map(|outcome| (outcome.code(), outcome.name().to_owned()))
            .collect()
    }

    #[test]
    fn codes_and_names_are_unique() {
        let names: std::collections::BTreeSet<_> = Outcome::ALL.iter().map(|outcome| outcome.name()).collect();
        assert_eq!(ours().len(), Outcome::ALL.len());
        assert_eq!(names.len(), Outcome::ALL.len());
    }

    #[test]
    fn the_protocol_page_lists_the_same() {
        let page = include_str!("../../../docs/protocol.md");
        let mut listed = BTreeMap::new();
        for line in page.lines().filter(|line| line.starts_with("| ")) {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let Some(code) = cells[1]
                .strip_suffix('h')
                .and_then(|hex| u8::from_str_radix(hex, 16).ok())
            else {
                continue;
            };
            listed.insert(code, cells[2].trim_matches('`').to_owned());
        }
        // The probe's two are told in a sentence.
        assert!(page.contains("50h\n`program-finished`") && page.contains("51h `bad-program`"));
        listed.insert(0x50, "program-finished".to_owned());
        listed.insert(0x51, "bad-program".to_owned());
        assert_eq!(ours(), listed);
    }

    /// The `name` and `exit` of each `[[outcome]]`, read without a TOML library.
    fn manifest_outcomes(text: &str) -> BTreeMap<u8, String> {
        let mut found = BTreeMap::new();
        for block in text.split("[[outcome]]").skip(1) {
            let value = |key: &str| {
                let lines = block.lines().filter_map(|line| line.split_once('='));
                let (_, value) = lines.into_iter().find(|(name, _)| name.trim() == key)?;
                Some(value.trim().trim_matches('"'))
            };
            let code = value("exit").and_then(|exit| u8::from_str_radix(exit.strip_prefix("0x")?, 16).ok());
            if let (Some(name), Some(code)) = (value("name"), code) {
                found.insert(code, name.to_owned());
            }
        }
        found
    }

    #[test]
    fn the_manifest_lists_the_same() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../harness/hypervisors/svmconf.toml");
        let Ok(text) = std::fs::read_to_string(path) else {
            return; // the hypervisor's folder alone, without the harness
        };
        let listed = manifest_outcomes(&text);
        let mut expected = ours();
        // The probe's two are no outcomes of the hypervisor.
        expected.retain(|code, _| *code < Outcome::ProgramFinished.code() || listed.contains_key(code));
        assert_eq!(expected, listed);
    }
}
