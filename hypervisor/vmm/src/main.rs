//! The virtual machine monitor of the nested engines: the first and only program of a Linux that an emulator runs.
//!
//! It takes one job at a time from a virtio port, gives it a KVM virtual machine of its own, and says how that ended.
//! What a job is, and every other word on the port, is in [`wire`]; harness/machine/l1 is the other side. A second port
//! speaks GDB's remote protocol ([`gdb`]), with KVM's own means for debugging guests behind it.

mod clock;
mod cpu;
mod debug_registers;
mod devices;
mod gdb;
mod host;
mod init;
mod machine;
mod memory;
mod points;
mod port;
mod program;
mod registers;
mod session;
mod step;
mod timer;
mod trace;
mod wire;

use std::io;

use host::Host;
use port::Port;
use session::Session;
use trace::Trace;
use wire::{Reply, Request};

/// The harness saves the system's state when it has seen this.
const READY: &[u8] = b"svmconf-vmm is ready\n";

fn main() {
    if let Err(error) = serve() {
        eprintln!("svmconf-vmm: {error}");
    }
    init::power_off();
}

fn serve() -> io::Result<()> {
    init::prepare()?;
    timer::install()?;
    let host = Host::open()?;
    let mut trace = Trace::open()?;
    let mut control = Port::open("/dev/vport0p1")?;
    let mut gdb = Port::open("/dev/vport0p2")?;
    control.write(READY)?;
    let mut next = None;
    loop {
        let request = match next.take() {
            Some(request) => request,
            None => control.request()?,
        };
        match request {
            Request::Run(job) => next = Session::new(&host, &job, &mut control, &mut gdb, &mut trace).serve()?,
            Request::Execute(program) => control.send(&program::execute(&program))?,
            Request::Read { .. } => control.send(&Reply::Memory(Vec::new()))?,
            Request::Close => control.send(&Reply::Closed)?,
        }
    }
}
