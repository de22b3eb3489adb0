//! One virtual machine with one processor: what it is made of, how it runs, why it stops.

use std::io;
use std::time::{Duration, Instant};

use kvm_bindings::{
    KVM_CAP_MULTI_ADDRESS_SPACE, KVM_EXIT_INTERNAL_ERROR, KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_SINGLESTEP,
    KVM_GUESTDBG_USE_HW_BP, KVM_MP_STATE_HALTED, kvm_guest_debug, kvm_pit_config, kvm_userspace_memory_region,
};
use kvm_ioctls::{IoEventAddress, VcpuExit, VcpuFd, VmFd};

use crate::cpu::{self, named};
use crate::debug_registers::DebugRegisters;
use crate::devices::{self, Act, Devices};
use crate::host::Host;
use crate::memory::Memory;
use crate::points::{self, Points};
use crate::registers::Registers;
use crate::timer::{self, TICK, Ticking};
use crate::wire::{End, How, Job};

const TSS_ADDRESS: usize = 0xFFFB_D000;
/// The slot of memory as SMM sees it, which is the same: who wants to handle SMIs has put code at 38000h.
const IN_SMM: u32 = 1 << 16;
/// An INIT leads to the reset vector. What is there does what firmware does that finds itself called a second time: it
/// resets the rest of the machine (MOV AL, 0FEh; OUT 64h, AL; and again).
const RESET_VECTOR: u64 = 0xFFFF_FFF0;
const RESETS_THE_REST: [u8; 6] = [0xB0, 0xFE, 0xE6, 0x64, 0xEB, 0xFA];
const FIRMWARE: u32 = 1;
const FIRMWARE_SIZE: u64 = 0x1000;
const FLAG_INTERRUPT: u64 = 1 << 9;
const SAMPLES: usize = 8;
const SAMPLE_TICK: Duration = Duration::from_millis(2);

/// Why a machine stands still.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Stop {
    /// Before the instruction at this linear address, where a breakpoint is.
    Point(u64),
    Stepped,
    /// Somebody wants something of us.
    Interrupted,
    Ended,
}

/// Looks at a running machine at every tick; true stops it.
pub type Watch<'a> = &'a mut dyn FnMut(&mut Devices) -> io::Result<bool>;

/// How the processor is watched while it runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Free,
    SingleStep,
}

pub struct Machine {
    // In this order they are dropped: memory last.
    pub(crate) vcpu: VcpuFd,
    vm: VmFd,
    pub memory: Memory,
    _firmware: Memory,
    pub devices: Devices,
    pub points: Points,
    pub debug_registers: DebugRegisters,
    pub ended: Option<End>,
    pub exits: u64,
    pub ran: Duration,
    limit: Duration,
    console: u64,
    /// What KVM was last told about debugging.
    told: kvm_guest_debug,
    /// How the serial port's interrupt line was last.
    line: bool,
}

