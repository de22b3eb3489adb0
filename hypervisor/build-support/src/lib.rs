//! What the build scripts of the workspace share: calling NASM, and linking a freestanding image.
//!
//! An image is an ordinary binary of the host target that is linked by our own script, without the C start files and
//! libraries. `svmconf-runtime` assembles the boot code and tells, through Cargo's `links` metadata, where the objects
//! and the script are; [`link_image`] hands both to the linker.
#![warn(missing_docs)]

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What NASM shall write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// An object for the linker.
    Elf64,
    /// A flat binary: a guest.
    Flat,
}

/// `$OUT_DIR` of the build script that asks.
pub fn out_dir() -> PathBuf {
    PathBuf::from(env::var_os("OUT_DIR").expect("build scripts run with OUT_DIR set"))
}

/// The folder of the package that is being built.
pub fn manifest_dir() -> PathBuf {
    PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("build scripts run with CARGO_MANIFEST_DIR set"))
}

/// Assembles `source` into `$OUT_DIR` and returns the file written. `include` folders are searched for `%include`.
///
/// Warnings are errors. The environment variable `NASM` names another assembler.
pub fn assemble(source: &Path, format: Format, include: &[&Path]) -> PathBuf {
    assemble_with(source, format, include, &[])
}

/// The same with macros defined.
pub fn assemble_with(source: &Path, format: Format, include: &[&Path], defines: &[&str]) -> PathBuf {
    let (flag, extension) = match format {
        Format::Elf64 => ("-felf64", "o"),
        Format::Flat => ("-fbin", "bin"),
    };
    let name = source.file_stem().expect("a source file has a name");
    let output = out_dir().join(name).with_extension(extension);
    let nasm = env::var("NASM").unwrap_or_else(|_| "nasm".to_owned());
    let mut command = Command::new(&nasm);
    command.args([flag, "-w+all", "-w+error"]);
    if format == Format::Elf64 {
        command.args(["-g", "-Fdwarf"]);
    }
    for folder in include {
        println!("cargo::rerun-if-changed={}", folder.display());
        command.arg(format!("-I{}/", folder.display()));
    }
    command.args(defines.iter().map(|name| format!("-D{name}")));
    command.arg("-o").arg(&output).arg(source);
    println!("cargo::rerun-if-changed={}", source.display());
    println!("cargo::rerun-if-env-changed=NASM");
    let status = command
        .status()
        .unwrap_or_else(|error| panic!("cannot run {nasm}: {error} (is NASM installed?)"));
    assert!(status.success(), "{nasm} failed on {}", source.display());
    output
}

/// How an image differs from the common one.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Let CPL 3 reach all of the identity map. The probe wants that, the hypervisor must not.
    pub user_pages: bool,
    /// A linker script in place of the common one.
    pub script: Option<PathBuf>,
}

/// Tells Cargo how to link the binaries of this package as an image that boots.
///
/// Call it from the build script of a package that depends on `svmconf-runtime`; `objects` are further objects to link.
pub fn link_image(image: Image, objects: &[PathBuf]) {
    demand_no_red_zone();
    let script = image.script.unwrap_or_else(|| runtime_metadata("SCRIPT").into());
    println!("cargo::rerun-if-changed={}", script.display());
    // -static and -no-pie: nobody is there to relocate the image. Not -n: it would unalign the segments.
    for flag in ["-nostartfiles", "-nostdlib", "-static", "-no-pie"] {
        link_arg(flag);
    }
    link_arg("-Wl,-zmax-page-size=0x1000");
    link_arg("-Wl,--build-id=none");
    link_arg(&format!("-Wl,--defsym=boot_user_pages={}", u8::from(image.user_pages)));
    link_arg(&format!("-Wl,-T,{}", script.display()));
    for object in runtime_metadata("OBJECTS").split(':') {
        link_arg(object);
    }
    for object in objects {
        link_arg(&object.display().to_string());
    }
}

/// Images handle exceptions on the stack that they interrupt: without this flag the compiler keeps data where the frame goes.
const NO_RED_ZONE: &str = "-Cno-redzone=yes";

/// Fails unless the compiler gets that flag. It is in `.cargo/config.toml`, which cargo does not look at when RUSTFLAGS is
/// set, and does not find from another folder.
fn demand_no_red_zone() {
    println!("cargo::rerun-if-env-changed=CARGO_ENCODED_RUSTFLAGS");
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    if has_no_red_zone(&flags) {
        return;
    }
    println!(
        "cargo::error=an image needs {NO_RED_ZONE}: build in the folder hypervisor/, and without RUSTFLAGS in the \
         environment, or with that flag in it"
    );
    std::process::exit(1);
}

/// Whether these flags, which 1Fh separates, have it, in one word or in two.
fn has_no_red_zone(flags: &str) -> bool {
    flags
        .replace("-C\u{1f}", "-C")
        .split('\u{1f}')
        .any(|flag| flag == NO_RED_ZONE)
}

fn link_arg(argument: &str) {
    println!("cargo::rustc-link-arg-bins={argument}");
}

fn runtime_metadata(key: &str) -> String {
    env::var(format!("DEP_SVMCONF_RUNTIME_{key}"))
        .unwrap_or_else(|_| panic!("only a direct dependent of svmconf-runtime can be linked as an image"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_is_found_among_others() {
        assert!(has_no_red_zone("-Cno-redzone=yes"));
        assert!(has_no_red_zone("-Ctarget-cpu=native\u{1f}-C\u{1f}no-redzone=yes"));
        assert!(!has_no_red_zone(""));
        assert!(!has_no_red_zone("-Ctarget-cpu=native\u{1f}-Cno-redzone=no"));
    }
}
