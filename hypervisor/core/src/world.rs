//! The world switch as Rust sees it; the switch itself is `asm/world.asm`.

use core::mem::offset_of;

use runtime::boot::count_vmrun;
use runtime::fixup::Fault;
use svm::addr::HostPhys;

use crate::defect;

/// The guest's registers that VMRUN does not move; RAX, RSP, RIP and RFLAGS are in the VMCB.
#[repr(C, align(16))]
#[derive(Clone, Default)]
#[allow(missing_docs)]
pub struct Registers {
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rbp: u64,
    pub r8_to_r15: [u64; 8],
    pub fpu: FpuState,
}

// asm/world.inc has the same offsets.
const _: () = assert!(offset_of!(Registers, rdi) == 0x20);
const _: () = assert!(offset_of!(Registers, r8_to_r15) == 0x30);
const _: () = assert!(offset_of!(Registers, fpu) == 0x70);

/// What FXSAVE stores: x87, MMX and SSE. The guest is not offered more (`exits/cpuid.rs`).
#[repr(C, align(16))]
#[derive(Clone)]
pub struct FpuState([u8; 512]);

impl Default for FpuState {
    /// As after reset and FNINIT: all exceptions masked.
    fn default() -> Self {
        const FCW: usize = 0;
        const MXCSR: usize = 24;
        let mut image = [0; 512];
        image[FCW..FCW + 2].copy_from_slice(&0x037F_u16.to_le_bytes());
        image[MXCSR..MXCSR + 4].copy_from_slice(&0x1F80_u32.to_le_bytes());
        Self(image)
    }
}

unsafe extern "sysv64" {
    #[link_name = "leave_host"]
    fn asm_leave_host(vmcb: u64);
    fn run_guest(registers: *mut Registers, vmcb: u64) -> u64;
    fn enter_guest(registers: *mut Registers, vmcb: u64, operand: u64, host_vmcb: u64, interruptible: u64) -> u64;
}

/// Executes VMRUN once. `Err` is a fault that VMRUN itself raised; then the guest did not run. Where it is `interruptible`
/// a physical interrupt ends the guest's turn, and has been taken by the host on return.
///
/// # Safety
/// SVM is enabled and VM_HSAVE_PA set; `vmcb` and `host_vmcb` are VMCBs of nobody else, and what `vmcb` lets the guest
/// reach is the guest's alone.
pub unsafe fn enter(
    registers: &mut Registers,
    vmcb: HostPhys,
    host_vmcb: HostPhys,
    interruptible: bool,
) -> Result<(), Fault> {
    count_vmrun();
    defect::leave_out(defect::GIF_SET.is_on(), defect::HOST_STATE_LEFT.is_on());
    // SAFETY: the caller answers for the state; enter_guest keeps the host's registers as the calling convention says.
    result(unsafe { enter_guest(registers, vmcb.0, operand(vmcb).0, host_vmcb.0, interruptible.into()) })
}

/// Gives up the host's own GIF, FS, GS, TR, LDTR and system-call MSRs for the guest's, for ever: what [`run`] starts from.
///
/// # Safety
/// SVM is enabled; `vmcb` is a VMCB. No exception may need a stack from the task state segment any more.
pub unsafe fn leave_host(vmcb: HostPhys) {
    // SAFETY: the caller answers for it; Rust code on this target uses none of those registers.
    unsafe { asm_leave_host(vmcb.0) }
}

/// Executes VMRUN once for a guest that keeps the registers that VMLOAD and VMSAVE move, and the processor's interrupts.
/// `Err` is a fault that VMRUN itself raised; then the guest did not run.
///
/// # Safety
/// [`leave_host`] was called with the same VMCB, and what it lets the guest reach is the guest's alone.
pub unsafe fn run(registers: &mut Registers, vmcb: HostPhys) -> Result<(), Fault> {
    count_vmrun();
    // SAFETY: the caller answers for the state; run_guest keeps the host's registers as the calling convention says.
    result(unsafe { run_guest(registers, vmcb.0) })
}

/// What the world switch answers: 0, or a fault of VMRUN's, bits 7:0 the vector, bits 63:32 the error code.
pub fn result(answer: u64) -> Result<(), Fault> {
    match answer {
        0 => Ok(()),
        fault => Err(Fault {
            vector: fault as u8,
            error: (fault >> 32) as u32,
        }),
    }
}

/// What VMRUN gets in rAX: the VMCB's address, but for the seeded defects.
pub fn operand(vmcb: HostPhys) -> HostPhys {
    match vmcb.0 {
        address if defect::BAD_RAX.is_on() => HostPhys(address + 8),
        address if defect::RAX_BEYOND.is_on() => HostPhys(address | 1 << 52),
        address => HostPhys(address),
    }
}
