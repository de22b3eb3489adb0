//! GDB's remote protocol: the subset that a debugger of the harness needs, and an ordinary GDB to look around.
//!
//! Registers (`g p P`), memory by linear address (`m M`), breakpoints (`Z0 Z1`), `s`, `c`, and 03h to stop. A machine
//! that has ended answers like one that was stopped by SIGQUIT (`T03`): it can be looked at, but goes nowhere.

mod packets;

use std::io;

use crate::machine::{Machine, Stop, Watch};
use crate::points::Owner;
use crate::registers::Registers;

pub use packets::{Incoming, Packets, frame};

const OK: &str = "OK";
const ERROR: &str = "E22";
const UNKNOWN: &str = "";
const TRAPPED: &str = "T05thread:01;";
const INTERRUPTED: &str = "T02thread:01;";
const OVER: &str = "T03thread:01;";
const PAGE: u64 = 0x1000;
const LONGEST_READ: u64 = 0x1000;

/// What a packet asks for.
pub enum Answer {
    Reply(String),
    /// The debugger has left.
    Left,
}

/// The debugger's state that is not the machine's.
#[derive(Default)]
pub struct Stub {
    /// A VMRUN that was stepped over but not executed yet.
    past: Option<u64>,
}

impl Stub {
    pub fn handle(&mut self, packet: &str, machine: &mut Machine, watch: Watch) -> io::Result<Answer> {
        let (command, rest) = packet.split_at(packet.len().min(1));
        let reply = match command {
            "?" => said(if machine.ended.is_some() {
                Stop::Ended
            } else {
                Stop::Stepped
            })
            .into(),
            "q" => query(rest),
            "g" => all(machine)?,
            "p" => one(machine, rest)?,
            "P" => set(machine, rest)?,
            "m" => read(machine, rest),
            "M" => write(machine, rest),
            "Z" => point(machine, rest, true),
            "z" => point(machine, rest, false),
            "H" => OK.into(),
            "c" => {
                let stop = machine.resume(&mut self.past, watch)?;
                told(machine, stop)?
            }
            "s" => {
                let stop = machine.step(&mut self.past, watch)?;
                told(machine, stop)?
            }
            "D" | "k" => return Ok(Answer::Left),
            _ => UNKNOWN.into(),
        };
        Ok(Answer::Reply(reply))
    }
}

/// A stop, with all registers: who asks for the one nearly always asks for the others next.
fn told(machine: &Machine, stop: Stop) -> io::Result<String> {
    if stop == Stop::Ended {
        return Ok(said(stop).into());
    }
    Ok(format!("{}registers:{};", said(stop), all(machine)?))
}

fn said(stop: Stop) -> &'static str {
    match stop {
        Stop::Point(_) | Stop::Stepped => TRAPPED,
        Stop::Interrupted => INTERRUPTED,
        Stop::Ended => OVER,
    }
}

fn query(rest: &str) -> String {
    if rest.starts_with("Supported") {
        return "PacketSize=2000;qXfer:features:read+;swbreak+;hwbreak+".into();
    }
    if let Some(span) = rest.strip_prefix("Xfer:features:read:target.xml:") {
        let description = Registers::describe();
        let Some((offset, length)) = numbers(span, ',') else {
            return ERROR.into();
        };
        let part = description.get(offset as usize..).unwrap_or("");
        return match part.get(..length as usize) {
            Some(some) if some.len() < part.len() => format!("m{some}"),
            _ => format!("l{part}"),
        };
    }
    match rest {
        "Attached" => "1".into(),
        "C" => "QC01".into(),
        "fThreadInfo" => "m01".into(),
        "sThreadInfo" => "l".into(),
        _ => UNKNOWN.into(),
    }
}

fn all(machine: &Machine) -> io::Result<String> {
    let mut registers = machine.registers()?;
    Ok((0..Registers::count())
        .filter_map(|number| registers.get(number))
        .map(|bytes| hex(&bytes))
        .collect())
}

fn one(machine: &Machine, rest: &str) -> io::Result<String> {
    let number = usize::from_str_radix(rest, 16).unwrap_or(usize::MAX);
    Ok(machine
        .registers()?
        .get(number)
        .map_or(ERROR.into(), |bytes| hex(&bytes)))
}

