//! CPUID: the processor's answer, less what the guest cannot have (APM vol. 3, appendix E).

use core::arch::x86_64::CpuidResult;

use svm::regs::Cr4;

/// EBX, ECX, EDX of Fn4000_0000: who we are.
const SIGNATURE: [u32; 3] = [
    u32::from_le_bytes(*b"svmc"),
    u32::from_le_bytes(*b"onf "),
    u32::from_le_bytes(*b"hv  "),
];

/// Fn0000_0001_ECX: MONITOR (no exit could tell a guest that waits from one that is dead), VMX and SMX (not AMD's).
const HIDDEN_1_ECX: u32 = 1 << 3 | 1 << 5 | 1 << 6;
/// Fn0000_0001_ECX: follows CR4.OSXSAVE, and CPUID executed by the host tells the host's.
const OSXSAVE: u32 = 1 << 27;
/// Fn0000_0001_ECX: there is a hypervisor.
const HYPERVISOR: u32 = 1 << 31;
/// Fn0000_0007_ECX_x0: follows CR4.PKE.
const OSPKE: u32 = 1 << 4;
/// Fn8000_0001_ECX: SVM and SKINIT (the guest is no hypervisor), IBS and LWP (they store to memory by themselves),
/// MONITORX (as MONITOR).
const HIDDEN_81_ECX: u32 = 1 << 2 | 1 << 10 | 1 << 12 | 1 << 15 | 1 << 29;
/// Fn8000_0008_EBX: RDPRU and MCOMMIT, which are intercepted or depend on EFER bits that the guest cannot set, and
/// INVLPGB, which would need VMCB bits of its own.
const HIDDEN_88_EBX: u32 = 1 << 3 | 1 << 4 | 1 << 8;

const NOTHING: CpuidResult = CpuidResult {
    eax: 0,
    ebx: 0,
    ecx: 0,
    edx: 0,
};

/// What the guest is told. `host` is what the processor answers; `cr4` is the guest's.
#[must_use]
#[inline]
pub fn answer(function: u32, subfunction: u32, host: CpuidResult, cr4: Cr4) -> CpuidResult {
    match function {
        1 => {
            let mut ecx = host.ecx & !(HIDDEN_1_ECX | OSXSAVE) | HYPERVISOR;
            if cr4.contains(Cr4::OSXSAVE) {
                ecx |= OSXSAVE;
            }
            CpuidResult { ecx, ..host }
        }
        7 if subfunction == 0 => {
            let mut ecx = host.ecx & !OSPKE;
            if cr4.contains(Cr4::PKE) {
                ecx |= OSPKE;
            }
            CpuidResult { ecx, ..host }
        }
        0x4000_0000 => CpuidResult {
            eax: function,
            ebx: SIGNATURE[0],
            ecx: SIGNATURE[1],
            edx: SIGNATURE[2],
        },
        // The rest of what is set aside for hypervisors: whatever ran us is not the guest's.
        0x4000_0001..=0x4FFF_FFFF => NOTHING,
        0x8000_0001 => CpuidResult {
            ecx: host.ecx & !HIDDEN_81_ECX,
            ..host
        },
        0x8000_0008 => CpuidResult {
            ebx: host.ebx & !HIDDEN_88_EBX,
            ..host
        },
        // SVM; IBS; LWP; encrypted memory, which only a hypervisor sets up.
        0x8000_000A | 0x8000_001B | 0x8000_001C | 0x8000_001F => NOTHING,
        _ => host,
    }
}

/// What CPUID is asked, with all that the answer depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    function: u32,
    subfunction: u32,
    cr4: Cr4,
}

impl Question {
    /// EAX, ECX and the guest's CR4.
    #[must_use]
    #[inline]
    pub fn new(function: u32, subfunction: u32, cr4: Cr4) -> Self {
        const FOLLOWED: Cr4 = Cr4::OSXSAVE.union(Cr4::PKE);
        Self {
            function,
            subfunction,
            cr4: cr4 & FOLLOWED,
        }
    }

    /// Whether the answer may change for a reason that nobody tells: Fn0000_000D follows XCR0 and XSS.
    const fn is_fickle(self) -> bool {
        self.function == 0xD
    }

    /// What nobody asks: CR4 has other bits.
    const NONE: Self = Self {
        function: 0,
        subfunction: 0,
        cr4: Cr4::all(),
    };

    /// Where its answer is kept: a number that was tried out to keep the leaves apart that are asked for most.
    const fn place(self) -> usize {
        const SPREAD: u32 = 0xbc45_88f5;
        (self.function.wrapping_mul(SPREAD) >> (u32::BITS - PLACES.ilog2())) as usize
    }
}

