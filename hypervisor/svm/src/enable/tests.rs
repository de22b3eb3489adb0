use super::*;

/// A processor as CPUID and VM_CR describe it; reading what it does not have is a failure.
#[derive(Clone, Copy)]
struct Processor {
    max_extended: u32,
    vendor: &'static [u8; 12],
    ecx: u32,
    leaf: [u32; 3],
    vm_cr: Option<u64>,
}

const GOOD: Processor = Processor {
    max_extended: 0x8000_000a,
    vendor: b"AuthenticAMD",
    ecx: 1 << 2,
    leaf: [1, 2, 0],
    vm_cr: Some(0),
};

impl Processor {
    fn cpuid(&self, leaf: u32) -> CpuidResult {
        let word = |at: usize| u32::from_le_bytes(self.vendor[at..at + 4].try_into().expect("four bytes"));
        match leaf {
            0 => CpuidResult {
                eax: 1,
                ebx: word(0),
                edx: word(4),
                ecx: word(8),
            },
            0x8000_0000 => CpuidResult {
                eax: self.max_extended,
                ebx: 0,
                ecx: 0,
                edx: 0,
            },
            0x8000_0001 if self.max_extended >= leaf => CpuidResult {
                eax: 0,
                ebx: 0,
                ecx: self.ecx,
                edx: 0,
            },
            0x8000_000a if self.max_extended >= leaf && self.ecx & 4 != 0 => CpuidResult {
                eax: self.leaf[0],
                ebx: self.leaf[1],
                ecx: 0,
                edx: self.leaf[2],
            },
            _ => panic!("leaf {leaf:#x} was read though it is not there"),
        }
    }

