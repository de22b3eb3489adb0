//! The kernel's own trace of what KVM did: which of the machine's instructions it saw, and which faults it injected.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;

use crate::points::PORT;

const TRACING: &str = "/sys/kernel/tracing";
const BUFFER_KIB: &str = "512";
const EVENTS: [&str; 4] = ["kvm_exit", "kvm_inj_exception", "kvm_msr", "kvm_nested_vmexit_inject"];
/// Ports, nested page faults, interrupts of this Linux: many, and nobody's answer to an instruction of interest. Only
/// our breakpoints' port is wanted: its number is in the upper half of what an IOIO exit says.
fn filter() -> String {
    let first = u32::from(PORT) << 16;
    let ports = format!(
        "(exit_reason != 0x7b || (info1 >= {first:#x} && info1 <= {:#x}))",
        first | 0xFFFF
    );
    format!("exit_reason != 0x400 && exit_reason != 0x60 && {ports}")
}

fn file(name: &str) -> String {
    format!("{TRACING}/{name}")
}

pub struct Trace {
    switch: File,
    pipe: File,
    enabled: bool,
}

impl Trace {
    /// Records nothing yet.
    pub fn open() -> io::Result<Self> {
        fs::write(file("tracing_on"), "0")?;
        fs::write(file("buffer_size_kb"), BUFFER_KIB)?;
        for option in ["nooverwrite", "nocontext-info"] {
            fs::write(file("trace_options"), option)?;
        }
        fs::write(file("events/kvm/kvm_exit/filter"), filter())?;
        Ok(Self {
            enabled: false,
            switch: OpenOptions::new().write(true).open(file("tracing_on"))?,
            pipe: OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(file("trace_pipe"))?,
        })
    }

    /// Events stay enabled from the first time on: that costs every exit of KVM's something, recorded or not, which a
    /// job that has its exits measured must not pay.
    pub fn start(&mut self) -> io::Result<()> {
        if !self.enabled {
            for event in EVENTS {
                match fs::write(file(&format!("events/kvm/{event}/enable")), "1") {
                    Err(error) if error.kind() == ErrorKind::NotFound => {} // not every kernel has every event
                    done => done?,
                }
            }
            self.enabled = true;
        }
        self.switch.write_all(b"1")
    }

    /// Stops it and takes what was recorded since the start: the first part of it, if it is more than there is room for.
    pub fn stop(&mut self) -> io::Result<Vec<u8>> {
        self.switch.write_all(b"0")?;
        let mut text = Vec::new();
        let mut some = [0; 1 << 15];
        loop {
            match self.pipe.read(&mut some) {
                Ok(0) => break,
                Ok(count) => text.extend_from_slice(&some[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(text)
    }
}
