//! The kernel's own trace of what KVM did: which of the machine's instructions it saw, and which faults it injected.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;

const TRACING: &str = "/sys/kernel/tracing";
const BUFFER_KIB: &str = "2048";
const LONGEST: usize = 1 << 20;
const EVENTS: [&str; 4] = ["kvm_exit", "kvm_inj_exception", "kvm_msr", "kvm_nested_vmexit_inject"];
/// Ports, nested page faults, interrupts of this Linux: many, and nobody's answer to an instruction of interest.
const DULL: &str = "exit_reason != 0x7b && exit_reason != 0x400 && exit_reason != 0x60";

pub struct Trace {
    switch: File,
    pipe: File,
}

impl Trace {
    /// Enables the events, but records nothing yet.
    pub fn open() -> io::Result<Self> {
        let file = |name: &str| format!("{TRACING}/{name}");
        fs::write(file("tracing_on"), "0")?;
        fs::write(file("buffer_size_kb"), BUFFER_KIB)?;
        for option in ["nooverwrite", "nocontext-info"] {
            fs::write(file("trace_options"), option)?;
        }
        fs::write(file("events/kvm/kvm_exit/filter"), DULL)?;
        for event in EVENTS {
            match fs::write(file(&format!("events/kvm/{event}/enable")), "1") {
                Err(error) if error.kind() == ErrorKind::NotFound => {} // not every kernel has every event
                done => done?,
            }
        }
        Ok(Self {
            switch: OpenOptions::new().write(true).open(file("tracing_on"))?,
            pipe: OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(file("trace_pipe"))?,
        })
    }

    pub fn start(&mut self) -> io::Result<()> {
        self.switch.write_all(b"1")
    }

    /// Stops it and takes what was recorded since the start; the second part says whether that is not all.
    pub fn stop(&mut self) -> io::Result<(Vec<u8>, bool)> {
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
        let lost = text.len() > LONGEST || text.windows(5).any(|word| word == b"LOST ");
        text.truncate(LONGEST);
        Ok((text, lost))
    }
}
