//! The real-time clock of every PC, as far as it tells the time: an operating system that finds none waits for it for
//! seconds, and warns.

use std::time::{Duration, SystemTime};

pub const INDEX: u16 = 0x70;
pub const DATA: u16 = 0x71;

/// The upper bit of the index port keeps non-maskable interrupts out, which is not ours.
const INDEX_BITS: u8 = 0x7F;
/// Register A: no update is under way; the usual divider and rate.
const NO_UPDATE: u8 = 0x26;
/// Register B: 24 hours, and numbers in BCD.
const HOURS_24: u8 = 0x02;
/// Register D: the battery is good.
const VALID: u8 = 0x80;

/// Its registers, by the index that was written last.
#[derive(Default)]
pub struct Clock {
    index: u8,
}

impl Clock {
    pub fn select(&mut self, index: u8) {
        self.index = index & INDEX_BITS;
    }

    /// The chosen register, now.
    pub fn read(&self) -> u8 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        self.read_at(now.unwrap_or(Duration::ZERO).as_secs())
    }

    fn read_at(&self, seconds: u64) -> u8 {
        let date = Date::of(seconds / 86_400);
        match self.index {
            0x00 => bcd(seconds % 60),
            0x02 => bcd(seconds / 60 % 60),
            0x04 => bcd(seconds / 3600 % 24),
            0x06 => bcd((seconds / 86_400 + 4) % 7 + 1),
            0x07 => bcd(date.day),
            0x08 => bcd(date.month),
            0x09 => bcd(date.year % 100),
            0x0A => NO_UPDATE,
            0x0B => HOURS_24,
            0x0D => VALID,
            0x32 => bcd(date.year / 100),
            _ => 0,
        }
    }
}

/// A day of the Gregorian calendar.
struct Date {
    year: u64,
    month: u64,
    day: u64,
}

impl Date {
    /// Counted from 1 January 1970.
    fn of(days: u64) -> Self {
        let is_leap = |year: u64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let (mut year, mut left) = (1970, days);
        while left >= 365 + u64::from(is_leap(year)) {
            left -= 365 + u64::from(is_leap(year));
            year += 1;
        }
        let lengths = [
            31,
            28 + u64::from(is_leap(year)),
            31,
            30,
            31,
            30,
            31,
            31,
            30,
            31,
            30,
            31,
        ];
        let mut month = 1;
        for length in lengths {
            if left < length {
                break;
            }
            left -= length;
            month += 1;
        }
        Self {
            year,
            month,
            day: left + 1,
        }
    }
}

fn bcd(number: u64) -> u8 {
    (number / 10 * 16 + number % 10) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_the_time() {
        let mut clock = Clock::default();
        // Thursday, 29 February 2024, 23:58:07.
        let registers = [0x32, 0x09, 0x08, 0x07, 0x06, 0x04, 0x02, 0x00].map(|register| {
            clock.select(register | 0x80);
            clock.read_at(1_709_251_087)
        });
        assert_eq!(registers, [0x20, 0x24, 0x02, 0x29, 0x05, 0x23, 0x58, 0x07]);
    }

    #[test]
    fn it_is_never_in_the_midst_of_an_update() {
        let mut clock = Clock::default();
        clock.select(0x0A);
        assert_eq!(clock.read() & 0x80, 0);
        clock.select(0x0D);
        assert_eq!(clock.read(), VALID);
    }

    #[test]
    fn years_begin_and_end() {
        for (days, expected) in [(0, (1970, 1, 1)), (364, (1970, 12, 31)), (20_454, (2026, 1, 1))] {
            let date = Date::of(days);
            assert_eq!((date.year, date.month, date.day), expected);
        }
    }
}