impl Machine {
    pub fn new(host: &Host, job: &Job) -> io::Result<Self> {
        let kvm = &host.kvm;
        let mut memory = Memory::new(job.memory)?;
        for region in &job.regions {
            if !memory.write(region.address, &region.bytes) {
                return Err(io::Error::other(format!("no memory at {:#x}", region.address)));
            }
        }
        let vm = kvm.create_vm().map_err(named("KVM_CREATE_VM"))?;
        vm.set_tss_address(TSS_ADDRESS).map_err(named("KVM_SET_TSS_ADDR"))?;
        vm.create_irq_chip().map_err(named("KVM_CREATE_IRQCHIP"))?;
        vm.create_pit2(kvm_pit_config::default())
            .map_err(named("KVM_CREATE_PIT2"))?;
        let all = kvm_userspace_memory_region {
            memory_size: memory.size(),
            userspace_addr: memory.address(),
            ..Default::default()
        };
        // SAFETY: the mapping outlives the machine, by the order of the fields.
        unsafe { vm.set_user_memory_region(all) }.map_err(named("KVM_SET_USER_MEMORY_REGION"))?;
        if kvm.check_extension_raw(KVM_CAP_MULTI_ADDRESS_SPACE.into()) > 1 {
            let in_smm = kvm_userspace_memory_region { slot: IN_SMM, ..all };
            // SAFETY: as above.
            unsafe { vm.set_user_memory_region(in_smm) }.map_err(named("the memory in SMM"))?;
        }
        let mut firmware = Memory::new(FIRMWARE_SIZE)?;
        firmware.write(RESET_VECTOR % FIRMWARE_SIZE, &RESETS_THE_REST);
        let last_page = kvm_userspace_memory_region {
            slot: FIRMWARE,
            guest_phys_addr: RESET_VECTOR - RESET_VECTOR % FIRMWARE_SIZE,
            memory_size: firmware.size(),
            userspace_addr: firmware.address(),
            ..Default::default()
        };
        // SAFETY: as above.
        unsafe { vm.set_user_memory_region(last_page) }.map_err(named("the memory of firmware"))?;
        let mut vcpu = vm.create_vcpu(0).map_err(named("KVM_CREATE_VCPU"))?;
        for port in devices::CONSOLES {
            vm.register_coalesced_mmio(IoEventAddress::Pio(port), 1)
                .map_err(named("KVM_REGISTER_COALESCED_MMIO"))?;
        }
        vcpu.map_coalesced_mmio_ring()
            .map_err(named("mapping what KVM collects"))?;
        cpu::set_up(kvm, &vcpu, job)?;
        Ok(Self {
            vcpu,
            vm,
            memory,
            _firmware: firmware,
            devices: Devices::new(job.serial),
            points: Points::default(),
            debug_registers: DebugRegisters::new(host.debug_registers),
            ended: None,
            exits: 0,
            ran: Duration::ZERO,
            limit: Duration::from_millis(job.milliseconds.into()),
            console: job.console.into(),
            told: kvm_guest_debug::default(),
            line: false,
        })
    }

    pub fn registers(&self) -> io::Result<Registers> {
        Ok(Registers {
            regs: self.vcpu.get_regs().map_err(named("KVM_GET_REGS"))?,
            sregs: self.vcpu.get_sregs().map_err(named("KVM_GET_SREGS"))?,
            debug: self.vcpu.get_debug_regs().map_err(named("KVM_GET_DEBUGREGS"))?,
        })
    }

    /// The physical address behind a linear one, as the processor now translates. KVM has an answer without paging, too.
    pub fn physical(&self, linear: u64) -> Option<u64> {
        let found = self.vcpu.translate_gva(linear).ok()?;
        (found.valid != 0).then_some(found.physical_address)
    }

    /// Memory without our breakpoints in it.
    pub fn read(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = self.memory.read(address, length);
        self.points.hide(address, &mut bytes);
        bytes
    }

    /// Lets the processor go on until there is a reason to stop. `skip` is an address whose debug register is left out.
    pub(crate) fn run(&mut self, mode: Mode, skip: Option<u64>, watch: Watch) -> io::Result<Stop> {
        if self.ended.is_some() {
            return Ok(Stop::Ended);
        }
        self.tell(mode, skip)?;
        let start = Instant::now();
        let before = self.ran;
        let _ticking = Ticking::every(TICK);
        let mut halted = false;
        let stop = loop {
            match self.enter()? {
                Left::Again => {}
                Left::Ended(end) => {
                    self.ended = Some(end);
                    break Stop::Ended;
                }
                Left::Out(port, bytes) => {
                    let point = if port == points::PORT { self.untrapped()? } else { None };
                    if let Some(pc) = point {
                        break Stop::Point(pc);
                    }
                    if let Some(end) = self.written(port, &bytes) {
                        self.ended = Some(end);
                        break Stop::Ended;
                    }
                    self.wire()?;
                }
                Left::Debug if mode == Mode::SingleStep => break Stop::Stepped,
                Left::Debug => break Stop::Point(self.linear_rip()?),
                Left::Tick => {
                    self.ran = before + start.elapsed();
                    if watch(&mut self.devices)? {
                        break Stop::Interrupted;
                    }
                    if let Some(end) = self.looked_at(&mut halted)? {
                        self.ended = Some(end);
                        break Stop::Ended;
                    }
                }
            }
        };
        self.ran = before + start.elapsed();
        Ok(stop)
    }