fn set(machine: &Machine, rest: &str) -> io::Result<String> {
    let parsed = rest.split_once('=').and_then(|(number, value)| {
        let mut bytes = unhex(value)?;
        bytes.resize(8, 0);
        Some((
            usize::from_str_radix(number, 16).ok()?,
            u64::from_le_bytes(bytes.try_into().ok()?),
        ))
    });
    let Some((number, value)) = parsed else {
        return Ok(ERROR.into());
    };
    let mut registers = machine.registers()?;
    let done = registers.set(number, value)
        && if Registers::is_system(number) {
            machine.vcpu.set_sregs(&registers.sregs).is_ok()
        } else {
            machine.vcpu.set_regs(&registers.regs).is_ok()
        };
    Ok(if done { OK } else { ERROR }.into())
}

fn read(machine: &Machine, rest: &str) -> String {
    let Some((address, length)) = numbers(rest, ',') else {
        return ERROR.into();
    };
    let mut bytes = Vec::new();
    for (linear, size) in pages(address, length.min(LONGEST_READ)) {
        match machine.physical(linear) {
            Some(physical) => bytes.extend(machine.read(physical, size as usize)),
            None => break,
        }
    }
    if bytes.is_empty() && length > 0 {
        ERROR.into()
    } else {
        hex(&bytes)
    }
}

fn write(machine: &mut Machine, rest: &str) -> String {
    let parsed = rest
        .split_once(':')
        .and_then(|(span, data)| Some((numbers(span, ',')?, unhex(data)?)));
    let Some(((address, length), bytes)) = parsed else {
        return ERROR.into();
    };
    if bytes.len() as u64 != length {
        return ERROR.into();
    }
    let mut rest = bytes.as_slice();
    for (linear, size) in pages(address, length) {
        let (some, more) = rest.split_at(size as usize);
        rest = more;
        let Some(physical) = machine.physical(linear) else {
            return ERROR.into();
        };
        if machine.points.within(physical, size) || !machine.memory.write(physical, some) {
            return ERROR.into();
        }
    }
    OK.into()
}

/// `KIND,ADDRESS,SIZE`: 0 is a breakpoint in memory, 1 one in a debug register, or else in memory; watchpoints there are
/// none.
fn point(machine: &mut Machine, rest: &str, set: bool) -> String {
    let Some((kind, span)) = rest.split_once(',') else {
        return ERROR.into();
    };
    let Some((address, _)) = numbers(span, ',') else {
        return ERROR.into();
    };
    if !["0", "1"].contains(&kind) {
        return UNKNOWN.into();
    }
    let in_register = kind == "1"
        && if set {
            machine.debug_registers.set(address, Owner::Debugger)
        } else {
            machine.debug_registers.clear(address, Owner::Debugger)
        };
    let in_memory = |machine: &mut Machine| {
        let Some(physical) = machine.physical(address) else {
            return false;
        };
        if set {
            machine.points.set(&mut machine.memory, physical, Owner::Debugger)
        } else {
            machine.points.clear(&mut machine.memory, physical, Owner::Debugger)
        }
    };
    if in_register || in_memory(machine) { OK } else { ERROR }.into()
}

/// A span of memory in parts that no page border cuts.
fn pages(start: u64, length: u64) -> impl Iterator<Item = (u64, u64)> {
    let end = start.saturating_add(length);
    let mut at = start;
    std::iter::from_fn(move || {
        let next = end.min((at | (PAGE - 1)).saturating_add(1));
        let part = (at < end).then_some((at, next - at));
        at = next;
        part
    })
}

fn numbers(text: &str, between: char) -> Option<(u64, u64)> {
    let (one, other) = text.split_once(between)?;
    let other = other.split(';').next()?;
    Some((u64::from_str_radix(one, 16).ok()?, u64::from_str_radix(other, 16).ok()?))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks_exact(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_read_in_parts() {
        let mut text = String::new();
        loop {
            let part = query(&format!("Xfer:features:read:target.xml:{:x},40", text.len()));
            text += &part[1..];
            if part.starts_with('l') {
                break;
            }
        }
        assert_eq!(text, Registers::describe());
    }

    #[test]
    fn spans_are_cut_at_pages() {
        assert_eq!(pages(0xFFE, 4).collect::<Vec<_>>(), [(0xFFE, 2), (0x1000, 2)]);
        assert_eq!(pages(0x1000, 0).count(), 0);
        assert_eq!(pages(u64::MAX - 1, 8).collect::<Vec<_>>(), [(u64::MAX - 1, 1)]);
    }

    #[test]
    fn hexadecimal_both_ways() {
        assert_eq!(hex(&[0, 0xAB]), "00ab");
        assert_eq!(unhex("00ab"), Some(vec![0, 0xAB]));
        assert_eq!(unhex("zz"), None);
    }
}
