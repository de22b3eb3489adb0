//! Assembles the crossing into a step and back, and links the probe as an image.

use svmconf_build::{Format, Image, assemble, link_image, manifest_dir};

fn main() {
    let asm = manifest_dir().join("asm");
    let objects =
        ["step", "legacy", "state"].map(|name| assemble(&asm.join(name).with_extension("asm"), Format::Elf64, &[&asm]));
    let real = assemble(&asm.join("real.asm"), Format::Flat, &[&asm]);
    println!("cargo::rustc-env=REAL_MODE_CODE={}", real.display());
    let image = Image {
        user_pages: true, // steps at CPL 3 use the same identity map
        script: Some(manifest_dir().join("image.ld")),
    };
    link_image(image, &objects);
}
