use std::collections::BTreeMap;

use super::*;
use crate::regs::{Cr0, Cr4, Efer};

/// Guest memory: the 64-bit words that are not there read as 0 below 16 MiB, and there is none above.
#[derive(Default)]
struct Memory(BTreeMap<u64, u64>);

impl Memory {
    fn of(entries: &[(u64, u64)]) -> Self {
        Self(entries.iter().copied().collect())
    }

    fn walk(&self, paging: &Paging, linear: u64, access: Access) -> Result<Translation, WalkError> {
        walk(paging, linear, access, |at| {
            assert_eq!(at.0 % 8, 0);
            (at.0 < 16 << 20).then(|| self.0.get(&at.0).copied().unwrap_or(0))
        })
    }
}

impl LowMemory for Memory {
    fn read(&self, word: Word) -> u64 {
        self.0.get(&word.address()).copied().unwrap_or(0)
    }
}

const PAGED: Cr0 = Cr0::PE.union(Cr0::PG);

const fn access(kind: AccessKind, user: bool) -> Access {
    Access {
        kind,
        user,
        alignment_check: false,
    }
}

const READ: Access = access(AccessKind::Read, false);
const WRITE: Access = access(AccessKind::Write, false);
const FETCH: Access = access(AccessKind::Fetch, false);
const USER_READ: Access = access(AccessKind::Read, true);
const USER_WRITE: Access = access(AccessKind::Write, true);
const USER_FETCH: Access = access(AccessKind::Fetch, true);

fn fault(bits: u32) -> Result<Translation, WalkError> {
    Err(WalkError::PageFault(PageFault::from_bits_retain(bits)))
}

fn physical(result: Result<Translation, WalkError>) -> (u64, u64) {
    let found = result.expect("a translation");
    (found.physical.0, found.size)
}

fn long(cr0: Cr0, cr4: Cr4, efer: Efer) -> Paging {
    Paging::new(PAGED | cr0, 0x1000, Cr4::PAE | cr4, Efer::LME | efer, 40)
}

/// Tables at 1000h, 2000h, 3000h, 4000h for linear address 0, the entry of level 1 being `leaf`.
fn four(leaf: u64) -> Memory {
    Memory::of(&[(0x1000, 0x2007), (0x2000, 0x3007), (0x3000, 0x4007), (0x4000, leaf)])
}

#[test]
fn without_paging_an_address_is_physical() {
    let off = Paging::new(Cr0::PE, 0, Cr4::empty(), Efer::LME, 40);
    assert_eq!(
        physical(Memory::default().walk(&off, 0x1234_5678, USER_WRITE)),
        (0x1234_5678, 4096)
    );
}

#[test]
fn two_levels() {
    let paging = Paging::new(PAGED, 0x1018, Cr4::empty(), Efer::NXE, 40);
    let memory = Memory::of(&[(0x1008, 0x2007 << 32), (0x2008, 0xabcd_e007), (0x1010, 0x0040_0087)]);
    assert_eq!(physical(memory.walk(&paging, 0x00c0_2fff, READ)), (0xabcd_efff, 4096));
    assert_eq!(memory.walk(&paging, 0x00c0_1fff, READ), fault(0));
    assert_eq!(memory.walk(&paging, 0x00c0_3000, USER_FETCH), fault(4));
    assert_eq!(
        physical(memory.walk(&paging, 0xffff_ffff_00c0_2000, READ)),
        (0xabcd_e000, 4096)
    );
}

#[test]
fn four_mib_pages_need_pse() {
    let with = Paging::new(PAGED, 0x1000, Cr4::PSE, Efer::empty(), 40);
    let without = Paging::new(PAGED, 0x1000, Cr4::empty(), Efer::empty(), 40);
    let memory = Memory::of(&[(0x1000, 0x0040_0087 | 0x0020_0087 << 32), (0x40_0000, 0x7007)]);
    assert_eq!(physical(memory.walk(&with, 0x3f_ffff, READ)), (0x7f_ffff, 4 << 20));
    assert_eq!(physical(memory.walk(&without, 0xfff, READ)), (0x7fff, 4096));
    assert_eq!(memory.walk(&with, 0x40_0000, READ), fault(0b1001), "bit 21 is reserved");
    let high = Memory::of(&[(0x1000, 0x0040_0087 | 1 << 13 | 1 << 20)]);
    assert_eq!(physical(high.walk(&with, 0, READ)).0, 1 << 32 | 1 << 39 | 0x40_0000);
}

