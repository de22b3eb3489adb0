//! Runs an ordinary program of this Linux: a QEMU with KVM, for the case that goes the way that people go.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::wire::{Program, Reply};

const OUTPUT: &str = "/program.log";
const KILLED: i32 = -1;
const NOT_STARTED: i32 = -2;

/// Runs it to its end, or to that of its time.
pub fn execute(program: &Program) -> Reply {
    let (status, mut output) = match run(program) {
        Ok(status) => (status, fs::read(OUTPUT).unwrap_or_default()),
        Err(error) => (NOT_STARTED, error.to_string().into_bytes()),
    };
    output.truncate(1 << 20);
    Reply::ProgramEnded { status, output }
}

fn run(program: &Program) -> io::Result<i32> {
    for (path, bytes) in &program.files {
        if let Some(folder) = Path::new(path).parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, bytes)?;
    }
    let (command, arguments) = program.words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let log = File::create(OUTPUT)?;
    let mut child = Command::new(command)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code().unwrap_or(KILLED));
        }
        if start.elapsed() > Duration::from_millis(program.milliseconds.into()) {
            child.kill()?;
            child.wait()?;
            return Ok(KILLED);
        }
        sleep(Duration::from_millis(10));
    }
}
