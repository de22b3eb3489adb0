//! The built-in guests: flat binaries that the build script assembles from `guests/*.asm`.

/// A guest's image.
pub struct Image {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its bytes, loaded at guest-physical 7C00h.
    pub bytes: &'static [u8],
}

macro_rules! guests {
    ($($name:literal),* $(,)?) => {
        /// Every guest; the first is the default.
        pub static ALL: &[Image] =
            &[$(Image { name: $name, bytes: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".bin")) }),*];
    };
}

guests![
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
    "torn"
];

/// The guest with this name.
pub fn find(name: &str) -> Option<&'static Image> {
    ALL.iter().find(|image| image.name == name)
}
