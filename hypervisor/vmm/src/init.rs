//! What the first process of a Linux has to do before anything works: file systems and modules.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;

/// Mounts what we need and loads every module in /modules, in the order of their names.
pub fn prepare() -> io::Result<()> {
    for (kind, place) in [(c"devtmpfs", c"/dev"), (c"proc", c"/proc"), (c"sysfs", c"/sys")] {
        mount(kind, place)?;
    }
    mount(c"tracefs", c"/sys/kernel/tracing")?;
    let mut modules: Vec<_> = fs::read_dir("/modules")?.collect::<Result<_, _>>()?;
    modules.sort_by_key(fs::DirEntry::file_name);
    for module in modules {
        let name = module.file_name().to_string_lossy().into_owned();
        let parameters = if name.ends_with("kvm-amd.ko") { c"nested=1" } else { c"" };
        load(&File::open(module.path())?, parameters)
            .map_err(|error| io::Error::other(format!("module {name}: {error}")))?;
    }
    Ok(())
}

/// Ends the emulator, too.
pub fn power_off() -> ! {
    // SAFETY: the call takes no pointers; as the first process we may.
    unsafe { libc::reboot(libc::RB_POWER_OFF) };
    unreachable!("a Linux without power");
}

fn mount(kind: &CStr, place: &CStr) -> io::Result<()> {
    // SAFETY: every pointer is to a string that ends; no data is passed.
    let done = unsafe { libc::mount(kind.as_ptr(), place.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) };
    checked(done.into()).map_err(|error| io::Error::other(format!("mounting {}: {error}", place.to_string_lossy())))
}

fn load(module: &File, parameters: &CStr) -> io::Result<()> {
    let parameters = CString::from(parameters);
    // SAFETY: the descriptor is open and the string ends.
    checked(unsafe { libc::syscall(libc::SYS_finit_module, module.as_raw_fd(), parameters.as_ptr(), 0) })
}

fn checked(result: i64) -> io::Result<()> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
