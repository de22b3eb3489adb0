//! What the hypervisor keeps of the machine's memory, and room for what it puts into the rest.

use pc::memory::{Area, MemoryMap, Span, TooMany, Wanted, highest_place, lowest_place};
use runtime::handover::Handover;
use svm::addr::{HostPhys, PAGE_SIZE, page_ceil, page_floor};

use super::processors;
use crate::defect;
use crate::memory::{area_of, image};

/// What the boot code maps: physical addresses up to here are linear addresses.
pub const MAPPED: u64 = 4 << 30;
/// What the hypervisor keeps for nested tables.
const TABLES_SIZE: u64 = 1 << 20;
/// And with the room for further processors.
const POOL_SIZE: u64 = TABLES_SIZE + processors::MAX as u64 * processors::ROOM;
/// How many spans the hypervisor keeps.
pub const KEPT: usize = 3;
/// Below where operating systems look for firmware's tables, which begin at 512 KiB at the earliest, whatever the memory
/// map says; above the first 64 KiB, which Linux watches for a firmware that writes there.
const UNSEARCHED: Span = Span {
    start: 0x1_0000,
    end: 0x8_0000,
};
const ABOVE_1_MIB: Span = Span {
    start: 0x10_0000,
    end: MAPPED,
};
/// Greater than any firmware's map.
const MOST_AREAS: usize = 64;
/// What the hypervisor keeps, and two modules, and two places for a guest.
const MOST_TAKEN: usize = KEPT + 4;

/// The machine's memory, and who has what of it.
pub struct Layout {
    areas: [Area; MOST_AREAS],
    area_count: usize,
    /// In the order of addresses.
    taken: [Span; MOST_TAKEN],
    taken_count: usize,
    /// What the hypervisor keeps, in the order of addresses: a page below 1 MiB, where further processors start; its
    /// image; and the pool.
    pub hidden: [Span; KEPT],
}

impl Layout {
    /// Chooses what the hypervisor keeps, apart from what the loader put somewhere.
    pub fn choose(handover: &Handover, modules: impl Iterator<Item = Span>) -> Result<Self, &'static str> {
        let told = handover
            .areas()
            .ok_or("the loader gave no memory map, or too long a one")?;
        let mut layout = Self {
            areas: [Area::default(); MOST_AREAS],
            area_count: told.len(),
            taken: [Span::default(); MOST_TAKEN],
            taken_count: 0,
            hidden: [Span::default(); KEPT],
        };
        let areas = layout.areas.get_mut(..told.len()).ok_or("the memory map is too long")?;
        for (area, told) in areas.iter_mut().zip(told) {
            *area = area_of(told);
        }
        layout.take(image());
        modules.for_each(|module| layout.take(module));
        let page = |within, size| Wanted {
            size,
            align: PAGE_SIZE,
            within,
        };
        let pool = highest_place(layout.areas(), layout.taken(), page(ABOVE_1_MIB, POOL_SIZE));
        let pool = pool.ok_or("there is no memory left for nested tables")?;
        layout.take(pool);
        let startup = highest_place(layout.areas(), layout.taken(), page(UNSEARCHED, PAGE_SIZE));
        let startup = startup.ok_or("there is no memory left below 512 KiB")?;
        layout.take(startup);
        layout.hidden = [startup, image(), pool];
        Ok(layout)
    }

    /// The lowest free place, which is then taken.
    pub fn place(&mut self, wanted: Wanted) -> Option<Span> {
        let place = lowest_place(self.areas(), self.taken(), wanted)?;
        self.take(place);
        Some(place)
    }

    /// What the guest is told of its memory.
    pub fn told(&self) -> Result<MemoryMap, TooMany> {
        let kept: &[Span] = if defect::MEMORY_OFFERED.is_on() {
            &[]
        } else {
            &self.hidden
        };
        MemoryMap::without(self.areas().iter().copied(), kept)
    }

    /// What the guest's tables do not lead to.
    pub fn unmapped(&self) -> [Span; KEPT] {
        let [startup, image, mut pool] = self.hidden;
        if defect::ROOM_MAPPED.is_on() {
            pool.end = self.room().0;
        }
        [startup, image, pool]
    }

    /// Where further processors start.
    pub fn startup_page(&self) -> HostPhys {
        let [startup, _, _] = self.hidden;
        HostPhys(startup.start)
    }

    /// Where the nested tables' pages are, and how many.
    pub fn tables(&self) -> (HostPhys, u64) {
        let [_, _, pool] = self.hidden;
        (HostPhys(pool.start), TABLES_SIZE / PAGE_SIZE)
    }

    /// Where the room for further processors begins.
    pub fn room(&self) -> HostPhys {
        let [_, _, pool] = self.hidden;
        HostPhys(pool.start + TABLES_SIZE)
    }

    /// Whole pages: the last page of a module is nobody else's.
    fn take(&mut self, span: Span) {
        self.taken[self.taken_count] = Span {
            start: page_floor(span.start),
            end: page_ceil(span.end).unwrap_or(span.end),
        };
        self.taken_count += 1;
        self.taken[..self.taken_count].sort_unstable_by_key(|span| span.start);
    }

    fn areas(&self) -> &[Area] {
        &self.areas[..self.area_count]
    }

    fn taken(&self) -> &[Span] {
        &self.taken[..self.taken_count]
    }
}
