//! Assembles the world switch and the guests, and links the hypervisor as an image.

use std::env;

use svmconf_build::{Format, Image, assemble, assemble_with, link_image, manifest_dir};

const GUESTS: [&str; 20] = [
    "hello", "long64", "cpl3", "hidden", "spin", "mixed", "halt", "triple", "stray", "odd", "fuzz", "grab", "exits",
    "lengths", "hang", "modes", "outs", "rings", "sweep", "torn",
];

fn main() {
    let folder = manifest_dir();
    let guests = folder.join("../guests");
    let include = guests.join("include");
    for name in GUESTS {
        assemble(&guests.join(name).with_extension("asm"), Format::Flat, &[&include]);
    }

    // The one defect that is a missing instruction.
    let gif_set = env::var_os("CARGO_FEATURE_DEFECT_GIF_SET").map(|_| "DEFECT_GIF_SET");
    let asm = folder.join("asm");
    let world = assemble_with(&asm.join("world.asm"), Format::Elf64, &[&asm], gif_set.as_slice());
    let os_world = assemble(&asm.join("os_world.asm"), Format::Elf64, &[&asm]);
    let runtime = folder.join("../runtime/asm");
    let startup = assemble(&asm.join("startup.asm"), Format::Elf64, &[&asm, &runtime]);
    link_image(Image::default(), &[world, os_world, startup]);
}
