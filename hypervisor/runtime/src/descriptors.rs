//! Segment descriptors, the task state segment and the interrupt descriptor table.
//!
//! APM vol. 2, 4.8 "Long-mode segment descriptors", 8.9 "Long-mode interrupt control transfers", 12.2.5 "64-bit TSS".

use core::cell::UnsafeCell;
use x86_64::instructions::segmentation::{CS, DS, ES, SS, Segment};
use x86_64::instructions::tables::{lidt, load_tss};
use x86_64::structures::DescriptorTablePointer;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector};
use x86_64::structures::tss::TaskStateSegment;
use x86_64::{PrivilegeLevel, VirtAddr};

/// 64-bit code, CPL 0.
pub const KERNEL_CODE: SegmentSelector = SegmentSelector::new(1, PrivilegeLevel::Ring0);
/// Data, CPL 0.
pub const KERNEL_DATA: SegmentSelector = SegmentSelector::new(2, PrivilegeLevel::Ring0);
/// Data, CPL 3.
pub const USER_DATA: SegmentSelector = SegmentSelector::new(3, PrivilegeLevel::Ring3);
/// 64-bit code, CPL 3.
pub const USER_CODE: SegmentSelector = SegmentSelector::new(4, PrivilegeLevel::Ring3);
/// The TSS (two slots).
pub const TSS: SegmentSelector = SegmentSelector::new(5, PrivilegeLevel::Ring0);

/// A software interrupt that CPL 3 may execute: the probe ends its steps with it.
pub const USER_INTERRUPT: u8 = 0x81;

const VECTORS: usize = 256;
const STUB_SIZE: u64 = 16; // exceptions.asm
const NMI: usize = 2;

/// Every gate starts with this stack but the NMI's, which may come at any time, even on the first instruction of a stub.
const IST_EXCEPTIONS: u16 = 1;
const IST_NMI: u16 = 2;

/// What one exception handler may use; a handler that faults itself gets the next such part of the stack.
const STACK_STEP: usize = 16 * 1024;
const STACK_DEPTH: usize = 3;

#[repr(C, align(16))]
struct Stack<const SIZE: usize>([u8; SIZE]);

impl<const SIZE: usize> Stack<SIZE> {
    const EMPTY: Self = Self([0; SIZE]);

    fn top(stack: *const Self) -> VirtAddr {
        VirtAddr::from_ptr(stack) + SIZE as u64
    }
}

/// Memory that the processor reads by itself, or that only one place in the program writes.
struct Fixed<T>(UnsafeCell<T>);

// SAFETY: one processor, and this module writes only in `initialise` (before anything else runs) and in `NestedStack`
// (with interrupts off; an NMI does not nest stacks).
unsafe impl<T> Sync for Fixed<T> {}

static EXCEPTION_STACK: Fixed<Stack<{ STACK_STEP * STACK_DEPTH }>> = Fixed(UnsafeCell::new(Stack::EMPTY));
static NMI_STACK: Fixed<Stack<STACK_STEP>> = Fixed(UnsafeCell::new(Stack::EMPTY));
static TASK: Fixed<TaskStateSegment> = Fixed(UnsafeCell::new(TaskStateSegment::new()));
static GDT: Fixed<GlobalDescriptorTable> = Fixed(UnsafeCell::new(GlobalDescriptorTable::new()));
static IDT: Fixed<[Gate; VECTORS]> = Fixed(UnsafeCell::new([Gate::ABSENT; VECTORS]));

/// A 64-bit interrupt gate.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Gate {
    offset_low: u16,
    selector: u16,
    /// 2:0 IST, 11:8 type, 14:13 DPL, 15 P.
    flags: u16,
    offset_middle: u16,
    offset_high: u32,
    reserved: u32,
}

impl Gate {
    const ABSENT: Self = Self {
        offset_low: 0,
        selector: 0,
        flags: 0,
        offset_middle: 0,
        offset_high: 0,
        reserved: 0,
    };
    const IST: u16 = 7;
    const INTERRUPT_GATE: u16 = 0xE << 8;
    const PRESENT: u16 = 1 << 15;

    fn new(address: u64, ist: u16, dpl: u16) -> Self {
        Self {
            offset_low: address as u16,
            selector: KERNEL_CODE.0,
            flags: Self::PRESENT | Self::INTERRUPT_GATE | dpl << 13 | ist,
            offset_middle: (address >> 16) as u16,
            offset_high: (address >> 32) as u32,
            reserved: 0,
        }
    }
}

