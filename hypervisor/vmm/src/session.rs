//! One job from its start to the moment when nobody needs its machine any longer.

use std::io;

use crate::devices::Devices;
use crate::gdb::{Answer, Incoming, Packets, Stub, frame};
use crate::host::Host;
use crate::machine::{Machine, Mode, Stop};
use crate::port::{Port, wait};
use crate::trace::Trace;
use crate::wire::{End, How, Job, Reply, Request};

pub struct Session<'a> {
    host: &'a Host,
    job: &'a Job,
    control: &'a mut Port,
    gdb: &'a mut Port,
    trace: &'a mut Trace,
    packets: Packets,
    told: bool,
}

impl<'a> Session<'a> {
    pub fn new(host: &'a Host, job: &'a Job, control: &'a mut Port, gdb: &'a mut Port, trace: &'a mut Trace) -> Self {
        let _ = gdb.receive().map(|()| gdb.take()); // what was meant for the machine before
        Self {
            host,
            job,
            control,
            gdb,
            trace,
            packets: Packets::default(),
            told: false,
        }
    }

    /// Runs the machine and serves its debugger. Returns the request that ended the session, if it is a new one.
    pub fn serve(mut self) -> io::Result<Option<Request>> {
        let mut machine = match Machine::new(self.host, self.job) {
            Ok(machine) => machine,
            Err(error) => {
                let end = End {
                    text: error.to_string(),
                    ..End::of(How::Refused)
                };
                self.control.send(&Reply::Ended {
                    end,
                    exits: 0,
                    microseconds: 0,
                })?;
                return Ok(None);
            }
        };
        if self.job.trace {
            self.trace.start()?;
        }
        if self.job.debug {
            self.control.send(&Reply::Started)?;
        } else {
            let stop = machine.run(Mode::Free, None, &mut |devices| look(self.control, None, devices))?;
            self.after(&mut machine, stop)?;
        }
        let next = self.stand_still(&mut machine)?;
        if !self.told {
            self.tell(&mut machine)?; // closed while it was stopped: the trace is wanted all the same
        }
        if next.is_none() {
            self.control.send(&Reply::Closed)?;
        }
        Ok(next)
    }

    /// Answers questions about a machine that stands still, and lets it go on when the debugger says so.
    fn stand_still(&mut self, machine: &mut Machine) -> io::Result<Option<Request>> {
        let mut stub = Stub::default();
        loop {
            self.control.receive()?;
            while let Some(request) = self.control.next_request()? {
                match request {
                    Request::Read { address, length } => {
                        self.control
                            .send(&Reply::Memory(machine.read(address, length as usize)))?;
                    }
                    Request::Close => return Ok(None),
                    other => return Ok(Some(other)),
                }
            }
            self.gdb.receive()?;
            self.packets.feed(&self.gdb.take());
            let mut some = false;
            while let Some(incoming) = self.packets.next() {
                some = true;
                self.answer(&mut stub, incoming, machine)?;
            }
            if !some {
                wait(&[(self.control, libc::POLLIN), (self.gdb, libc::POLLIN)])?;
            }
        }
    }

    fn answer(&mut self, stub: &mut Stub, incoming: Incoming, machine: &mut Machine) -> io::Result<()> {
        let Incoming::Packet(packet) = incoming else {
            return self.gdb.write(&frame("T02thread:01;", false)); // it stands still already
        };
        let was_running = machine.ended.is_none();
        let answer = stub.handle(&packet, machine, &mut |devices| {
            look(self.control, Some((self.gdb, &mut self.packets)), devices)
        })?;
        flush(self.control, &mut machine.devices)?;
        if was_running && machine.ended.is_some() {
            self.tell(machine)?;
        }
        match answer {
            Answer::Reply(reply) => self.gdb.write(&frame(&reply, true)),
            Answer::Left => self.gdb.write(&frame("OK", true)),
        }
    }

    fn after(&mut self, machine: &mut Machine, stop: Stop) -> io::Result<()> {
        flush(self.control, &mut machine.devices)?;
        if stop == Stop::Ended {
            self.tell(machine)
        } else {
            Ok(())
        }
    }

    /// Says all that is to be said at the end; how it ended comes last.
    fn tell(&mut self, machine: &mut Machine) -> io::Result<()> {
        self.told = true;
        if self.job.trace {
            let text = self.trace.stop()?;
            self.control.send(&Reply::Trace(text))?;
        }
        let Some(end) = machine.ended.clone() else {
            return Ok(());
        };
        for (address, length) in &self.job.wanted {
            let bytes = machine.read(*address, *length as usize);
            self.control.send(&Reply::Wanted(*address, bytes))?;
        }
        let microseconds = machine.ran.as_micros() as u64;
        self.control.send(&Reply::Ended {
            end,
            exits: machine.exits,
            microseconds,
        })
    }
}

/// Looks after a running machine: passes on what it printed, and says whether anybody wants something of us.
fn look(control: &mut Port, gdb: Option<(&mut Port, &mut Packets)>, devices: &mut Devices) -> io::Result<bool> {
    flush(control, devices)?;
    control.receive()?;
    let mut wanted = control.asked()?;
    if let Some((port, packets)) = gdb {
        port.receive()?;
        packets.feed(&port.take());
        wanted |= packets.interrupted();
    }
    Ok(wanted)
}

fn flush(control: &mut Port, devices: &mut Devices) -> io::Result<()> {
    if !devices.debug.is_empty() {
        control.send(&Reply::DebugPort(std::mem::take(&mut devices.debug)))?;
    }
    if let Some(serial) = devices.serial.as_mut().filter(|serial| !serial.sent.is_empty()) {
        control.send(&Reply::SerialPort(std::mem::take(&mut serial.sent)))?;
    }
    Ok(())
}