#[test]
fn pae_has_a_small_root_without_permissions() {
    let paging = Paging::new(PAGED | Cr0::WP, 0x1020, Cr4::PAE, Efer::empty(), 40);
    let tables = [
        (0x1038, 0x2001),
        (0x2ff8, 0x3007),
        (0x3ff8, 0x80_5007),
        (0x2ff0, 0x20_0087),
    ];
    let memory = Memory::of(&tables);
    assert_eq!(
        physical(memory.walk(&paging, 0xffff_ffff, USER_WRITE)),
        (0x80_5fff, 4096)
    );
    assert_eq!(
        physical(memory.walk(&paging, 0xffc0_0000, USER_WRITE)),
        (0x20_0000, 2 << 20)
    );
    assert_eq!(memory.walk(&paging, 0, READ), fault(0));
    for bad in [1 << 1, 1 << 2, 1 << 5, 1 << 8, 1 << 40, 1 << 63] {
        let mut memory = Memory::of(&tables);
        memory.0.insert(0x1038, 0x2001 | bad);
        assert_eq!(memory.walk(&paging, 0xffff_ffff, READ), fault(0b1001), "{bad:#x}");
    }
}

#[test]
fn long_mode_page_sizes() {
    let paging = long(Cr0::empty(), Cr4::empty(), Efer::empty());
    assert_eq!(physical(four(0x12_3007).walk(&paging, 0xfff, READ)), (0x12_3fff, 4096));
    let mut memory = four(0);
    memory.0.insert(0x3008, 0x4000_0087);
    memory.0.insert(0x2008, 0x1_4000_0087);
    assert_eq!(physical(memory.walk(&paging, 0x3f_ffff, READ)), (0x401f_ffff, 2 << 20));
    assert_eq!(
        physical(memory.walk(&paging, 0x7fff_ffff, READ)),
        (0x1_7fff_ffff, 1 << 30)
    );
    memory.0.insert(0x3008, 0x4000_2087);
    memory.0.insert(0x2008, 0x1_6000_0087);
    assert_eq!(memory.walk(&paging, 0x20_0000, READ), fault(0b1001));
    assert_eq!(memory.walk(&paging, 0x4000_0000, READ), fault(0b1001));
    memory.0.insert(0x1000, 0x2087);
    assert_eq!(
        memory.walk(&paging, 0, USER_READ),
        fault(0b1101),
        "a root entry is no page"
    );
}

#[test]
fn canonical_addresses() {
    let paging = long(Cr0::empty(), Cr4::empty(), Efer::empty());
    let memory = Memory::of(&[(0x1800, 0x2007)]);
    assert_eq!(memory.walk(&paging, 0xffff_8000_0000_0000, READ), fault(0));
    assert_eq!(
        memory.walk(&paging, 0x0000_8000_0000_0000, READ),
        Err(WalkError::NonCanonical)
    );
    assert_eq!(
        memory.walk(&paging, 0xffff_7fff_ffff_ffff, READ),
        Err(WalkError::NonCanonical)
    );
    let five = long(Cr0::empty(), Cr4::LA57, Efer::empty());
    assert_eq!(memory.walk(&five, 0x00ff_ffff_ffff_ffff, READ), fault(0));
    assert_eq!(
        memory.walk(&five, 0x0100_0000_0000_0000, READ),
        Err(WalkError::NonCanonical)
    );
}

#[test]
fn five_levels_add_one() {
    let five = long(Cr0::empty(), Cr4::LA57, Efer::empty());
    let tables = [
        (0x1008, 0x2007),
        (0x2000, 0x3007),
        (0x3000, 0x4007),
        (0x4000, 0x5007),
        (0x5000, 0x6007),
    ];
    assert_eq!(physical(Memory::of(&tables).walk(&five, 1 << 48, READ)), (0x6000, 4096));
}

#[test]
fn permissions() {
    let plain = long(Cr0::empty(), Cr4::empty(), Efer::NXE);
    let protected = long(Cr0::WP, Cr4::empty(), Efer::NXE);
    let (supervisor, read_only, no_execute) = (four(0x5003), four(0x5005), four(1 << 63 | 0x5007));
    assert_eq!(supervisor.walk(&plain, 0, USER_READ), fault(0b0_0101));
    assert!(supervisor.walk(&plain, 0, WRITE).is_ok());
    assert!(read_only.walk(&plain, 0, WRITE).is_ok());
    assert_eq!(read_only.walk(&protected, 0, WRITE), fault(0b0_0011));
    assert_eq!(read_only.walk(&plain, 0, USER_WRITE), fault(0b0_0111));
    assert!(read_only.walk(&protected, 0, USER_READ).is_ok());
    assert_eq!(no_execute.walk(&plain, 0, FETCH), fault(0b1_0001));
    assert_eq!(no_execute.walk(&plain, 0, USER_FETCH), fault(0b1_0101));
    assert!(no_execute.walk(&plain, 0, USER_WRITE).is_ok());
    let found = read_only.walk(&plain, 0, READ).expect("a translation");
    assert_eq!((found.writable, found.user, found.executable), (false, true, true));
}

