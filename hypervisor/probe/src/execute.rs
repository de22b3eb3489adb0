//! Executes a batch: memory, steps, records.

use core::slice;

use probe_format::{Bad, Batch, Full, Program, Recorder, Region, Step, settle};
use runtime::log;
use runtime::msr::try_rdmsr;
use svm::msr::VM_HSAVE_PA;

use crate::pages::Pages;
use crate::state::AfterBoot;
use crate::watched::Watched;
use crate::{crossing, sections, tables};

/// Why a program did not get to its end.
enum Stop {
    Bad(Bad),
    Full,
}

impl From<Bad> for Stop {
    fn from(bad: Bad) -> Self {
        Self::Bad(bad)
    }
}

impl From<Full> for Stop {
    fn from(_: Full) -> Self {
        Self::Full
    }
}

/// Executes the programs of a batch, to the last or until the results are full; returns how many ended.
pub fn batch(batch: Batch<'_>) -> Result<u32, Bad> {
    let (at, size) = sections::results();
    let limit = match batch.results_limit {
        0 => size,
        limit => size.min(limit as usize),
    };
    // SAFETY: image.ld keeps this memory free, and there is only this recorder.
    let Ok(mut recorder) = (unsafe { Recorder::new(at, limit) }) else {
        log!("the results cannot have {limit} bytes");
        return Ok(0);
    };
    crossing::prepare();
    tables::prepare();
    let after_boot = AfterBoot::read();
    let mut pages = Pages::new(batch.spread);
    let mut ended = 0;
    for one in batch.programs() {
        match program(batch, one?, &after_boot, &mut pages, &mut recorder) {
            Ok(()) => ended += 1,
            Err(Stop::Full) => {
                recorder.take_back();
                return Ok(ended);
            }
            Err(Stop::Bad(bad)) => return Err(bad),
        }
    }
    recorder.finish();
    Ok(ended)
}

fn program(
    batch: Batch<'_>,
    program: Program<'_>,
    after_boot: &AfterBoot,
    pages: &mut Pages,
    recorder: &mut Recorder,
) -> Result<(), Stop> {
    recorder.begin_program(program.index, program.tag)?;
    after_boot.restore(program.reset);
    for region in batch.shared().chain(program.regions()) {
        fill(region?);
    }
    let mut watched = Watched::new(program)?;
    for one in program.steps() {
        step(&one?, pages, &mut watched, recorder)?;
    }
    recorder.close_program();
    Ok(())
}

fn step(step: &Step<'_>, pages: &mut Pages, watched: &mut Watched<'_>, recorder: &mut Recorder) -> Result<(), Full> {
    let start = pages.place(step.mode, step.code);
    recorder.begin_step();
    let left = crossing::run(step, start);
    recorder.end_step(left.head, &left.registers)?;
    if step.state() {
        recorder.state(left.efer, try_rdmsr(VM_HSAVE_PA).unwrap_or(0))?;
    }
    if step.time() {
        recorder.time(left.time)?;
    }
    if step.xmm.is_some() {
        recorder.xmm(crossing::xmm())?;
    }
    if step.look() {
        watched.look(recorder)?;
    }
    recorder.close_step();
    Ok(())
}

fn fill(region: Region<'_>) {
    // SAFETY: a region lies in the scratch memory, which is identity-mapped RAM that nothing else uses; no step runs.
    settle(
        unsafe { slice::from_raw_parts_mut(region.address as *mut u8, region.size as usize) },
        region.bytes,
    );
}
