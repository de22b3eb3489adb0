//! Assembles the runtime's NASM sources and tells the images where the objects and the linker script are.

use svmconf_build::{Format, assemble, manifest_dir};

const SOURCES: [&str; 5] = ["boot", "exceptions", "mem", "sensitive", "exit"];

fn main() {
    let dir = manifest_dir();
    let asm = dir.join("asm");
    let objects: Vec<String> = SOURCES
        .iter()
        .map(|name| {
            assemble(&asm.join(name).with_extension("asm"), Format::Elf64, &[&asm])
                .display()
                .to_string()
        })
        .collect();
    println!("cargo::metadata=objects={}", objects.join(":"));
    println!("cargo::metadata=script={}", dir.join("image.ld").display());
}
