//! Physical memory as spans of addresses: what there is, what the hypervisor keeps, what the guest is told.

/// Addresses from `start` up to, but not including, `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first address.
    pub start: u64,
    /// The address behind the last.
    pub end: u64,
}

impl Span {
    /// A span of `length` bytes; it ends at the end of the address space at the latest.
    #[must_use]
    pub const fn sized(start: u64, length: u64) -> Self {
        Self {
            start,
            end: start.saturating_add(length),
        }
    }

    /// True if the address is in it.
    #[must_use]
    pub const fn contains(&self, address: u64) -> bool {
        self.start <= address && address < self.end
    }

    /// True if they have an address in common.
    #[must_use]
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// What the guest may do with an area: ACPI's address range types, which E820 and multiboot use alike.
pub const USABLE: u32 = 1;
/// See [`USABLE`]: keep away.
pub const RESERVED: u32 = 2;

/// A span with its type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Area {
    /// Where it is.
    pub span: Span,
    /// [`USABLE`], [`RESERVED`], or another type of ACPI's, which is passed on.
    pub kind: u32,
}

/// As many areas as the boot protocol's page has room for.
pub const MAX_AREAS: usize = 128;

/// More areas than [`MAX_AREAS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

/// The guest's memory map, in the order of addresses.
pub struct MemoryMap {
    areas: [Area; MAX_AREAS],
    count: usize,
}

impl MemoryMap {
    /// The machine's map, in which the `hidden` spans have become reserved: the guest keeps away from them, and puts no
    /// device there either.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn without(machine: impl Iterator<Item = Area>, hidden: &[Span]) -> Result<Self, TooMany> {
        let mut map = Self {
            areas: [Area::default(); MAX_AREAS],
            count: 0,
        };
        for area in machine {
            for span in remains(area.span, hidden) {
                map.insert(Area { span, kind: area.kind })?;
            }
        }
        for &span in hidden {
            map.insert(Area { span, kind: RESERVED })?;
        }
        Ok(map)
    }

    fn insert(&mut self, area: Area) -> Result<(), TooMany> {
        if self.count == MAX_AREAS {
            return Err(TooMany);
        }
        let at = self
            .areas()
            .partition_point(|other| other.span.start <= area.span.start);
        self.areas.copy_within(at..self.count, at + 1);
        self.areas[at] = area;
        self.count += 1;
        Ok(())
    }

    /// The areas.
    #[must_use]
    pub fn areas(&self) -> &[Area] {
        &self.areas[..self.count]
    }
}

/// What is left of a span when others are taken out of it, in the order of addresses. The others must be sorted by
/// address; they may overlap.
pub fn remains(span: Span, taken: &[Span]) -> impl Iterator<Item = Span> {
    debug_assert!(taken.is_sorted_by_key(|hole| hole.start));
    let last = Span {
        start: span.end,
        end: span.end,
    };
    let mut from = span.start;
    taken.iter().copied().chain([last]).filter_map(move |hole| {
        let piece = Span {
            start: from,
            end: hole.start.min(span.end),
        };
        from = from.max(hole.end);
        (piece.start < piece.end).then_some(piece)
    })
}

/// Whether all of a span is usable memory.
#[must_use]
pub fn is_usable(machine: &[Area], span: Span) -> bool {
    let mut at = span.start;
    while at < span.end {
        let usable = |area: &&Area| area.kind == USABLE && area.span.contains(at);
        let Some(area) = machine.iter().find(usable) else {
            return false;
        };
        at = area.span.end;
    }
    true
}

/// Where something is to be placed.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Bytes.
    pub size: u64,
    /// A power of two that divides its address.
    pub align: u64,
    /// It lies in here.
    pub within: Span,
}

/// The lowest free place in usable memory. `taken` must be sorted by address.
#[must_use]
pub fn lowest_place(machine: &[Area], taken: &[Span], wanted: Wanted) -> Option<Span> {
    places(machine, taken, wanted)
        .map(|free| Span::sized(free.start.next_multiple_of(wanted.align), wanted.size))
        .min_by_key(|place| place.start)
}

/// The highest free place in usable memory. `taken` must be sorted by address.
#[must_use]
pub fn highest_place(machine: &[Area], taken: &[Span], wanted: Wanted) -> Option<Span> {
    places(machine, taken, wanted)
        .map(|free| Span::sized((free.end - wanted.size) & !(wanted.align - 1), wanted.size))
        .max_by_key(|place| place.start)
}

