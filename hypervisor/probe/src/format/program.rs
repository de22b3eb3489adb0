//! A program: memory to fill, memory to watch, steps to take.

use crate::bytes::{u16_at, u32_at};
use crate::{Bad, MAX_WATCHED, Region, Step, Watch, Why};

const HEAD: usize = 16;
const RESET: u16 = 1 << 0;

/// The record of a program; its parts are checked as they are read.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Its number in the batch, counted from 0.
    pub index: u32,
    /// Echoed in the results.
    pub tag: u32,
    /// Begin with more of the processor's state as it was after boot.
    pub reset: bool,
    regions: &'a [u8],
    watches: &'a [u8],
    steps: &'a [u8],
    step_count: u16,
    batch: &'a [u8],
}

impl<'a> Program<'a> {
    /// Reads the program that `bytes` begin with; returns it and how long its record is.
    pub(crate) fn read(index: u32, bytes: &'a [u8], batch: &'a [u8]) -> Result<(Self, usize), Why> {
        let length = bytes.get(..HEAD).map_or(0, |head| u32_at(head, 0));
        let record = bytes.get(..length as usize).filter(|record| record.len() >= HEAD);
        let record = record.filter(|_| length % 8 == 0).ok_or(Why::Length(length))?;
        let flags = u16_at(record, 10);
        if flags & !RESET != 0 {
            return Err(Why::Unknown((flags & !RESET).into()));
        }
        let regions = Region::RECORD * usize::from(u16_at(record, 4));
        let watches = Watch::RECORD * usize::from(u16_at(record, 6));
        let step_count = u16_at(record, 8);
        let parts = record[HEAD..].split_at_checked(regions).and_then(|(regions, rest)| {
            let (watches, steps) = rest.split_at_checked(watches)?;
            (step_count > 0 || steps.is_empty()).then_some((regions, watches, steps))
        });
        let (regions, watches, steps) = parts.ok_or(Why::Length(length))?;
        let program = Self {
            index,
            tag: u32_at(record, 12),
            reset: flags & RESET != 0,
            regions,
            watches,
            steps,
            step_count,
            batch,
        };
        Ok((program, record.len()))
    }

    /// Whether every part is well-formed.
    pub(crate) fn check(&self) -> Result<(), Bad> {
        self.regions().try_for_each(|region| region.map(drop))?;
        let mut watched = 0u32;
        for watch in self.watches() {
            watched = watched.saturating_add(watch?.size);
        }
        if watched > MAX_WATCHED {
            return Err(self.bad(Why::Watched(watched)));
        }
        self.steps().try_for_each(|step| step.map(drop))
    }

    /// Its own regions, in order.
    pub fn regions(self) -> impl Iterator<Item = Result<Region<'a>, Bad>> {
        Region::all(self.regions, self.batch).map(move |region| region.map_err(|why| self.bad(why)))
    }

    /// Its watches, in order.
    pub fn watches(self) -> impl Iterator<Item = Result<Watch, Bad>> + use<'a> {
        Watch::all(self.watches).map(move |watch| watch.map_err(|why| self.bad(why)))
    }

    /// Its steps, in order.
    pub fn steps(self) -> impl Iterator<Item = Result<Step<'a>, Bad>> {
        let mut rest = self.steps;
        (0..self.step_count).map(move |n| {
            let at = |why| Bad {
                step: Some(n),
                ..self.bad(why)
            };
            let (step, length) = Step::read(rest).map_err(at)?;
            rest = &rest[length..];
            match rest.len() {
                excess if excess > 0 && n + 1 == self.step_count => Err(at(Why::Length(excess as u32))),
                _ => Ok(step),
            }
        })
    }

    const fn bad(&self, why: Why) -> Bad {
        Bad {
            program: Some(self.index),
            step: None,
            why,
        }
    }
}
