//! What becomes of an event whose delivery an exit cut short: EXITINTINFO says which it was, and nobody but the
//! hypervisor delivers it (15.7.2).

use crate::vmcb::{EventInjection, EventKind};

/// Vectors of INT1 (ICEBP), INT3 and INTO (volume 2, 8.2).
const DEBUG: u8 = 1;
const BREAKPOINT: u8 = 3;
const OVERFLOW: u8 = 4;

/// What to inject so that the event of EXITINTINFO is not lost; nothing where the guest raises it again by itself.
///
/// An event that an instruction asks for (INTn, INT3, INTO, ICEBP) is not injected: RIP is still at the instruction, which
/// is executed again. So its return address and the check of its gate's DPL are the processor's, it needs no NRIPS
/// (SVM-15.20-018, -019), and the #DB of ICEBP, which must not be injected (-020), is not. `at_icebp` tells that #DB is
/// ICEBP's, and RIP at it.
#[must_use]
pub fn again(interrupted: EventInjection, at_icebp: bool) -> EventInjection {
    let asked_for = match interrupted.kind() {
        EventKind::SoftwareInterrupt => true,
        EventKind::Exception => match interrupted.vector() {
            BREAKPOINT | OVERFLOW => true,
            DEBUG => at_icebp,
            _ => false,
        },
        _ => false,
    };
    if !interrupted.is_valid() || asked_for {
        return EventInjection::NONE;
    }
    interrupted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_and_faults_is_injected() {
        for event in [
            EventInjection::interrupt(0x40),
            EventInjection::nmi(),
            EventInjection::exception(14, Some(2)),
            EventInjection::exception(1, None),
        ] {
            assert_eq!(again(event, false), event);
        }
    }

    #[test]
    fn what_an_instruction_asks_for_is_not() {
        for event in [
            EventInjection::software_interrupt(0x80),
            EventInjection::software_interrupt(3),
            EventInjection::exception(3, None),
            EventInjection::exception(4, None),
        ] {
            assert_eq!(again(event, false), EventInjection::NONE);
        }
        assert_eq!(again(EventInjection::exception(1, None), true), EventInjection::NONE);
        assert_eq!(again(EventInjection::nmi(), true), EventInjection::nmi());
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(again(EventInjection::NONE, false), EventInjection::NONE);
        assert_eq!(again(EventInjection(0x20), false), EventInjection::NONE);
    }
}