    /// One entry into the guest, and what it left for.
    fn enter(&mut self) -> io::Result<Left> {
        self.exits += 1;
        let left = self.leave()?;
        // What the console ports were told in between comes first.
        while let Ok(Some(write)) = self.vcpu.coalesced_mmio_read() {
            self.devices.write(write.phys_addr as u16, write.data[0]);
        }
        Ok(left)
    }

    /// Has the interrupt controllers see what the serial port's line is now.
    fn wire(&mut self) -> io::Result<()> {
        let line = self.devices.serial_interrupts();
        if line != self.line {
            self.vm
                .set_irq_line(devices::SERIAL_LINE, line)
                .map_err(named("KVM_IRQ_LINE"))?;
            self.line = line;
        }
        Ok(())
    }

    fn leave(&mut self) -> io::Result<Left> {
        let exit = match self.vcpu.run() {
            Ok(exit) => exit,
            Err(error) if error.errno() == libc::EINTR || error.errno() == libc::EAGAIN => return Ok(Left::Tick),
            Err(error) => return Ok(Left::Ended(End::broken(format!("KVM_RUN: {error}")))),
        };
        Ok(match exit {
            VcpuExit::IoOut(port, bytes) => Left::Out(port, bytes.to_vec()),
            VcpuExit::IoIn(port, bytes) => {
                bytes.fill(self.devices.read(port));
                Left::Again
            }
            VcpuExit::MmioRead(_, bytes) => {
                bytes.fill(0xFF);
                Left::Again
            }
            VcpuExit::MmioWrite(..) => Left::Again,
            VcpuExit::Debug(_) => Left::Debug,
            VcpuExit::Intr => Left::Tick,
            VcpuExit::Shutdown => Left::Ended(self.at_end(How::TripleFault)?),
            VcpuExit::Hlt => Left::Ended(self.at_end(How::Halted)?),
            VcpuExit::FailEntry(reason, _) => {
                Left::Ended(End::broken(format!("KVM_EXIT_FAIL_ENTRY: hardware reason {reason:#x}")))
            }
            VcpuExit::InternalError => Left::Ended(End::broken(self.internal_error())),
            other => {
                let text = format!("KVM left the guest for a reason that nobody handles: {other:?}");
                Left::Ended(End::broken(text))
            }
        })
    }

    /// Gives a device what the software wrote to it. What is wider than a byte is a string of bytes to us.
    fn written(&mut self, port: u16, bytes: &[u8]) -> Option<End> {
        let acts: Vec<Act> = bytes
            .iter()
            .filter_map(|byte| self.devices.write(port, *byte))
            .collect();
        acts.first().map(|act| match act {
            Act::Exit(code) => End {
                code: *code,
                ..End::of(How::Exited)
            },
            Act::Reset => End::of(How::Reset),
        })
    }

    fn internal_error(&mut self) -> String {
        let run = self.vcpu.get_kvm_run();
        debug_assert_eq!(run.exit_reason, KVM_EXIT_INTERNAL_ERROR);
        // SAFETY: this member of the union belongs to the exit reason.
        let internal = unsafe { run.__bindgen_anon_1.internal };
        let what = match internal.suberror {
            1 => "an instruction that it cannot emulate",
            2 => "two exceptions at once",
            3 => "an exit while an event was delivered",
            4 => "an unexpected exit",
            _ => "unknown",
        };
        let count = (internal.ndata as usize).min(internal.data.len());
        let data: Vec<String> = internal.data[..count].iter().map(|word| format!("{word:#x}")).collect();
        format!(
            "KVM_EXIT_INTERNAL_ERROR {}: {what}; data {}",
            internal.suberror,
            data.join(" ")
        )
    }

