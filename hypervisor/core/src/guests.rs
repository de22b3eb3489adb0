//! The built-in guests: flat binaries that the build script assembles, one of each `guests/*.asm`.

/// A guest's image.
pub struct Image {
    /// Its name on the command line: its file's.
    pub name: &'static str,
    /// Its bytes, loaded at guest-physical 7C00h.
    pub bytes: &'static [u8],
}

static ALL: &[Image] = include!(concat!(env!("OUT_DIR"), "/guests.rs"));

/// The guest that runs when none is asked for.
pub fn default() -> &'static Image {
    find("hello").expect("the folder has it")
}

/// The guest with this name.
pub fn find(name: &str) -> Option<&'static Image> {
    ALL.iter().find(|image| image.name == name)
}
