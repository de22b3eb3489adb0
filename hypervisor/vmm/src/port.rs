//! A virtio port to the harness: bytes in, bytes out, never waiting when nobody said to.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::wire::{Reply, Request};

const PATIENCE: Duration = Duration::from_secs(20);
/// More than any image: a length beyond it is no length.
const LONGEST: usize = 256 << 20;

pub struct Port {
    file: File,
    received: Vec<u8>,
}

impl Port {
    /// Waits for the driver to make the device.
    pub fn open(path: &str) -> io::Result<Self> {
        let start = Instant::now();
        loop {
            match OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(path)
            {
                Ok(file) => {
                    return Ok(Self {
                        file,
                        received: Vec::new(),
                    });
                }
                Err(error) if error.kind() == ErrorKind::NotFound && start.elapsed() < PATIENCE => {
                    sleep(Duration::from_millis(10));
                }
                Err(error) => return Err(io::Error::other(format!("{path}: {error}"))),
            }
        }
    }

    /// Sends bytes, waiting until the other side has room.
    pub fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => wait(&[(self, libc::POLLOUT)])?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub fn send(&mut self, reply: &Reply) -> io::Result<()> {
        self.write(&reply.encode())
    }

    /// Takes in what has come; does not wait.
    pub fn receive(&mut self) -> io::Result<()> {
        let mut some = [0; 1 << 15];
        loop {
            match self.file.read(&mut some) {
                Ok(0) => return Err(io::Error::other("the harness is gone")),
                Ok(count) => self.received.extend_from_slice(&some[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes all the bytes received so far.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }

    /// The length of the first frame, if it is here as a whole.
    fn whole_frame(&self) -> io::Result<Option<usize>> {
        let Some(head) = self.received.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*head) as usize;
        if length > LONGEST {
            return Err(io::Error::other("a frame without end"));
        }
        Ok((self.received.len() >= 4 + length).then_some(length))
    }

    /// Whether a request has come.
    pub fn asked(&self) -> io::Result<bool> {
        Ok(self.whole_frame()?.is_some())
    }

    /// The next request, if it has come.
    pub fn next_request(&mut self) -> io::Result<Option<Request>> {
        let Some(length) = self.whole_frame()? else {
            return Ok(None);
        };
        let rest = self.received.split_off(4 + length);
        let frame = std::mem::replace(&mut self.received, rest);
        Request::decode(&frame[4..]).map(Some).map_err(io::Error::other)
    }

    /// Waits for the next request.
    pub fn request(&mut self) -> io::Result<Request> {
        loop {
            self.receive()?;
            if let Some(request) = self.next_request()? {
                return Ok(request);
            }
            wait(&[(self, libc::POLLIN)])?;
        }
    }
}

/// Waits until one of the ports is ready for what is asked of it.
pub fn wait(ports: &[(&Port, i16)]) -> io::Result<()> {
    let mut polled: Vec<libc::pollfd> = ports
        .iter()
        .map(|(port, events)| libc::pollfd {
            fd: port.file.as_raw_fd(),
            events: *events,
            revents: 0,
        })
        .collect();
    // SAFETY: the array is ours, and as long as said.
    let ready = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, -1) };
    match ready {
        -1 if io::Error::last_os_error().kind() != ErrorKind::Interrupted => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
