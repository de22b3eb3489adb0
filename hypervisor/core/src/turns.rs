//! Several guests take turns: each runs until it yields, halts, ends, or has had its slice of time while another waits.
//!
//! Each has its own VMCB, tables, memory, and ASID as long as there are enough. When nobody wants to run, and somebody can
//! still be woken, the processor halts until the next tick.

use core::cell::UnsafeCell;

use runtime::{Outcome, timer};
use svm::addr::Asid;
use svm::asids::{Asids, Held};
use x86_64::registers::debug::{DebugAddressRegister, Dr0, Dr1, Dr2, Dr3};

use crate::exits::{End, Next};
use crate::guest::{Guest, State};
use crate::memory::SLOTS;
use crate::{clock, defect, report};

/// A guest in its slot, and what it leaves in the processor between its turns.
struct Seat {
    /// `None` when it has ended.
    guest: Option<Guest>,
    asid: Held,
    /// DR0 to DR3, which no VMCB holds; as after reset at first.
    breakpoints: [u64; 4],
}

/// The guests, and whose turn it is.
pub struct Turns {
    seats: [Seat; SLOTS],
    seated: usize,
    current: usize,
    asids: Asids,
    slice: u64,
    slice_ends: u64,
    outcome: Outcome,
}

/// The one value of [`Turns`]: too large for the stack.
struct Table(UnsafeCell<Turns>);

// SAFETY: one processor (a second one executes the world switch only) and no preemption; `Turns::take` hands it out once.
unsafe impl Sync for Table {}

static TABLE: Table = Table(UnsafeCell::new(Turns::nobody()));

impl Turns {
    /// Nobody yet. `asids` is how many the processor has, `slice` how many milliseconds a turn may take, 0 for any.
    ///
    /// # Safety
    /// May be called once.
    pub unsafe fn take(asids: u32, slice: u64) -> &'static mut Self {
        // SAFETY: called once, so no other reference exists.
        let turns = unsafe { &mut *TABLE.0.get() };
        turns.asids = Asids::new(if defect::ASID_BEYOND.is_on() { u32::MAX } else { asids });
        turns.slice = slice;
        turns
    }

    const fn nobody() -> Self {
        Self {
            seats: [const {
                Seat {
                    guest: None,
                    asid: Held::NONE,
                    breakpoints: [0; 4],
                }
            }; SLOTS],
            seated: 0,
            current: 0,
            asids: Asids::new(0),
            slice: 0,
            slice_ends: 0,
            outcome: Outcome::GuestFinished,
        }
    }

    /// One more.
    pub fn seat(&mut self, guest: Guest) {
        if self.seated == 0 {
            // What the firmware left there is nobody's.
            set_breakpoints(self.seats[0].breakpoints);
        }
        self.seats[self.seated].guest = Some(guest);
        self.seated += 1;
    }

    /// The guest that runs now, with all that it needs to run; `None` when all have ended.
    pub fn next(&mut self) -> Option<&mut Guest> {
        loop {
            self.ring();
            if let Some(number) = self.choose() {
                return Some(self.enter(number));
            }
            if !self.guests().any(|guest| guest.can_be_woken()) {
                self.end_the_halted();
                return None;
            }
            timer::run(true);
            timer::wait();
        }
    }

    /// Interrupts those whose alarm is due, and wakes those that are interrupted.
    fn ring(&mut self) {
        let now = timer::ticks();
        for guest in self.seats[..self.seated]
            .iter_mut()
            .filter_map(|seat| seat.guest.as_mut())
        {
            if let Some((_, event)) = guest.alarm.take_if(|(due, _)| *due <= now) {
                guest.pending.ask(event);
            }
            if guest.state == State::Halts && guest.pending.wakes(guest.vcpu.vmcb) {
                guest.state = State::Runs;
            }
        }
    }

    /// Whose turn it is: the current guest's as long as it wants and may, else the next one's that wants.
    fn choose(&mut self) -> Option<usize> {
        let wants = |seat: &Seat| seat.guest.as_ref().is_some_and(|guest| guest.state != State::Halts);
        let current = self.seats[self.current].guest.as_ref();
        let stays = current.is_some_and(|guest| guest.state == State::Runs);
        let over = self.slice != 0 && self.slice_ends <= timer::ticks();
        if stays && !over {
            return Some(self.current);
        }
        // The current one comes last, and alone goes on.
        let others = (1..=SLOTS).map(|step| (self.current + step) % SLOTS);
        others.into_iter().find(|&number| wants(&self.seats[number]))
    }

    /// Gives a guest its turn.
    fn enter(&mut self, number: usize) -> &mut Guest {
        if number != self.current && !defect::BREAKPOINTS_SHARED.is_on() {
            self.seats[self.current].breakpoints = breakpoints();
            set_breakpoints(self.seats[number].breakpoints);
        }
        if number != self.current || self.slice_ends <= timer::ticks() {
            self.slice_ends = clock::after(self.slice);
        }
        self.current = number;
        let several = self.guests().nth(1).is_some();
        timer::run(self.guests().any(Guest::needs_the_clock) || several && self.slice != 0);

        let seat = &mut self.seats[number];
        let guest = seat.guest.as_mut().expect("it was chosen because it is there");
        guest.state = State::Runs;
        let (asid, flush) = self.asids.give(&mut seat.asid);
        guest.vmcb.control.guest_asid = if defect::ASID_ZERO.is_on() { Asid::HOST } else { asid };
        if flush && !defect::ASID_UNFLUSHED.is_on() {
            guest.flush();
        }
        guest
    }

    fn guests(&self) -> impl Iterator<Item = &Guest> {
        self.seats[..self.seated].iter().filter_map(|seat| seat.guest.as_ref())
    }

    /// The guest whose turn it is has ended.
    pub fn end(&mut self, end: End) {
        let number = (self.seated > 1).then_some(self.current);
        if let Some(guest) = &mut self.seats[self.current].guest {
            guest.serial.flush();
            let outcome = report::end(guest, end, number);
            self.ended(outcome);
        }
    }

    /// The same, when all has been said about it. The others go on.
    pub fn ended(&mut self, outcome: Outcome) {
        self.seats[self.current].guest = None;
        if self.outcome == Outcome::GuestFinished {
            self.outcome = outcome;
        }
    }

    /// Nothing wakes those that are left.
    fn end_the_halted(&mut self) {
        for number in 0..self.seated {
            self.current = number;
            if let Next::End(end) = Next::HALTED {
                self.end(end);
            }
        }
    }

    /// How it ended: the first guest that did not finish, if there is one, says so.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }
}

/// The guest's DR0 to DR3.
pub fn breakpoints() -> [u64; 4] {
    [Dr0::read(), Dr1::read(), Dr2::read(), Dr3::read()]
}

/// Sets them.
pub fn set_breakpoints(to: [u64; 4]) {
    Dr0::write(to[0]);
    Dr1::write(to[1]);
    Dr2::write(to[2]);
    Dr3::write(to[3]);
}

impl Guest {
    /// A guest that halts goes on when its alarm interrupts it, if that can interrupt it.
    fn can_be_woken(&self) -> bool {
        self.alarm
            .is_some_and(|(_, event)| self.pending.takes(self.vcpu.vmcb, event))
    }

    fn needs_the_clock(&self) -> bool {
        self.alarm.is_some() || self.pending.needs_an_exit()
    }
}