    /// What a tick finds out about a machine that does not end by itself.
    fn looked_at(&mut self, halted: &mut bool) -> io::Result<Option<End>> {
        if self.devices.written > self.console {
            return self.sampled(How::Flooded).map(Some);
        }
        if self.ran > self.limit {
            return self.sampled(How::TimedOut).map(Some);
        }
        let state = self.vcpu.get_mp_state().map_err(named("KVM_GET_MP_STATE"))?.mp_state;
        let flags = self.vcpu.get_regs().map_err(named("KVM_GET_REGS"))?.rflags;
        let now = state == KVM_MP_STATE_HALTED && flags & FLAG_INTERRUPT == 0;
        if now && *halted {
            return self.at_end(How::Halted).map(Some);
        }
        *halted = now;
        Ok(None)
    }

    fn at_end(&self, how: How) -> io::Result<End> {
        let rip = self.vcpu.get_regs().map_err(named("KVM_GET_REGS"))?.rip;
        Ok(End {
            rips: vec![rip],
            ..End::of(how)
        })
    }

    /// The same, with some addresses from where it is busy.
    fn sampled(&mut self, how: How) -> io::Result<End> {
        let mut end = self.at_end(how)?;
        timer::set(SAMPLE_TICK);
        while end.rips.len() < SAMPLES {
            match self.enter()? {
                Left::Tick => end.rips.extend(self.at_end(how)?.rips),
                Left::Again | Left::Out(..) => {}
                Left::Ended(_) | Left::Debug => break,
            }
        }
        Ok(end)
    }

    /// Where the breakpoint is that the processor just ran into, with the processor back before it; `None` if the write
    /// to our port was the software's own.
    fn untrapped(&mut self) -> io::Result<Option<u64>> {
        self.complete();
        let behind = self.linear_rip()?;
        let pc = behind.wrapping_sub(points::LENGTH);
        if !self.physical(pc).is_some_and(|address| self.points.at(address)) {
            return Ok(None);
        }
        let mut regs = self.vcpu.get_regs().map_err(named("KVM_GET_REGS"))?;
        regs.rip = regs.rip.wrapping_sub(points::LENGTH);
        self.vcpu.set_regs(&regs).map_err(named("KVM_SET_REGS"))?;
        Ok(Some(pc))
    }

    /// Lets KVM finish the access to a port that it left the guest for, and no more.
    fn complete(&mut self) {
        self.vcpu.set_kvm_immediate_exit(1);
        let left = self.vcpu.run().err();
        debug_assert!(left.is_some_and(|error| error.errno() == libc::EINTR));
        self.vcpu.set_kvm_immediate_exit(0);
    }

    /// Tells KVM what to stop for, if it does not know already.
    fn tell(&mut self, mode: Mode, skip: Option<u64>) -> io::Result<()> {
        let mut debug = kvm_guest_debug::default();
        if mode == Mode::SingleStep {
            debug.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
        }
        if let Some(values) = self.debug_registers.values(skip) {
            debug.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
            debug.arch.debugreg = values;
        }
        if self.told != debug {
            self.vcpu
                .set_guest_debug(&debug)
                .map_err(named("KVM_SET_GUEST_DEBUG"))?;
            self.told = debug;
        }
        Ok(())
    }

    pub(crate) fn linear_rip(&self) -> io::Result<u64> {
        let Registers { regs, sregs, .. } = self.registers()?;
        let base = if sregs.cs.l != 0 { 0 } else { sregs.cs.base };
        Ok(base.wrapping_add(regs.rip))
    }
}

/// Why the processor left the guest.
enum Left {
    Again,
    Tick,
    Debug,
    /// A write to a port.
    Out(u16, Vec<u8>),
    Ended(End),
}