/// The free spans in which the wanted has room, also aligned.
fn places(machine: &[Area], taken: &[Span], wanted: Wanted) -> impl Iterator<Item = Span> {
    let usable = machine.iter().filter(|area| area.kind == USABLE);
    let inside = usable.map(move |area| Span {
        start: area.span.start.max(wanted.within.start),
        end: area.span.end.min(wanted.within.end),
    });
    inside
        .filter(|span| span.start < span.end)
        .flat_map(move |span| remains(span, taken))
        .filter(move |free| {
            let start = free.start.checked_next_multiple_of(wanted.align);
            start.is_some_and(|start| start.checked_add(wanted.size).is_some_and(|end| end <= free.end))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn span(start: u64, end: u64) -> Span {
        Span { start, end }
    }

    const PC: [Area; 4] = [
        Area {
            span: span(0, 0x9_fc00),
            kind: USABLE,
        },
        Area {
            span: span(0xf_0000, 0x10_0000),
            kind: RESERVED,
        },
        Area {
            span: span(0x10_0000, 0x800_0000),
            kind: USABLE,
        },
        Area {
            span: span(0xfffc_0000, 0x1_0000_0000),
            kind: RESERVED,
        },
    ];

    #[test]
    fn usable_memory_may_be_told_in_pieces() {
        let area = |start, end, kind| Area {
            span: Span { start, end },
            kind,
        };
        let machine = [area(20, 30, USABLE), area(0, 20, USABLE), area(30, 40, RESERVED)];
        assert!(is_usable(&machine, Span { start: 5, end: 30 }));
        assert!(!is_usable(&machine, Span { start: 5, end: 31 }));
        assert!(!is_usable(&[], Span { start: 5, end: 6 }));
    }

    #[test]
    fn what_is_hidden_becomes_reserved() {
        let hidden = [span(0x10_0000, 0x18_0000), span(0x700_0000, 0x710_0000)];
        let map = MemoryMap::without(PC.into_iter(), &hidden).expect("it fits");
        let seen: Vec<_> = map
            .areas()
            .iter()
            .map(|area| (area.span.start, area.span.end, area.kind))
            .collect();
        assert_eq!(
            seen,
            [
                (0, 0x9_fc00, USABLE),
                (0xf_0000, 0x10_0000, RESERVED),
                (0x10_0000, 0x18_0000, RESERVED),
                (0x18_0000, 0x700_0000, USABLE),
                (0x700_0000, 0x710_0000, RESERVED),
                (0x710_0000, 0x800_0000, USABLE),
                (0xfffc_0000, 0x1_0000_0000, RESERVED),
            ]
        );
    }

    #[test]
    fn a_map_that_does_not_fit_is_an_error() {
        let many = (0..=MAX_AREAS as u64).map(|page| Area {
            span: Span::sized(page << 12, 0x1000),
            kind: USABLE,
        });
        assert!(MemoryMap::without(many, &[]).is_err());
    }

    #[test]
    fn remains_are_what_no_hole_touches() {
        let left = |holes: &[Span]| {
            remains(span(10, 20), holes)
                .map(|s| (s.start, s.end))
                .collect::<Vec<_>>()
        };
        assert_eq!(left(&[]), [(10, 20)]);
        assert_eq!(
            left(&[span(0, 5), span(12, 14), span(13, 15), span(30, 40)]),
            [(10, 12), (15, 20)]
        );
        assert_eq!(left(&[span(0, 11), span(19, 25)]), [(11, 19)]);
        assert_eq!(left(&[span(10, 20)]), []);
        assert_eq!(left(&[span(0, 100)]), []);
    }

    #[test]
    fn places_are_free_aligned_and_inside() {
        let wanted = |size, start, end| Wanted {
            size,
            align: 0x20_0000,
            within: span(start, end),
        };
        let taken = [span(0x10_0000, 0x18_0000), span(0x110_0000, 0x120_0000)];
        let low = |wanted| lowest_place(&PC, &taken, wanted).map(|place| place.start);
        let high = |wanted| highest_place(&PC, &taken, wanted).map(|place| place.start);
        assert_eq!(low(wanted(0x10_0000, 0, u64::MAX)), Some(0x20_0000));
        assert_eq!(low(wanted(0x10_0000, 0x100_0000, u64::MAX)), Some(0x100_0000));
        assert_eq!(low(wanted(0x20_0000, 0x100_0000, u64::MAX)), Some(0x120_0000));
        assert_eq!(high(wanted(0x10_0000, 0, u64::MAX)), Some(0x7e0_0000));
        assert_eq!(high(wanted(0x10_0000, 0, 0x200_0000)), Some(0x1e0_0000));
        assert_eq!(low(wanted(0x800_0000, 0, u64::MAX)), None);
        assert_eq!(low(wanted(u64::MAX, 0, u64::MAX)), None);
    }
}
