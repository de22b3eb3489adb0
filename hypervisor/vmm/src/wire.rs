//! What goes over the control port: frames of a length (4 bytes, of what follows), a kind (1 byte) and a body. All
//! numbers are little-endian.
//!
//! | to us | body |
//! | --- | --- |
//! | `J` job | see [`Job::decode`] |
//! | `R` read | 8 address, 4 length: memory of the machine, which stands still or has ended |
//! | `X` execute | see [`Program::decode`] |
//! | `C` close | the machine is not needed any longer; answered by `C`, after which nothing more of its session comes |
//!
//! | from us | body |
//! | --- | --- |
//! | `S` started | nothing: the machine of a job with a debugger waits for it |
//! | `D` debug port, `U` serial port | bytes that were written to it |
//! | `M` memory | the bytes; shorter than asked for at the end of memory |
//! | `W` wanted | 8 address, then the bytes: memory that the job wants back at the end |
//! | `T` trace | text of the kernel's trace, oldest line first |
//! | `Z` ended | 1 how, 1 code, 2 number of addresses, 8 exits to us, 8 microseconds, the addresses (8 each), text |
//! | `C` closed | nothing |
//! | `P` program ended | 4 exit status, then its output |

/// A body with numbers in it, read from the front.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn bytes(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (head, rest) = self.0.split_at_checked(length).ok_or("a frame is cut short")?;
        self.0 = rest;
        Ok(head)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], String> {
        Ok(self.bytes(N)?.try_into().expect("as long as asked for"))
    }

    fn u8(&mut self) -> Result<u8, String> {
        Ok(u8::from_le_bytes(self.number()?))
    }

    fn u16(&mut self) -> Result<u16, String> {
        Ok(u16::from_le_bytes(self.number()?))
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.number()?))
    }

    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.number()?))
    }

    fn block(&mut self) -> Result<Vec<u8>, String> {
        let length = self.u32()? as usize;
        Ok(self.bytes(length)?.to_vec())
    }

    fn text(&mut self) -> Result<String, String> {
        Ok(String::from_utf8_lossy(&self.block()?).into_owned())
    }

    fn many<T>(&mut self, read: impl Fn(&mut Self) -> Result<T, String>) -> Result<Vec<T>, String> {
        (0..self.u16()?).map(|_| read(self)).collect()
    }
}

/// A register of a CPUID leaf, and which of its bits to keep and to set.
#[derive(Debug, PartialEq)]
pub struct CpuidChange {
    pub leaf: u32,
    /// 0 to 3: EAX, EBX, ECX, EDX.
    pub register: u8,
    pub keep: u32,
    pub set: u32,
}

/// A model-specific register as firmware would have left it.
#[derive(Debug, PartialEq)]
pub struct MsrPreset {
    pub index: u32,
    pub value: u64,
}

/// Bytes in the machine's memory.
#[derive(Debug, PartialEq)]
pub struct Region {
    pub address: u64,
    pub bytes: Vec<u8>,
}

/// One machine to run.
#[derive(Debug, Default, PartialEq)]
pub struct Job {
    /// Bytes.
    pub memory: u64,
    /// Wait for a debugger, and stop instead of ending.
    pub debug: bool,
    /// Whether there is a serial port.
    pub serial: bool,
    /// Whether the kernel's trace is wanted.
    pub trace: bool,
    /// How long it may run; the time that it stands still for a debugger does not count.
    pub milliseconds: u32,
    /// How many bytes it may write to debug port and serial port together.
    pub console: u32,
    pub rip: u64,
    pub rax: u64,
    pub rbx: u64,
    pub cpuid: Vec<CpuidChange>,
    pub msrs: Vec<MsrPreset>,
    /// Address and length of what is sent back at the end.
    pub wanted: Vec<(u64, u32)>,
    pub regions: Vec<Region>,
}

impl Job {
    /// 4 MiB of memory, 4 flags (1 debugger, 2 serial port, 4 trace), 4 milliseconds, 4 console bytes, 8 RIP, 8 RAX,
    /// 8 RBX; then four lists, each with its number (2 bytes) first: CPUID changes (4 leaf, 1 register, 4 keep, 4 set),
    /// MSRs (4 index, 8 value), memory wanted back (8 address, 4 length), memory to fill (8 address, 4 length, bytes).
    fn decode(body: &[u8]) -> Result<Self, String> {
        let mut body = Body(body);
        let memory = u64::from(body.u32()?) << 20;
        let flags = body.u32()?;
        Ok(Self {
            memory,
            debug: flags & 1 != 0,
            serial: flags & 2 != 0,
            trace: flags & 4 != 0,
            milliseconds: body.u32()?,
            console: body.u32()?,
            rip: body.u64()?,
            rax: body.u64()?,
            rbx: body.u64()?,
            cpuid: body.many(|b| {
                Ok(CpuidChange {
                    leaf: b.u32()?,
                    register: b.u8()? & 3,
                    keep: b.u32()?,
                    set: b.u32()?,
                })
            })?,
            msrs: body.many(|b| {
                Ok(MsrPreset {
                    index: b.u32()?,
                    value: b.u64()?,
                })
            })?,
            wanted: body.many(|b| Ok((b.u64()?, b.u32()?)))?,
            regions: body.many(|b| {
                Ok(Region {
                    address: b.u64()?,
                    bytes: b.block()?,
                })
            })?,
        })
    }
}

