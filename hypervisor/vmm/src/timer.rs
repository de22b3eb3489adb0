//! A tick that brings a running machine back to us: what else is there to do is looked at then.

use std::io;
use std::time::Duration;

/// How often a running machine is looked at.
pub const TICK: Duration = Duration::from_millis(50);

/// Lets the tick interrupt system calls rather than end us.
pub fn install() -> io::Result<()> {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: the handler does nothing, which is safe at any moment; without SA_RESTART the call in progress returns.
    let done = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut())
    };
    if done == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Ticks while it lives.
pub struct Ticking;

impl Ticking {
    pub fn every(interval: Duration) -> Self {
        set(interval);
        Self
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        set(Duration::ZERO);
    }
}

/// The next ticks come at this interval; none at zero.
pub fn set(interval: Duration) {
    let time = libc::timeval {
        tv_sec: interval.as_secs() as i64,
        tv_usec: interval.subsec_micros().into(),
    };
    let timer = libc::itimerval {
        it_interval: time,
        it_value: time,
    };
    // SAFETY: the structure is ours; the old value is not asked for.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };
}