unsafe extern "C" {
    #[link_name = "exception_stubs"]
    static STUBS: u8;
}

/// Loads our own tables.
pub(crate) fn initialise() {
    // SAFETY: called once, before anything else could use the tables.
    let (task, gdt, idt) = unsafe { (&mut *TASK.0.get(), &mut *GDT.0.get(), &mut *IDT.0.get()) };

    task.interrupt_stack_table[usize::from(IST_EXCEPTIONS) - 1] = Stack::top(EXCEPTION_STACK.0.get());
    task.interrupt_stack_table[usize::from(IST_NMI) - 1] = Stack::top(NMI_STACK.0.get());

    for descriptor in [
        Descriptor::kernel_code_segment(),
        Descriptor::kernel_data_segment(),
        Descriptor::user_data_segment(),
        Descriptor::user_code_segment(),
        // SAFETY: the TSS is a static, it lives for ever.
        unsafe { Descriptor::tss_segment_unchecked(task) },
    ] {
        gdt.append(descriptor);
    }

    for (vector, gate) in idt.iter_mut().enumerate() {
        let ist = if vector == NMI { IST_NMI } else { IST_EXCEPTIONS };
        let dpl = if vector == usize::from(USER_INTERRUPT) { 3 } else { 0 };
        let address = (&raw const STUBS) as u64 + vector as u64 * STUB_SIZE;
        *gate = Gate::new(address, ist, dpl);
    }

    // SAFETY: the tables are static and complete, and the TSS was appended above.
    unsafe {
        load();
        load_tss(TSS);
    }
}

/// Loads the same tables on a further processor, but no TSS, which is the first processor's: [`keep_stack`] must have
/// been called for every vector that may come.
///
/// # Safety
/// The first processor has come as far as the image's main function.
pub unsafe fn join() {
    // SAFETY: the caller says that the tables are complete.
    unsafe { load() }
}

/// # Safety
/// The tables are complete.
unsafe fn load() {
    // SAFETY: nobody changes the tables after `initialise` but `keep_stack`, which does not move them.
    let (gdt, idt) = unsafe { (&*GDT.0.get(), &*IDT.0.get()) };
    let idtr = DescriptorTablePointer {
        limit: (size_of_val(idt) - 1) as u16,
        base: VirtAddr::from_ptr(idt),
    };
    // SAFETY: the tables are static, and the selectors name descriptors of theirs.
    unsafe {
        gdt.load_unsafe();
        CS::set_reg(KERNEL_CODE);
        SS::set_reg(KERNEL_DATA);
        DS::set_reg(KERNEL_DATA);
        ES::set_reg(KERNEL_DATA);
        lidt(&idtr);
    }
}

/// Lets the handler of `vector` run on the stack of what it interrupts, when that is at CPL 0.
///
/// The hypervisor wants that for #GP: between VMLOAD and VMRUN the task register is the guest's already, and an IST stack
/// would be looked for in the guest's TSS. The frame then lies right below RSP, where no code of an image keeps anything
/// (`.cargo/config.toml`).
pub fn keep_stack(vector: u8) {
    // SAFETY: the processor reads a gate only to deliver its vector, which nobody raises here; the gate stays valid.
    let gate = unsafe { &mut (*IDT.0.get())[usize::from(vector)] };
    gate.flags &= !Gate::IST;
}

/// While it lives, a further exception gets the next part of the stack and does not overwrite the frame of this one.
pub(crate) struct NestedStack;

impl NestedStack {
    pub(crate) fn enter() -> Self {
        Self::shift(|top| top - STACK_STEP as u64);
        Self
    }

    fn shift(change: impl Fn(VirtAddr) -> VirtAddr) {
        // SAFETY: the TSS is a packed static that only the processor reads besides; interrupts are off.
        unsafe {
            let slot = &raw mut (*TASK.0.get()).interrupt_stack_table;
            let mut stacks = slot.read_unaligned();
            let top = &mut stacks[usize::from(IST_EXCEPTIONS) - 1];
            *top = change(*top);
            slot.write_unaligned(stacks);
        }
    }
}

impl Drop for NestedStack {
    fn drop(&mut self) {
        Self::shift(|top| top + STACK_STEP as u64);
    }
}