/// A program of this Linux to run instead of a machine.
#[derive(Debug, Default, PartialEq)]
pub struct Program {
    pub milliseconds: u32,
    pub words: Vec<String>,
    pub files: Vec<(String, Vec<u8>)>,
}

impl Program {
    /// 4 milliseconds; then two lists, each with its number (2 bytes) first: the command's words (4 length, text), and
    /// files to write before (4 length, path, 4 length, bytes).
    fn decode(body: &[u8]) -> Result<Self, String> {
        let mut body = Body(body);
        Ok(Self {
            milliseconds: body.u32()?,
            words: body.many(Body::text)?,
            files: body.many(|b| Ok((b.text()?, b.block()?)))?,
        })
    }
}

/// What we are asked to do.
#[derive(Debug, PartialEq)]
pub enum Request {
    Run(Box<Job>),
    Read { address: u64, length: u32 },
    Execute(Program),
    Close,
}

impl Request {
    /// Reads a frame without its length.
    pub fn decode(frame: &[u8]) -> Result<Self, String> {
        let mut body = Body(frame);
        match body.u8()? {
            b'J' => Ok(Self::Run(Box::new(Job::decode(body.0)?))),
            b'R' => Ok(Self::Read {
                address: body.u64()?,
                length: body.u32()?,
            }),
            b'X' => Ok(Self::Execute(Program::decode(body.0)?)),
            b'C' => Ok(Self::Close),
            kind => Err(format!("no such request: {kind:#x}")),
        }
    }
}

/// The ways a machine can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum How {
    /// It wrote to the exit port.
    Exited = 0,
    TripleFault = 1,
    /// HLT with interrupts off.
    Halted = 2,
    TimedOut = 3,
    /// It wrote more to its consoles than it may.
    Flooded = 4,
    Reset = 5,
    /// KVM gave up on it.
    Broken = 6,
    /// The job could not be started.
    Refused = 7,
}

/// How a machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    pub how: How,
    pub code: u8,
    pub rips: Vec<u64>,
    pub text: String,
}

impl End {
    pub fn of(how: How) -> Self {
        Self {
            how,
            code: 0,
            rips: Vec::new(),
            text: String::new(),
        }
    }

    pub fn broken(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::of(How::Broken)
        }
    }
}

/// What we say.
pub enum Reply {
    Started,
    DebugPort(Vec<u8>),
    SerialPort(Vec<u8>),
    Memory(Vec<u8>),
    Wanted(u64, Vec<u8>),
    Trace(Vec<u8>),
    Ended { end: End, exits: u64, microseconds: u64 },
    Closed,
    ProgramEnded { status: i32, output: Vec<u8> },
}

impl Reply {
    /// The whole frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut frame = vec![0; 4];
        match self {
            Self::Started => frame.push(b'S'),
            Self::Closed => frame.push(b'C'),
            Self::DebugPort(bytes) => kind(&mut frame, b'D', bytes),
            Self::SerialPort(bytes) => kind(&mut frame, b'U', bytes),
            Self::Memory(bytes) => kind(&mut frame, b'M', bytes),
            Self::Wanted(address, bytes) => {
                kind(&mut frame, b'W', &address.to_le_bytes());
                frame.extend_from_slice(bytes);
            }
            Self::Trace(text) => kind(&mut frame, b'T', text),
            Self::Ended {
                end,
                exits,
                microseconds,
            } => {
                kind(&mut frame, b'Z', &[end.how as u8, end.code]);
                frame.extend_from_slice(&(end.rips.len() as u16).to_le_bytes());
                frame.extend_from_slice(&exits.to_le_bytes());
                frame.extend_from_slice(&microseconds.to_le_bytes());
                end.rips
                    .iter()
                    .for_each(|rip| frame.extend_from_slice(&rip.to_le_bytes()));
                frame.extend_from_slice(end.text.as_bytes());
            }
            Self::ProgramEnded { status, output } => {
                kind(&mut frame, b'P', &status.to_le_bytes());
                frame.extend_from_slice(output);
            }
        }
        let length = frame.len() as u32 - 4;
        frame[..4].copy_from_slice(&length.to_le_bytes());
        frame
    }
}

fn kind(frame: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    frame.push(kind);
    frame.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests;
