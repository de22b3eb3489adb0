use super::*;

/// Tables in an array, at these addresses and up.
struct Pool {
    base: u64,
    pages: Vec<[u64; 512]>,
    limit: usize,
}

impl Pool {
    fn new(limit: usize) -> Self {
        Self {
            base: 0x10_0000,
            pages: Vec::new(),
            limit,
        }
    }

    fn index(&self, entry: HostPhys) -> (usize, usize) {
        let offset = (entry.0 - self.base) as usize;
        assert_eq!(offset % 8, 0);
        (offset / 4096, offset % 4096 / 8)
    }
}

impl TableMemory for Pool {
    fn allocate(&mut self) -> Option<HostPhys> {
        (self.pages.len() < self.limit).then(|| {
            self.pages.push([0; 512]);
            HostPhys(self.base + 4096 * (self.pages.len() as u64 - 1))
        })
    }

    fn read(&self, entry: HostPhys) -> u64 {
        let (page, at) = self.index(entry);
        self.pages[page][at]
    }

    fn write(&mut self, entry: HostPhys, value: u64) {
        let (page, at) = self.index(entry);
        self.pages[page][at] = value;
    }
}

const RWU: EntryFlags = EntryFlags::WRITABLE.union(EntryFlags::USER);

fn tables(levels: Levels, limit: usize) -> Tables<Pool> {
    Tables::new(Pool::new(limit), levels).expect("a root")
}

fn physical(tables: &Tables<Pool>, address: u64) -> Result<u64, u8> {
    tables
        .translate(address)
        .map(|found| found.physical.0)
        .map_err(|missing| missing.level)
}

#[test]
fn a_small_page_ends_where_it_ends() {
    let mut four = tables(Levels::Four, 10);
    four.map(0x7000, HostPhys(0x4_2000), PageSize::Small, RWU)
        .expect("mapped");
    assert_eq!(physical(&four, 0x7000), Ok(0x4_2000));
    assert_eq!(physical(&four, 0x7fff), Ok(0x4_2fff));
    assert_eq!((physical(&four, 0x6fff), physical(&four, 0x8000)), (Err(1), Err(1)));
    assert_eq!(physical(&four, 0x20_0000), Err(2));
    assert_eq!(physical(&four, 1 << 30), Err(3));
    assert_eq!(physical(&four, 1 << 39), Err(4));
    let found = four.translate(0x7000).expect("mapped");
    assert_eq!(
        (found.entry.flags(), found.size),
        (RWU | EntryFlags::PRESENT, PageSize::Small)
    );
    assert_eq!(four.into_memory().pages.len(), 4);
}

#[test]
fn a_large_page_ends_where_it_ends() {
    let mut four = tables(Levels::Four, 10);
    four.map(0x20_0000, HostPhys(0x60_0000), PageSize::Large, RWU)
        .expect("mapped");
    assert_eq!(physical(&four, 0x20_0000), Ok(0x60_0000));
    assert_eq!(physical(&four, 0x3f_ffff), Ok(0x7f_ffff));
    assert_eq!(
        (physical(&four, 0x1f_ffff), physical(&four, 0x40_0000)),
        (Err(2), Err(2))
    );
    assert_eq!(four.translate(0x20_0000).expect("mapped").size, PageSize::Large);
}

#[test]
fn a_range_uses_large_pages_where_both_sides_allow_it() {
    let mut four = tables(Levels::Four, 10);
    four.map_range(0x1f_f000, HostPhys(0x3f_f000), 0x20_2000, PageSize::Large, RWU)
        .expect("mapped");
    let size = |address| four.translate(address).map(|found| found.size);
    assert_eq!((size(0x1f_f000), size(0x20_0000), size(0x40_0000)), {
        (Ok(PageSize::Small), Ok(PageSize::Large), Ok(PageSize::Small))
    });
    assert_eq!(
        (physical(&four, 0x1f_efff), physical(&four, 0x40_0fff)),
        (Err(1), Ok(0x60_0fff))
    );
    assert_eq!(physical(&four, 0x40_1000), Err(1));
    let mut skewed = tables(Levels::Four, 10);
    skewed
        .map_range(0x20_0000, HostPhys(0x30_0000), 0x20_0000, PageSize::Large, RWU)
        .expect("mapped");
    assert_eq!(skewed.translate(0x3f_f000).expect("mapped").size, PageSize::Small);
    assert_eq!(
        skewed.map_range(0, HostPhys(0), 0xfff, PageSize::Huge, RWU),
        Err(MapError::Unaligned)
    );
    assert_eq!(
        skewed.map_range(u64::MAX - 0xfff, HostPhys(0), 0x2000, PageSize::Large, RWU),
        Err(MapError::OutOfRange)
    );
}

#[test]
fn a_range_uses_the_largest_pages_that_are_allowed() {
    const GIB: u64 = 1 << 30;
    let mut huge = tables(Levels::Four, 10);
    huge.map_range(
        GIB - 0x20_1000,
        HostPhys(GIB - 0x20_1000),
        GIB + 0x20_1000,
        PageSize::Huge,
        RWU,
    )
    .expect("mapped");
    let size = |address| huge.translate(address).map(|found| found.size);
    assert_eq!(
        (size(GIB - 0x20_1000), size(GIB - 0x20_0000), size(GIB), size(2 * GIB)),
        (
            Ok(PageSize::Small),
            Ok(PageSize::Large),
            Ok(PageSize::Huge),
            Err(NotMapped { level: 3 })
        )
    );
    assert_eq!(physical(&huge, GIB + 0x1234_5678), Ok(GIB + 0x1234_5678));
    let mut three = tables(Levels::Three, 10);
    assert_eq!(
        three.map(GIB, HostPhys(GIB), PageSize::Huge, RWU),
        Err(MapError::OutOfRange)
    );
}

