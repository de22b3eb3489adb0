use super::*;
use crate::vmcb::VintrFlags;

fn guest(interrupts_on: bool, tpr: u8) -> Box<Vmcb> {
    let mut vmcb = Box::new(Vmcb::zeroed());
    vmcb.save.rflags.set(Rflags::IF, interrupts_on);
    vmcb.control.interrupt = vmcb.control.interrupt.with_tpr(tpr);
    vmcb
}

/// What the processor does with the VMCB: takes the event; takes V_IRQ if `takes`.
fn runs(pending: &mut Pending, vmcb: &mut Vmcb, takes: bool) -> EventInjection {
    pending.before_entry(vmcb);
    let event = core::mem::take(&mut vmcb.control.event_injection);
    let word = vmcb.control.interrupt;
    if takes {
        vmcb.control.interrupt = word.with_flags(word.flags() - VintrFlags::V_IRQ);
    }
    pending.after_exit(vmcb);
    event
}

fn waits_for_a_window(vmcb: &Vmcb) -> bool {
    vmcb.control.intercept_misc1.contains(Misc1::VINTR)
}

#[test]
fn an_interrupt_is_injected_when_it_can_be_taken() {
    let mut pending = Pending::new(Method::Inject);
    pending.ask(Event::Interrupt(0x41));
    let mut vmcb = guest(true, 3);
    assert_eq!(runs(&mut pending, &mut vmcb, false), EventInjection::interrupt(0x41));
    assert_eq!(runs(&mut pending, &mut vmcb, false), EventInjection::NONE);
    assert!(!waits_for_a_window(&vmcb) && !vmcb.control.interrupt.is_pending());
}

#[test]
fn if_priority_and_shadow_hold_it_back() {
    let mut shadowed = guest(true, 0);
    shadowed.control.int_state = IntState::INTERRUPT_SHADOW;
    for mut vmcb in [guest(false, 0), shadowed] {
        let mut pending = Pending::new(Method::Inject);
        pending.ask(Event::Interrupt(0x41));
        assert!(!pending.wakes(&vmcb));
        pending.before_entry(&mut vmcb);
        assert_eq!(vmcb.control.event_injection, EventInjection::NONE);
        assert!(waits_for_a_window(&vmcb));
        let word = vmcb.control.interrupt;
        assert!(word.is_pending() && word.priority() == 4);
        // The processor knows better.
        pending.after_exit(&mut vmcb);
        pending.window_opened();
        assert_eq!(runs(&mut pending, &mut vmcb, false), EventInjection::interrupt(0x41));
    }
}

#[test]
fn behind_the_task_priority_it_waits_for_a_write_of_cr8() {
    let mut pending = Pending::new(Method::Inject);
    pending.ask(Event::Interrupt(0x41));
    for tpr in [4, 15] {
        let mut vmcb = guest(true, tpr);
        assert!(!pending.wakes(&vmcb));
        assert_eq!(runs(&mut pending, &mut vmcb, false), EventInjection::NONE);
        assert!(vmcb.control.intercept_cr_write.contains(CrMask::CR8) && !waits_for_a_window(&vmcb));
        vmcb.control.interrupt = vmcb.control.interrupt.with_tpr(3);
        assert!(pending.wakes(&vmcb));
    }
    let mut vmcb = guest(true, 3);
    assert_eq!(runs(&mut pending, &mut vmcb, false), EventInjection::interrupt(0x41));
    assert!(!vmcb.control.intercept_cr_write.contains(CrMask::CR8));
}

#[test]
fn the_highest_comes_first_and_the_next_waits_for_a_window() {
    let mut pending = Pending::new(Method::Inject);
    for vector in [0x41, 0x91, 0x20, 0xff] {
        pending.ask(Event::Interrupt(vector));
    }
    let mut vmcb = guest(true, 0);
    for vector in [0xff, 0x91, 0x41, 0x20] {
        assert_eq!(runs(&mut pending, &mut vmcb, false), EventInjection::interrupt(vector));
        assert_eq!(waits_for_a_window(&vmcb), vector != 0x20);
    }
}

