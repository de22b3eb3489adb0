//! Assembles the world switch and the guests, and links the hypervisor as an image.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

use svmconf_build::{Format, Image, assemble, assemble_with, link_image, manifest_dir, out_dir};

fn main() {
    let folder = manifest_dir();
    guests(&folder.join("../guests"));

    let asm = folder.join("asm");
    let defects: &[&str] = match env::var_os("CARGO_FEATURE_DEFECTS") {
        Some(_) => &["DEFECTS"],
        None => &[],
    };
    let world = assemble_with(&asm.join("world.asm"), Format::Elf64, &[&asm], defects);
    let os_world = assemble(&asm.join("os_world.asm"), Format::Elf64, &[&asm]);
    let runtime = folder.join("../runtime/asm");
    let startup = assemble(&asm.join("startup.asm"), Format::Elf64, &[&asm, &runtime]);
    link_image(Image::default(), &[world, os_world, startup]);
}

/// Assembles every guest of the folder, and writes the list that `src/guests.rs` includes, in the order of names.
fn guests(folder: &Path) {
    println!("cargo::rerun-if-changed={}", folder.display());
    let files = fs::read_dir(folder).expect("the guests have a folder");
    let mut sources: Vec<_> = files.map(|file| file.expect("it can be listed").path()).collect();
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "asm"));
    sources.sort();
    let mut list = String::from("&[\n");
    for source in sources {
        let binary = assemble(&source, Format::Flat, &[&folder.join("include")]);
        let name = source.file_stem().expect("it has a name").to_string_lossy();
        writeln!(list, "Image {{ name: {name:?}, bytes: include_bytes!({binary:?}) }},").expect("a string grows");
    }
    list.push(']');
    fs::write(out_dir().join("guests.rs"), list).expect("OUT_DIR can be written");
}
