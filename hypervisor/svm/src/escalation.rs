//! What becomes of an exception that comes while another event is being delivered (volume 2, 8.2.9, tables 8-2 and 8-3).
//!
//! The processor escalates by itself, but not what a hypervisor intercepts: an intercepted exception has not escalated
//! yet, and EXITINTINFO holds the event before it (15.7.2, 15.12).

use crate::vmcb::{EventInjection, EventKind};

/// What to deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escalation {
    /// The exception itself.
    None,
    /// #DF, error code 0.
    DoubleFault,
    /// Nothing: the processor shuts down.
    Shutdown,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Benign,
    Contributory,
    PageFault,
    DoubleFault,
}

const fn class(vector: u8) -> Class {
    match vector {
        0 | 10..=13 => Class::Contributory,
        14 => Class::PageFault,
        8 => Class::DoubleFault,
        _ => Class::Benign,
    }
}

/// Decides what `vector` becomes when the delivery of `interrupted` (EXITINTINFO) raised it.
#[must_use]
pub fn escalate(interrupted: EventInjection, vector: u8) -> Escalation {
    if !interrupted.is_valid() || interrupted.kind() != EventKind::Exception {
        return Escalation::None;
    }
    match (class(interrupted.vector()), class(vector)) {
        (Class::DoubleFault, Class::Contributory | Class::PageFault) => Escalation::Shutdown,
        (Class::Contributory, Class::Contributory) => Escalation::DoubleFault,
        (Class::PageFault, Class::Contributory | Class::PageFault) => Escalation::DoubleFault,
        _ => Escalation::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exceptions_escalate() {
        for first in [
            EventInjection::NONE,
            EventInjection::interrupt(13),
            EventInjection::nmi(),
            EventInjection::software_interrupt(13),
        ] {
            assert_eq!(escalate(first, 14), Escalation::None, "{first:x?}");
        }
    }

    #[test]
    fn the_table() {
        use Escalation::{DoubleFault, None, Shutdown};
        for (first, second, result) in [
            (13, 13, DoubleFault),
            (0, 11, DoubleFault),
            (13, 14, None),
            (14, 14, DoubleFault),
            (14, 13, DoubleFault),
            (14, 6, None),
            (6, 13, None),
            (6, 14, None),
            (13, 6, None),
            (8, 13, Shutdown),
            (8, 14, Shutdown),
            (8, 6, None),
        ] {
            let first_event = EventInjection::exception(first, Option::None);
            assert_eq!(escalate(first_event, second), result, "{first} then {second}");
        }
    }
}