const PLACES: usize = 32;

/// One processor's answers: the policy is asked once for each question, and so is the host's CPUID, which exits itself
/// where the host is a guest.
///
/// Of what the guest can change by itself they depend on CR4, which is part of the question, and on APIC_BASE
/// (Fn0000_0001_EDX\[APIC\]), whose writes are emulated: [`Answers::forget`] then.
pub struct Answers([(Question, CpuidResult); PLACES]);

impl Default for Answers {
    fn default() -> Self {
        Self([(Question::NONE, NOTHING); PLACES])
    }
}

impl Answers {
    /// What was answered the last time.
    #[must_use]
    #[inline]
    pub fn recall(&self, question: Question) -> Option<&CpuidResult> {
        let (known, told) = &self.0[question.place()];
        (*known == question).then_some(told)
    }

    /// Keeps an answer, unless it may change.
    pub fn keep(&mut self, question: Question, told: CpuidResult) {
        if !question.is_fickle() {
            self.0[question.place()] = (question, told);
        }
    }

    /// The APIC was switched on or off.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: CpuidResult = CpuidResult {
        eax: !0,
        ebx: !0,
        ecx: !0,
        edx: !0,
    };

    #[test]
    fn svm_is_hidden_and_a_hypervisor_is_there() {
        assert_eq!(answer(0x8000_0001, 0, ALL, Cr4::empty()).ecx & (1 << 2 | 1 << 12), 0);
        assert_eq!(answer(0x8000_000A, 0, ALL, Cr4::empty()), NOTHING);
        assert_ne!(answer(1, 0, NOTHING, Cr4::empty()).ecx & HYPERVISOR, 0);
        assert_eq!(answer(0x4000_0000, 0, ALL, Cr4::empty()).eax, 0x4000_0000);
        assert_eq!(answer(0x4000_0001, 0, ALL, Cr4::empty()), NOTHING);
    }

    #[test]
    fn bits_that_follow_cr4_follow_the_guests() {
        let osxsave = |host, cr4| answer(1, 0, host, cr4).ecx & OSXSAVE != 0;
        assert!(!osxsave(ALL, Cr4::empty()) && osxsave(NOTHING, Cr4::OSXSAVE));
        let ospke = |host, cr4| answer(7, 0, host, cr4).ecx & OSPKE != 0;
        assert!(!ospke(ALL, Cr4::empty()) && ospke(NOTHING, Cr4::PKE));
        assert_eq!(answer(7, 1, ALL, Cr4::empty()), ALL);
    }

    #[test]
    fn what_nobody_minds_is_passed() {
        for leaf in [0, 2, 0xD, 0x15, 0x8000_0000, 0x8000_0002, 0x8000_001E] {
            assert_eq!(answer(leaf, 0, ALL, Cr4::empty()), ALL);
        }
    }

    #[test]
    fn an_answer_is_that_of_the_same_question() {
        let ask = |function, subfunction, cr4| Question::new(function, subfunction, cr4);
        let mut answers = Answers::default();
        answers.keep(ask(1, 0, Cr4::empty()), ALL);
        assert_eq!(answers.recall(ask(1, 0, Cr4::PAE)), Some(&ALL), "CR4.PAE has no say");
        for other in [
            ask(1, 0, Cr4::OSXSAVE),
            ask(1, 1, Cr4::empty()),
            ask(17, 0, Cr4::empty()),
        ] {
            assert_eq!(answers.recall(other), None, "{other:?}");
        }
        answers.forget();
        assert_eq!(answers.recall(ask(1, 0, Cr4::empty())), None);
        assert_eq!(
            answers.recall(ask(0, 0, Cr4::empty())),
            None,
            "nothing was answered yet"
        );
    }

    #[test]
    fn leaves_that_are_asked_for_most_have_places_of_their_own() {
        let leaves = [
            0,
            1,
            7,
            0xB,
            0xD,
            0x4000_0000,
            0x8000_0000,
            0x8000_0001,
            0x8000_0008,
            0x8000_001D,
            0x8000_001E,
        ];
        let places = leaves.map(|leaf| Question::new(leaf, 0, Cr4::empty()).place());
        assert!(
            (1..places.len()).all(|n| !places[..n].contains(&places[n])),
            "{places:?}"
        );
    }

    #[test]
    fn answers_that_follow_xcr0_are_not_kept() {
        let mut answers = Answers::default();
        let question = Question::new(0xD, 0, Cr4::empty());
        answers.keep(question, ALL);
        assert_eq!(answers.recall(question), None);
    }
}