#[test]
fn three_levels_have_roots_without_permissions() {
    let mut three = tables(Levels::Three, 10);
    three
        .map(0xffff_f000, HostPhys(0x1000), PageSize::Small, RWU)
        .expect("mapped");
    assert_eq!(physical(&three, 0xffff_ffff), Ok(0x1fff));
    assert_eq!(physical(&three, 0), Err(3));
    let pool = three.into_memory();
    assert_eq!(pool.pages[0][3], 0x10_1001);
    assert_eq!(pool.pages[1][511], 0x10_2007);
    assert_eq!(
        (
            pool.pages[0].iter().filter(|entry| **entry != 0).count(),
            pool.pages.len()
        ),
        (1, 3)
    );
}

#[test]
fn a_root_of_three_levels_loses_what_an_emulator_adds() {
    const ACCESSED: u64 = 1 << 5;
    let mut three = tables(Levels::Three, 10);
    three
        .map(0xffff_f000, HostPhys(0x1000), PageSize::Small, RWU)
        .expect("mapped");
    let root = three.root();
    let mut pool = three.into_memory();
    for index in 0..4 {
        let slot = HostPhys(root.0 + 8 * index);
        let entry = pool.read(slot);
        pool.write(slot, if entry == 0 { 0 } else { entry | ACCESSED });
    }
    let mut three = Tables {
        memory: pool,
        root,
        levels: Levels::Three,
    };
    three.restore_root();
    assert_eq!(physical(&three, 0xffff_ffff), Ok(0x1fff));
    assert_eq!(three.into_memory().pages[0][..4], [0, 0, 0, 0x10_1001]);
}

#[test]
fn addresses_have_a_range() {
    let mut three = tables(Levels::Three, 10);
    assert_eq!(
        three.map(1 << 32, HostPhys(0), PageSize::Small, RWU),
        Err(MapError::OutOfRange)
    );
    assert_eq!(physical(&three, 1 << 32), Err(3));
    let mut four = tables(Levels::Four, 20);
    for legal in [0xffff_8000_0000_0000, 0xffff_ffff_ffff_f000, 0x7fff_ffff_f000] {
        assert_eq!(four.map(legal, HostPhys(0), PageSize::Small, RWU), Ok(()), "{legal:#x}");
    }
    assert_eq!(
        physical(&four, 0xffff_ffff_f000),
        Ok(0),
        "zero-extended, the same entry"
    );
    for illegal in [1 << 48, 0xffff_7fff_ffff_f000] {
        assert_eq!(
            four.map(illegal, HostPhys(0), PageSize::Small, RWU),
            Err(MapError::OutOfRange)
        );
    }
    assert_eq!(
        four.map(0, HostPhys(1 << 52), PageSize::Small, RWU),
        Err(MapError::OutOfRange)
    );
    assert_eq!(four.map(0, HostPhys((1 << 52) - 0x1000), PageSize::Small, RWU), Ok(()));
}

#[test]
fn what_is_mapped_stays_until_it_is_unmapped() {
    let mut four = tables(Levels::Four, 10);
    four.map(0x20_0000, HostPhys(0), PageSize::Large, RWU).expect("mapped");
    assert_eq!(
        four.map(0x20_0000, HostPhys(0), PageSize::Large, RWU),
        Err(MapError::Occupied)
    );
    assert_eq!(
        four.map(0x20_1000, HostPhys(0), PageSize::Small, RWU),
        Err(MapError::Occupied)
    );
    four.map(0x40_0000, HostPhys(0), PageSize::Small, RWU).expect("mapped");
    assert_eq!(
        four.map(0x40_0000, HostPhys(0), PageSize::Large, RWU),
        Err(MapError::Occupied)
    );
    assert_eq!(
        four.unmap(0x20_1234).expect("mapped").flags(),
        RWU | EntryFlags::PRESENT | EntryFlags::LARGE
    );
    assert_eq!(four.unmap(0x20_1234), Err(NotMapped { level: 2 }));
    four.map(0x20_1000, HostPhys(0x5000), PageSize::Small, EntryFlags::NO_EXECUTE)
        .expect("mapped again");
    let flags = four.translate(0x20_1000).expect("mapped").entry.flags();
    assert_eq!(flags, EntryFlags::PRESENT | EntryFlags::NO_EXECUTE);
}

#[test]
fn misuse_is_an_error() {
    let mut four = tables(Levels::Four, 3);
    assert_eq!(
        four.map(0x800, HostPhys(0), PageSize::Small, RWU),
        Err(MapError::Unaligned)
    );
    assert_eq!(
        four.map(0, HostPhys(0x10_0000), PageSize::Large, RWU),
        Err(MapError::Unaligned)
    );
    assert_eq!(
        four.map(0, HostPhys(0), PageSize::Small, RWU),
        Err(MapError::OutOfTables)
    );
    assert_eq!(four.map(0, HostPhys(0), PageSize::Large, RWU), Ok(()));
    assert!(matches!(
        Tables::new(Pool::new(0), Levels::Four),
        Err(MapError::OutOfTables)
    ));
    let high = || Pool {
        base: 1 << 32,
        ..Pool::new(1)
    };
    assert!(matches!(Tables::new(high(), Levels::Three), Err(MapError::OutOfRange)));
    assert_eq!(
        Tables::new(high(), Levels::Four).map(|tables| tables.root()).ok(),
        Some(HostPhys(1 << 32))
    );
}
