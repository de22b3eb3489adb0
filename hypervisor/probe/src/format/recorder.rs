//! Writes the results, so that whoever reads them sees every step that ended and the one under way.

use core::mem::size_of;

use crate::results::{Change, FULL, Header, MAGIC, ProgramHead, VERSION};
use crate::{REGISTERS, StepHead};

/// The results are full: what was begun last was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The results under construction.
///
/// Everything is written through a raw pointer: the reader is outside, and a step may never come back.
pub struct Recorder {
    at: *mut u8,
    limit: usize,
    used: usize,
    header: Header,
    head: ProgramHead,
    /// Where the program's head is, and where the step's.
    program_at: usize,
    step_at: usize,
    step: StepHead,
}

impl Recorder {
    /// Results without a program.
    ///
    /// # Safety
    /// `at` must point to `limit` bytes, 8-byte aligned, that nobody else writes as long as the recorder lives.
    ///
    /// # Errors
    /// `limit` is too small for the header.
    pub unsafe fn new(at: *mut u8, limit: usize) -> Result<Self, Full> {
        if limit < size_of::<Header>() {
            return Err(Full);
        }
        let mut recorder = Self {
            at,
            limit,
            used: size_of::<Header>(),
            header: Header {
                magic: MAGIC,
                version: VERSION,
                ..Header::default()
            },
            head: ProgramHead::default(),
            program_at: 0,
            step_at: 0,
            step: StepHead::default(),
        };
        recorder.publish();
        Ok(recorder)
    }

    /// Program `index` is under way; none of its steps is yet.
    ///
    /// # Errors
    /// Its head does not fit.
    pub fn begin_program(&mut self, index: u32, tag: u32) -> Result<(), Full> {
        self.program_at = self.used;
        (self.header.program, self.header.step) = (index + 1, 0);
        self.head = ProgramHead {
            index,
            tag,
            length: size_of::<ProgramHead>() as u32,
            ..ProgramHead::default()
        };
        self.append(self.head)?;
        self.publish();
        Ok(())
    }

    /// The next step is under way.
    pub fn begin_step(&mut self) {
        self.header.step += 1;
        // SAFETY: the header is at the start of the memory that `new` was promised.
        unsafe { (&raw mut (*self.at.cast::<Header>()).step).write_volatile(self.header.step) }
    }

    /// The step ended: its head, and the registers that `head.registers` names.
    ///
    /// # Errors
    /// They do not fit.
    pub fn end_step(&mut self, head: StepHead, registers: &[u64; REGISTERS]) -> Result<(), Full> {
        self.step_at = self.used;
        self.step = head;
        self.append(head)?;
        let mut mask = head.registers;
        while mask != 0 {
            self.append(registers[mask.trailing_zeros() as usize])?;
            mask &= mask - 1;
        }
        Ok(())
    }

    /// EFER and VM_HSAVE_PA after the step. To be called right after [`Self::end_step`].
    ///
    /// # Errors
    /// They do not fit.
    pub fn state(&mut self, efer: u64, vm_hsave_pa: u64) -> Result<(), Full> {
        self.step.flags |= StepHead::STATE;
        self.append([efer, vm_hsave_pa])
    }

    /// The step's TSC difference. To be called after the state.
    ///
    /// # Errors
    /// It does not fit.
    pub fn time(&mut self, difference: u64) -> Result<(), Full> {
        self.step.flags |= StepHead::TIME;
        self.append(difference)
    }

    /// XMM0-15 after the step. To be called after the time.
    ///
    /// # Errors
    /// They do not fit.
    pub fn xmm(&mut self, values: [u64; crate::XMM_SIZE / 8]) -> Result<(), Full> {
        self.step.flags |= StepHead::XMM;
        self.append(values)
    }

    /// A change of the watched memory. To be called after the rest.
    ///
    /// # Errors
    /// It does not fit.
    pub fn change(&mut self, watch: u32, offset: u32, value: u64) -> Result<(), Full> {
        self.step.changes += 1;
        self.append(Change { watch, offset, value })
    }

    /// Nothing more comes of this step: from now on it can be read.
    pub fn close_step(&mut self) {
        self.step.length = (self.used - self.step_at) as u32;
        self.put(self.step_at, self.step);
        self.head.steps += 1;
        self.head.length = (self.used - self.program_at) as u32;
        self.put(self.program_at, self.head);
        self.publish();
    }

    /// Nothing more comes of this program.
    pub fn close_program(&mut self) {
        self.header.ended += 1;
    }

    /// No program is under way any more.
    pub fn finish(&mut self) {
        (self.header.program, self.header.step) = (0, 0);
        self.publish();
    }

    /// Takes back what there is of the program under way, and says that the results are full.
    pub fn take_back(&mut self) {
        self.used = self.program_at;
        self.header.step = 0;
        self.header.flags |= FULL;
        self.publish();
    }

    fn append<T: Copy>(&mut self, value: T) -> Result<(), Full> {
        if self.limit - self.used < size_of::<T>() {
            return Err(Full);
        }
        self.put(self.used, value);
        self.used += size_of::<T>();
        Ok(())
    }

    fn put<T: Copy>(&self, offset: usize, value: T) {
        debug_assert!(offset + size_of::<T>() <= self.limit);
        // SAFETY: the callers keep to the memory that `new` was promised, and all that is written has sizes that are
        // multiples of 8.
        unsafe { self.at.add(offset).cast::<T>().write(value) }
    }

    /// Last, so that the header never names what is not there yet.
    fn publish(&mut self) {
        self.header.used = self.used as u32;
        // SAFETY: the header is at the start of the memory that `new` was promised.
        unsafe { self.at.cast::<Header>().write_volatile(self.header) }
    }
}