#[test]
fn an_event_that_is_there_comes_first() {
    let mut pending = Pending::new(Method::Inject);
    pending.ask(Event::Interrupt(0x41));
    pending.ask(Event::Nmi);
    let mut vmcb = guest(true, 0);
    let fault = EventInjection::exception(14, Some(0));
    vmcb.control.event_injection = fault;
    assert_eq!(runs(&mut pending, &mut vmcb, false), fault);
    assert!(waits_for_a_window(&vmcb) && pending.needs_an_exit());
    assert_eq!(runs(&mut pending, &mut vmcb, false), EventInjection::nmi());
    assert_eq!(runs(&mut pending, &mut vmcb, false), EventInjection::interrupt(0x41));
}

#[test]
fn a_virtual_interrupt_is_offered_until_it_is_taken() {
    let mut pending = Pending::new(Method::Virtual);
    pending.ask(Event::Interrupt(0x41));
    let mut vmcb = guest(true, 0);
    for taken in [false, true] {
        pending.before_entry(&mut vmcb);
        let word = vmcb.control.interrupt;
        assert!(word.is_pending() && !waits_for_a_window(&vmcb));
        assert_eq!((word.priority(), word.vector()), (4, 0x41));
        if taken {
            vmcb.control.interrupt = word.with_flags(VintrFlags::empty());
        }
        pending.after_exit(&mut vmcb);
        assert!(!vmcb.control.interrupt.is_pending());
    }
    assert_eq!(runs(&mut pending, &mut vmcb, true), EventInjection::NONE);
    assert!(pending.highest().is_none());
}

#[test]
fn of_several_virtual_ones_only_the_last_is_offered() {
    let mut pending = Pending::new(Method::Virtual);
    let mut vmcb = guest(false, 0);
    pending.ask(Event::Interrupt(0x41));
    pending.ask(Event::Interrupt(0x91));
    pending.before_entry(&mut vmcb);
    assert!(waits_for_a_window(&vmcb) && vmcb.control.interrupt.vector() == 0x91);
    // An engine that has lost V_IRQ has not taken it: the window is what counts.
    vmcb.control.interrupt = vmcb.control.interrupt.without_pending();
    pending.after_exit(&mut vmcb);
    pending.window_opened();
    assert_eq!(runs(&mut pending, &mut vmcb, true), EventInjection::interrupt(0x91));
    assert!(!waits_for_a_window(&vmcb) && pending.highest().is_none());
}

#[test]
fn an_nmi_is_held_back_until_the_iret_of_the_one_before() {
    let mut pending = Pending::new(Method::Inject);
    let mut vmcb = guest(false, 15);
    vmcb.save.rip = 0x1000;
    pending.ask(Event::Nmi);
    assert!(pending.wakes(&vmcb));
    assert_eq!(runs(&mut pending, &mut vmcb, false), EventInjection::nmi());
    assert!(vmcb.control.intercept_misc1.contains(Misc1::IRET));

    pending.ask(Event::Nmi);
    vmcb.save.rip = 0x2000;
    assert!(!pending.wakes(&vmcb) && !pending.needs_an_exit());
    assert_eq!(runs(&mut pending, &mut vmcb, false), EventInjection::NONE);

    pending.nmi_ends(&vmcb);
    assert!(pending.needs_an_exit());
    assert_eq!(runs(&mut pending, &mut vmcb, false), EventInjection::NONE);
    assert!(!vmcb.control.intercept_misc1.contains(Misc1::IRET));
    vmcb.save.rip = 0x1000;
    assert_eq!(runs(&mut pending, &mut vmcb, false), EventInjection::nmi());
}

#[test]
fn an_nmi_waits_for_the_end_of_a_shadow() {
    let mut pending = Pending::new(Method::Inject);
    pending.ask(Event::Nmi);
    let mut vmcb = guest(true, 0);
    vmcb.control.int_state = IntState::INTERRUPT_SHADOW;
    assert_eq!(runs(&mut pending, &mut vmcb, false), EventInjection::NONE);
    assert!(pending.needs_an_exit());
    vmcb.control.int_state = IntState::empty();
    assert_eq!(runs(&mut pending, &mut vmcb, false), EventInjection::nmi());
}
