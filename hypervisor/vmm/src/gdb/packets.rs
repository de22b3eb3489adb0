//! The wire of GDB's protocol: `$text#sum`, a single 03h to interrupt, and `+` for what has arrived.

const INTERRUPT: u8 = 3;
const ARRIVED: u8 = b'+';

/// What has come from the debugger.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    Packet(String),
    Interrupt,
}

/// Bytes that have come and are no packet yet.
#[derive(Default)]
pub struct Packets(Vec<u8>);

impl Packets {
    pub fn feed(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Whether the debugger asks to stop: looked at while the machine runs, when no packet is expected.
    pub fn interrupted(&self) -> bool {
        self.0.contains(&INTERRUPT)
    }

    pub fn next(&mut self) -> Option<Incoming> {
        // Between packets come only acknowledgements, which say nothing that we act on.
        let start = self.0.iter().position(|byte| *byte == b'$' || *byte == INTERRUPT)?;
        self.0.drain(..start);
        if self.0[0] == INTERRUPT {
            self.0.remove(0);
            return Some(Incoming::Interrupt);
        }
        let end = self
            .0
            .iter()
            .position(|byte| *byte == b'#')
            .filter(|end| self.0.len() >= end + 3)?;
        let text = String::from_utf8_lossy(&self.0[1..end]).into_owned();
        self.0.drain(..end + 3);
        Some(Incoming::Packet(text))
    }
}

/// An answer as it goes over the wire, after the acknowledgement of the packet that it answers.
pub fn frame(reply: &str, acknowledge: bool) -> Vec<u8> {
    let sum = reply.bytes().fold(0u8, u8::wrapping_add);
    let mut bytes = Vec::with_capacity(reply.len() + 5);
    if acknowledge {
        bytes.push(ARRIVED);
    }
    bytes.extend_from_slice(format!("${reply}#{sum:02x}").as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_in_pieces_with_acknowledgements_between() {
        let mut packets = Packets::default();
        packets.feed(b"+$g#6");
        assert_eq!(packets.next(), None);
        packets.feed(b"7+$?#3f\x03");
        assert!(packets.interrupted());
        assert_eq!(packets.next(), Some(Incoming::Packet("g".into())));
        assert_eq!(packets.next(), Some(Incoming::Packet("?".into())));
        assert_eq!(packets.next(), Some(Incoming::Interrupt));
        assert_eq!(packets.next(), None);
    }

    #[test]
    fn replies_have_a_checksum() {
        assert_eq!(frame("OK", true), b"+$OK#9a");
        assert_eq!(frame("", false), b"$#00");
    }
}
