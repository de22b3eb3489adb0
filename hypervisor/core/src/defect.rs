//! Seeded defects: deliberate mistakes, each a Cargo feature that is never a default. docs/defects.md.
//!
//! Each is a constant, so a site reads `if defect::NAME` and the compiler removes what is not built.

macro_rules! defects {
    ($($name:ident = $feature:literal),* $(,)?) => {
        $(#[doc = concat!("The feature `", $feature, "`.")] pub const $name: bool = cfg!(feature = $feature);)*

        const ALL: &[(&str, bool)] = &[$(($feature, $name)),*];
    };
}

defects! {
    VENDOR_UNCHECKED = "defect-vendor-unchecked",
    SVM_BIT_UNCHECKED = "defect-svm-bit-unchecked",
    SVM_UNCHECKED = "defect-svm-unchecked",
    VM_CR_UNREAD = "defect-vm-cr-unread",
    SVMDIS_IGNORED = "defect-svmdis-ignored",
    SVML_IGNORED = "defect-svml-ignored",
    SVML_ASSUMED = "defect-svml-assumed",
    VM_CR_ANY_BIT = "defect-vm-cr-any-bit",
    SVME_TOO_EARLY = "defect-svme-too-early",
    SVME_LEFT_ON = "defect-svme-left-on",
    HSAVE_TOO_EARLY = "defect-hsave-too-early",
    HSAVE_LATE = "defect-hsave-late",
    HSAVE_UNALIGNED = "defect-hsave-unaligned",
    HSAVE_SHARED = "defect-hsave-shared",
    HSAVE_READ = "defect-hsave-read",
    HSAVE_WRITTEN = "defect-hsave-written",
    HSAVE_MAPPED = "defect-hsave-mapped",
    BAD_RAX = "defect-bad-rax",
    RAX_BEYOND = "defect-rax-beyond",
    NO_VMRUN_INTERCEPT = "defect-no-vmrun-intercept",
    ASID_ZERO = "defect-asid-zero",
    ILLEGAL_CR0 = "defect-illegal-cr0",
    // In asm/world.asm, where CLGI is.
    GIF_SET = "defect-gif-set",
    SVM_VISIBLE = "defect-svm-visible",
    EFER_VISIBLE = "defect-efer-visible",
    VM_CR_READABLE = "defect-vm-cr-readable",
    HSAVE_READABLE = "defect-hsave-readable",
    SVM_INSN_SKIPPED = "defect-svm-insn-skipped",
    CPL3_GP = "defect-cpl3-gp",
    A20_PASSED = "defect-a20-passed",
    A20_CLAIMED = "defect-a20-claimed",
    INIT_PASSED = "defect-init-passed",
    HALT_PASSED = "defect-halt-passed",
    SHUTDOWN_UNNAMED = "defect-shutdown-unnamed",
    NPT_ASSUMED = "defect-npt-assumed",
    NMI_DROPPED = "defect-nmi-dropped",
    REGISTER_OVERLOOKED = "defect-register-overlooked",
    EXIT_PORT_PASSED = "defect-exit-port-passed",
    WALK_UNBOUNDED = "defect-walk-unbounded",
    MEMORY_OFFERED = "defect-memory-offered",
    HYPERVISOR_MAPPED = "defect-hypervisor-mapped",
    MAP_CHANGED = "defect-map-changed",
    REGISTER_LOST = "defect-register-lost",
    MSR_REFUSED = "defect-msr-refused",
    POWER_OFF_MISNAMED = "defect-power-off-misnamed",
    VMCB_DIRTY = "defect-vmcb-dirty",
    GDTR_ATTRIBUTES = "defect-gdtr-attributes",
    NULL_ATTRIBUTES = "defect-null-attributes",
    LIMIT_IN_PAGES = "defect-limit-in-pages",
    CS_DPL = "defect-cs-dpl",
    ABSENT_FEATURE = "defect-absent-feature",
    EVENT_RESERVED = "defect-event-reserved",
    USER_HYPERCALLS = "defect-user-hypercalls",
    VECTOR_9_INTERCEPTED = "defect-vector-9-intercepted",
    UNCACHED = "defect-uncached",
    GDT_READ_ONLY = "defect-gdt-read-only",
    MTRR_WRITABLE = "defect-mtrr-writable",
    PAT_WRITABLE = "defect-pat-writable",
    PAGE_FAULTS_PASSED = "defect-page-faults-passed",
    HSAVE_BORROWED = "defect-hsave-borrowed",
    ROOM_MAPPED = "defect-room-mapped",
    CPL_FROM_DPL = "defect-cpl-from-dpl",
    CLEAN_LIES = "defect-clean-lies",
    CLEAN_AT_FIRST = "defect-clean-at-first",
    CLEAN_UNKNOWN = "defect-clean-unknown",
    FLUSH_MISSED = "defect-flush-missed",
    INTERCEPTED_FLUSH_MISSED = "defect-intercepted-flush-missed",
    FLUSH_RESERVED = "defect-flush-reserved",
    FLUSH_ALL = "defect-flush-all",
    LENGTH_ASSUMED = "defect-length-assumed",
    STALE_CODE = "defect-stale-code",
    SHADOW_KEPT = "defect-shadow-kept",
    TPR_WHOLE = "defect-tpr-whole",
    INTERRUPT_FORCED = "defect-interrupt-forced",
    NMI_NESTED = "defect-nmi-nested",
    EVENT_LOST = "defect-event-lost",
    SOFTWARE_INTERRUPT_INJECTED = "defect-software-interrupt-injected",
    SOFTWARE_INTERRUPT_LOST = "defect-software-interrupt-lost",
    FAULTS_NOT_COMBINED = "defect-faults-not-combined",
    CR2_LOST = "defect-cr2-lost",
    ASID_UNFLUSHED = "defect-asid-unflushed",
    ASID_BEYOND = "defect-asid-beyond",
    ICEBP_INJECTED = "defect-icebp-injected",
    DOUBLE_FAULT_RESUMED = "defect-double-fault-resumed",
    TASK_SWITCH_SKIPPED = "defect-task-switch-skipped",
    GIVEN_UNFLUSHED = "defect-given-unflushed",
    GIVEN_HOST_FLUSHED = "defect-given-host-flushed",
    GIVEN_INVLPGA = "defect-given-invlpga",
    MOVED_PROCESSOR_CLEAN = "defect-moved-processor-clean",
    MOVED_VMCB_CLEAN = "defect-moved-vmcb-clean",
    BREAKPOINTS_SHARED = "defect-breakpoints-shared",
    // In asm/world.asm, where VMLOAD is.
    HOST_STATE_LEFT = "defect-host-state-left",
    BRANCH_RECORDS_PASSED = "defect-branch-records-passed",
    SMI_INTERCEPTED = "defect-smi-intercepted",
    SMM_AREA_WRITABLE = "defect-smm-area-writable",
    SMM_LOCK_UNREAD = "defect-smm-lock-unread",
    SMM_CTL_UNDEFINED = "defect-smm-ctl-undefined",
    SMM_KEY_TRUSTED = "defect-smm-key-trusted",
    SVM_KEY_TRUSTED = "defect-svm-key-trusted",
    SVM_KEY_UNUSED = "defect-svm-key-unused",
    DECODE_UNCHECKED = "defect-decode-unchecked",
    LDT_USED = "defect-ldt-used",
    GDT_CHANGED = "defect-gdt-changed",
    BREAKPOINT_LOST = "defect-breakpoint-lost",
    MEMORY_ASSUMED = "defect-memory-assumed",
}

const _: () = {
    let mut built = 0;
    let mut index = 0;
    while index < ALL.len() {
        built += ALL[index].1 as usize;
        index += 1;
    }
    assert!(built <= 1, "at most one defect can be built in");
};

/// The defect built in, without `defect-`, or `none`: for the `boot` record.
pub fn name() -> &'static str {
    let built = ALL.iter().find(|(_, built)| *built);
    built
        .and_then(|(feature, _)| feature.strip_prefix("defect-"))
        .unwrap_or("none")
}
