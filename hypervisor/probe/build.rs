//! Assembles the crossing into a step and back, and links the probe as an image.

use svmconf_build::{Format, Image, assemble, link_image, manifest_dir};

fn main() {
    let asm = manifest_dir().join("asm");
    let step = assemble(&asm.join("step.asm"), Format::Elf64, &[&asm]);
    // Steps at CPL 3 use the same identity map.
    link_image(Image { user_pages: true }, &[step]);
}