    /// The verdict and the steps with their success.
    fn decide(&self) -> (Result<SvmLeaf, Refusal>, Vec<(&'static str, bool)>) {
        let mut steps = Vec::new();
        let vm_cr = || VmCr::from_bits_retain(self.vm_cr.expect("VM_CR exists"));
        let verdict = decide(
            |leaf| self.cpuid(leaf),
            vm_cr,
            |reading, ok| steps.push((reading.step(), ok)),
        );
        (verdict, steps)
    }

    fn refusal(&self) -> Option<Refusal> {
        let (verdict, steps) = self.decide();
        assert!(
            steps.iter().rev().skip(1).all(|step| step.1),
            "only the last step may fail"
        );
        assert_eq!(steps.last().expect("a step").1, verdict.is_ok());
        verdict.err()
    }
}

#[test]
fn a_good_processor_passes_every_step_in_order() {
    let (verdict, steps) = GOOD.decide();
    assert_eq!(
        verdict,
        Ok(SvmLeaf {
            revision: 1,
            asids: 2,
            features: SvmFeatures::empty()
        })
    );
    let names = [
        "cpuid.max-extended-leaf",
        "cpuid.vendor",
        "cpuid.svm",
        "cpuid.svm-leaf",
        "vm-cr",
    ];
    assert_eq!(steps, names.map(|name| (name, true)));
}

#[test]
fn each_refusal_has_its_boundary() {
    let cases = [
        (
            Processor {
                max_extended: 0x8000_0000,
                ..GOOD
            },
            Refusal::NoExtendedLeaves,
        ),
        (
            Processor {
                max_extended: 0,
                ..GOOD
            },
            Refusal::NoExtendedLeaves,
        ),
        (
            Processor {
                vendor: b"GenuineIntel",
                ..GOOD
            },
            Refusal::Vendor,
        ),
        (
            Processor {
                ecx: !4,
                vm_cr: None,
                ..GOOD
            },
            Refusal::NoSvm,
        ),
        (
            Processor {
                max_extended: 0x8000_0001,
                ecx: 0,
                vm_cr: None,
                ..GOOD
            },
            Refusal::NoSvm,
        ),
        (
            Processor {
                max_extended: 0x8000_0009,
                vm_cr: None,
                ..GOOD
            },
            Refusal::NoSvmLeaf,
        ),
        (
            Processor {
                leaf: [0xffff_ff00, 2, 0],
                vm_cr: None,
                ..GOOD
            },
            Refusal::SvmRevision,
        ),
        (
            Processor {
                leaf: [1, 1, 0],
                vm_cr: None,
                ..GOOD
            },
            Refusal::NoAsids,
        ),
        (
            Processor {
                leaf: [1, 0, 0],
                vm_cr: None,
                ..GOOD
            },
            Refusal::NoAsids,
        ),
        (
            Processor {
                vm_cr: Some(1 << 4),
                ..GOOD
            },
            Refusal::DisabledByFirmware,
        ),
        (
            Processor {
                vm_cr: Some(0x18),
                ..GOOD
            },
            Refusal::DisabledByFirmware,
        ),
        (
            Processor {
                vm_cr: Some(1 << 4),
                leaf: [1, 2, 4],
                ..GOOD
            },
            Refusal::DisabledWithKey,
        ),
    ];
    for (processor, refusal) in cases {
        assert_eq!(processor.refusal(), Some(refusal));
    }
}

#[test]
fn what_is_no_reason_does_not_refuse() {
    let processors = [
        Processor {
            vendor: b"HygonGenuine",
            ..GOOD
        },
        Processor {
            max_extended: 0x8000_0020,
            ..GOOD
        },
        Processor {
            vm_cr: Some(!(1 << 4)),
            ..GOOD
        },
        Processor {
            vm_cr: Some(1 << 3),
            leaf: [1, u32::MAX, 4],
            ..GOOD
        },
    ];
    assert!(processors.iter().all(|processor| processor.refusal().is_none()));
}

#[test]
fn effects_are_believed_when_they_read_back() {
    assert_eq!(confirm_svme(Some(Efer::SVME | Efer::LME)), Ok(()));
    assert_eq!(confirm_svme(Some(Efer::all() - Efer::SVME)), Err(Refusal::EferSvme));
    assert_eq!(confirm_svme(None), Err(Refusal::EferSvme));
    assert_eq!(confirm_hsave_pa(HostPhys(0x1000), Some(HostPhys(0x1000))), Ok(()));
    assert_eq!(
        confirm_hsave_pa(HostPhys(0x1000), Some(HostPhys(0))),
        Err(Refusal::VmHsavePa)
    );
    assert_eq!(confirm_hsave_pa(HostPhys(0), None), Err(Refusal::VmHsavePa));
}

/// The table under "Ending" in docs/protocol.md: this side of the test that the table asks for.
#[test]
fn a_key_is_believed_when_the_lock_is_off() {
    let locked = VmCr::SVMDIS | VmCr::LOCK;
    assert_eq!(judge_key(Some(VmCr::SVMDIS | VmCr::DPD)), Ok(VmCr::DPD));
    assert_eq!(judge_key(Some(locked)), Err(Refusal::Key));
    assert_eq!(judge_key(None), Err(Refusal::Key));
    assert_eq!(confirm_svmdis_clear(Some(VmCr::DPD)), Ok(()));
    assert_eq!(confirm_svmdis_clear(Some(VmCr::SVMDIS)), Err(Refusal::Key));
    assert_eq!(confirm_svmdis_clear(None), Err(Refusal::Key));
}

#[test]
fn outcomes_are_those_of_the_contract() {
    let contract = include_str!("../../../../docs/protocol.md");
    let rows: Vec<(&str, &str)> = contract
        .lines()
        .filter_map(|line| {
            let mut cells = line.split('|').map(str::trim).skip(1);
            let (code, name) = (cells.next()?.strip_suffix('h')?, cells.next()?.trim_matches('`'));
            name.starts_with("refused.").then_some((code, name))
        })
        .collect();
    use Refusal::*;
    let refusals = [
        NoExtendedLeaves,
        Vendor,
        NoSvm,
        NoSvmLeaf,
        SvmRevision,
        NoAsids,
        DisabledByFirmware,
        DisabledWithKey,
        EferSvme,
        VmHsavePa,
        NoNestedPaging,
        Key,
    ];
    let ours = refusals.map(|refusal| (format!("{:X}", refusal.code()), refusal.outcome()));
    assert_eq!(
        rows,
        ours.iter()
            .map(|(code, name)| (code.as_str(), *name))
            .collect::<Vec<_>>()
    );
}

#[test]
fn a_guest_that_needs_nested_paging_gets_it_or_is_refused() {
    let with = SvmFeatures::NP;
    let without = SvmFeatures::all() - SvmFeatures::NP;
    assert_eq!(judge_needs(SvmFeatures::empty(), SvmFeatures::empty()), Ok(()));
    assert_eq!(judge_needs(with, with), Ok(()));
    assert_eq!(judge_needs(with, without), Err(Refusal::NoNestedPaging));
    assert_eq!(
        (Refusal::NoNestedPaging.outcome(), Refusal::NoNestedPaging.code()),
        ("refused.no-nested-paging", 0x2A)
    );
}
