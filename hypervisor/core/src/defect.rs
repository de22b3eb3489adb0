//! Seeded defects: deliberate mistakes, in an image with the Cargo feature `defects`, never a default. docs/defects.md.
//!
//! Each is a constant, so a site reads `if defect::NAME.is_on()`; without the feature the compiler removes it. With it the
//! word `defect=NAME` of the command line chooses one, and the image tells at its end which of them it came by: to choose
//! another than those would have changed nothing.

/// One mistake, by its place in [`NAMES`].
#[derive(Clone, Copy)]
pub struct Defect(usize);

macro_rules! defects {
    ($($name:ident = $word:literal),* $(,)?) => {
        /// To count them.
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        enum Place { $($name),* }

        $(#[doc = concat!("`defect=", $word, "`.")] pub const $name: Defect = Defect(Place::$name as usize);)*

        #[cfg(feature = "defects")]
        const NAMES: &[&str] = &[$($word),*];
    };
}

defects! {
    VENDOR_UNCHECKED = "vendor-unchecked",
    SVM_BIT_UNCHECKED = "svm-bit-unchecked",
    SVM_UNCHECKED = "svm-unchecked",
    VM_CR_UNREAD = "vm-cr-unread",
    SVMDIS_IGNORED = "svmdis-ignored",
    SVML_IGNORED = "svml-ignored",
    SVML_ASSUMED = "svml-assumed",
    VM_CR_ANY_BIT = "vm-cr-any-bit",
    SVME_TOO_EARLY = "svme-too-early",
    SVME_LEFT_ON = "svme-left-on",
    HSAVE_TOO_EARLY = "hsave-too-early",
    HSAVE_LATE = "hsave-late",
    HSAVE_UNALIGNED = "hsave-unaligned",
    HSAVE_SHARED = "hsave-shared",
    HSAVE_READ = "hsave-read",
    HSAVE_WRITTEN = "hsave-written",
    HSAVE_MAPPED = "hsave-mapped",
    BAD_RAX = "bad-rax",
    RAX_BEYOND = "rax-beyond",
    NO_VMRUN_INTERCEPT = "no-vmrun-intercept",
    ASID_ZERO = "asid-zero",
    ILLEGAL_CR0 = "illegal-cr0",
    // In asm/world.asm, where CLGI is.
    GIF_SET = "gif-set",
    SVM_VISIBLE = "svm-visible",
    EFER_VISIBLE = "efer-visible",
    VM_CR_READABLE = "vm-cr-readable",
    HSAVE_READABLE = "hsave-readable",
    SVM_INSN_SKIPPED = "svm-insn-skipped",
    CPL3_GP = "cpl3-gp",
    A20_PASSED = "a20-passed",
    A20_CLAIMED = "a20-claimed",
    INIT_PASSED = "init-passed",
    HALT_PASSED = "halt-passed",
    SHUTDOWN_UNNAMED = "shutdown-unnamed",
    NPT_ASSUMED = "npt-assumed",
    NMI_DROPPED = "nmi-dropped",
    REGISTER_OVERLOOKED = "register-overlooked",
    EXIT_PORT_PASSED = "exit-port-passed",
    WALK_UNBOUNDED = "walk-unbounded",
    MEMORY_OFFERED = "memory-offered",
    HYPERVISOR_MAPPED = "hypervisor-mapped",
    MAP_CHANGED = "map-changed",
    REGISTER_LOST = "register-lost",
    MSR_REFUSED = "msr-refused",
    POWER_OFF_MISNAMED = "power-off-misnamed",
    VMCB_DIRTY = "vmcb-dirty",
    GDTR_ATTRIBUTES = "gdtr-attributes",
    NULL_ATTRIBUTES = "null-attributes",
    LIMIT_IN_PAGES = "limit-in-pages",
    CS_DPL = "cs-dpl",
    ABSENT_FEATURE = "absent-feature",
    EVENT_RESERVED = "event-reserved",
    USER_HYPERCALLS = "user-hypercalls",
    VECTOR_9_INTERCEPTED = "vector-9-intercepted",
    UNCACHED = "uncached",
    GDT_READ_ONLY = "gdt-read-only",
    MTRR_WRITABLE = "mtrr-writable",
    PAT_WRITABLE = "pat-writable",
    PAGE_FAULTS_PASSED = "page-faults-passed",
    HSAVE_BORROWED = "hsave-borrowed",
    ROOM_MAPPED = "room-mapped",
    CPL_FROM_DPL = "cpl-from-dpl",
    CLEAN_LIES = "clean-lies",
    CLEAN_AT_FIRST = "clean-at-first",
    CLEAN_UNKNOWN = "clean-unknown",
    FLUSH_MISSED = "flush-missed",
    INTERCEPTED_FLUSH_MISSED = "intercepted-flush-missed",
    FLUSH_RESERVED = "flush-reserved",
    FLUSH_ALL = "flush-all",
    LENGTH_ASSUMED = "length-assumed",
    STALE_CODE = "stale-code",
    SHADOW_KEPT = "shadow-kept",
    TPR_WHOLE = "tpr-whole",
    INTERRUPT_FORCED = "interrupt-forced",
    NMI_NESTED = "nmi-nested",
    EVENT_LOST = "event-lost",
    SOFTWARE_INTERRUPT_INJECTED = "software-interrupt-injected",
    SOFTWARE_INTERRUPT_LOST = "software-interrupt-lost",
    FAULTS_NOT_COMBINED = "faults-not-combined",
    CR2_LOST = "cr2-lost",
    ASID_UNFLUSHED = "asid-unflushed",
    ASID_BEYOND = "asid-beyond",
    BREAKPOINTS_SHARED = "breakpoints-shared",
    // In asm/world.asm, where VMLOAD is.
    HOST_STATE_LEFT = "host-state-left",
    BRANCH_RECORDS_PASSED = "branch-records-passed",
    SMI_INTERCEPTED = "smi-intercepted",
    SMM_AREA_WRITABLE = "smm-area-writable",
    SMM_LOCK_UNREAD = "smm-lock-unread",
    SMM_CTL_UNDEFINED = "smm-ctl-undefined",
    SMM_KEY_TRUSTED = "smm-key-trusted",
    SVM_KEY_TRUSTED = "svm-key-trusted",
    SVM_KEY_UNUSED = "svm-key-unused",
    DECODE_UNCHECKED = "decode-unchecked",
    LDT_USED = "ldt-used",
    GDT_CHANGED = "gdt-changed",
    BREAKPOINT_LOST = "breakpoint-lost",
    MEMORY_ASSUMED = "memory-assumed",
    GIVEN_UNFLUSHED = "given-unflushed",
    GIVEN_HOST_FLUSHED = "given-host-flushed",
    GIVEN_INVLPGA = "given-invlpga",
    ICEBP_INJECTED = "icebp-injected",
    DOUBLE_FAULT_RESUMED = "double-fault-resumed",
    TASK_SWITCH_SKIPPED = "task-switch-skipped",
    MOVED_PROCESSOR_CLEAN = "moved-processor-clean",
    MOVED_VMCB_CLEAN = "moved-vmcb-clean",
}

#[cfg(feature = "defects")]
mod seeded {
    use core::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};

    use runtime::Record;

    use super::{Defect, NAMES};

    const NONE: usize = usize::MAX;

    /// Which one is on.
    static CHOSEN: AtomicUsize = AtomicUsize::new(NONE);

    /// A bit for each that was asked about.
    static MET: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
    const _: () = assert!(NAMES.len() <= 128);

    /// The instructions that `enter_guest` leaves out: bit 0 CLGI, bit 1 the host's VMLOAD. asm/world.asm.
    #[unsafe(export_name = "left_out")]
    static LEFT_OUT: AtomicU8 = AtomicU8::new(0);

    impl Defect {
        /// Whether it was chosen.
        pub fn is_on(self) -> bool {
            MET[self.0 / 64].fetch_or(1 << (self.0 % 64), Relaxed);
            CHOSEN.load(Relaxed) == self.0
        }
    }

    /// Turns one on, if there is one of that name.
    pub fn choose(name: &str) -> Option<()> {
        CHOSEN.store(NAMES.iter().position(|known| *known == name)?, Relaxed);
        Some(())
    }

    /// The one that is on, or `none`.
    pub fn name() -> &'static str {
        NAMES.get(CHOSEN.load(Relaxed)).copied().unwrap_or("none")
    }

    /// Tells `enter_guest` which instructions it shall do without.
    pub fn leave_out(clgi: bool, vmload: bool) {
        LEFT_OUT.store(u8::from(clgi) | u8::from(vmload) << 1, Relaxed);
    }

    /// The record of those that were met. docs/protocol.md.
    pub fn report() {
        let [low, high] = &MET;
        Record::new("defects")
            .hex("low", low.load(Relaxed))
            .hex("high", high.load(Relaxed))
            .emit();
    }
}

#[cfg(not(feature = "defects"))]
mod seeded {
    use super::Defect;

    impl Defect {
        pub const fn is_on(self) -> bool {
            let _ = self.0;
            false
        }
    }

    pub const fn choose(_name: &str) -> Option<()> {
        None
    }

    pub const fn name() -> &'static str {
        "none"
    }

    pub const fn leave_out(_clgi: bool, _vmload: bool) {}

    pub const fn report() {}
}

pub use seeded::{choose, leave_out, name, report};
