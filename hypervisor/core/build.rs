//! Assembles the world switch and the guests, and links the hypervisor as an image.

use std::env;

use svmconf_build::{Format, Image, assemble, assemble_with, link_image, manifest_dir};

const GUESTS: [&str; 24] = [
    "hello",
    "long64",
    "cpl3",
    "hidden",
    "spin",
    "mixed",
    "halt",
    "triple",
    "stray",
    "odd",
    "fuzz",
    "grab",
    "exits",
    "lengths",
    "interrupts",
    "cut",
    "double",
    "canary",
    "hang",
    "modes",
    "outs",
    "rings",
    "sweep",
    "torn",
];

fn main() {
    let folder = manifest_dir();
    let guests = folder.join("../guests");
    let include = guests.join("include");
    for name in GUESTS {
        assemble(&guests.join(name).with_extension("asm"), Format::Flat, &[&include]);
    }

    // The defects that are a missing instruction.
    let missing: Vec<&str> = ["DEFECT_GIF_SET", "DEFECT_HOST_STATE_LEFT"]
        .into_iter()
        .filter(|defect| env::var_os(format!("CARGO_FEATURE_{defect}")).is_some())
        .collect();
    let asm = folder.join("asm");
    let world = assemble_with(&asm.join("world.asm"), Format::Elf64, &[&asm], &missing);
    let os_world = assemble(&asm.join("os_world.asm"), Format::Elf64, &[&asm]);
    let runtime = folder.join("../runtime/asm");
    let startup = assemble(&asm.join("startup.asm"), Format::Elf64, &[&asm, &runtime]);
    link_image(Image::default(), &[world, os_world, startup]);
}