#[test]
fn every_level_must_grant() {
    let plain = long(Cr0::WP, Cr4::empty(), Efer::NXE);
    for at in [0x1000, 0x2000, 0x3000] {
        let with = |flags: u64| {
            let mut memory = four(0x5007);
            memory.0.insert(at, at + 0x1000 + flags);
            memory
        };
        assert_eq!(with(0x5).walk(&plain, 0, WRITE), fault(0b0_0011));
        assert_eq!(with(0x3).walk(&plain, 0, USER_READ), fault(0b0_0101));
        assert_eq!(with(1 << 63 | 7).walk(&plain, 0, FETCH), fault(0b1_0001));
        assert_eq!(with(6).walk(&plain, 0, FETCH), fault(0b1_0000));
    }
}

#[test]
fn smep_and_smap_guard_user_pages() {
    let guarded = long(Cr0::empty(), Cr4::SMEP | Cr4::SMAP, Efer::empty());
    let (user, supervisor) = (four(0x5007), four(0x5003));
    assert_eq!(user.walk(&guarded, 0, FETCH), fault(0b1_0001));
    assert_eq!(user.walk(&guarded, 0, READ), fault(0b0_0001));
    assert_eq!(user.walk(&guarded, 0, WRITE), fault(0b0_0011));
    assert!(user.walk(&guarded, 0, Access::SUPERVISOR_READ).is_ok());
    assert!(user.walk(&guarded, 0, USER_FETCH).is_ok() && supervisor.walk(&guarded, 0, FETCH).is_ok());
    assert_eq!(
        user.walk(
            &guarded,
            0,
            Access {
                alignment_check: true,
                ..FETCH
            }
        ),
        fault(0b1_0001)
    );
}

#[test]
fn reserved_bits() {
    let (without, with) = (
        long(Cr0::empty(), Cr4::empty(), Efer::empty()),
        long(Cr0::empty(), Cr4::empty(), Efer::NXE),
    );
    assert_eq!(four(1 << 63 | 0x5007).walk(&without, 0, READ), fault(0b1001));
    assert!(four(1 << 63 | 0x5007).walk(&with, 0, READ).is_ok());
    assert!(four(1 << 39 | 0x5007).walk(&without, 0, READ).is_ok());
    assert_eq!(four(1 << 40 | 0x5007).walk(&without, 0, READ), fault(0b1001));
    assert_eq!(
        four(1 << 40 | 0x5006).walk(&without, 0, WRITE),
        fault(0b0010),
        "not present comes first"
    );
    assert!(
        four(1 << 52 | 0x5087).walk(&without, 0, READ).is_ok(),
        "ignored bits and PAT"
    );
}

#[test]
fn a_table_outside_memory_is_named() {
    let paging = long(Cr0::empty(), Cr4::empty(), Efer::empty());
    let memory = Memory::of(&[(0x1000, 0x100_0007)]);
    assert_eq!(
        memory.walk(&paging, 0x8000_0000, READ),
        Err(WalkError::NoMemory(GuestPhys(0x100_0010)))
    );
}

#[test]
fn located_code_is_where_the_walk_finds_it() {
    const LINEAR: u64 = 0xffff_8000_4060_1234;
    let small = [
        (0x1800, 0x2007),
        (0x2008, 0x3007),
        (0x3018, 0x4007),
        (0x4008, 0x8000_0000_0055_5025),
    ];
    let large = [(0x1800, 0x2007), (0x2008, 0x3007), (0x3018, 0x80_00e7)];
    let huge = [(0x1800, 0x2007), (0x2008, 0x4000_00e7)];
    for tables in [small.as_slice(), &large, &huge] {
        let memory = Memory::of(tables);
        let paging = long(Cr0::empty(), Cr4::empty(), Efer::NXE);
        let expected = physical(memory.walk(&paging, LINEAR, READ)).0;
        let at = |cr3, linear| Trail::to_code(cr3, linear, &memory).map(|trail| trail.physical());
        assert_eq!(at(0x1000 | 0x18, LINEAR), Some(expected));
        assert_eq!(at(0x1000, LINEAR + (1 << 39)), None);
    }
}
