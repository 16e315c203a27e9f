//! The allocator of the programs.

use libmimalloc_sys::{mi_option_set, mi_option_t};

/// glibc gives large buffers back to the system at every step of training, and takes them anew at
/// the next.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of `mimalloc.h`, which the bindings do not name.
const PURGE_DELAY: mi_option_t = 15;

/// Keeps what is freed for later, as every step of training asks for the same again. The process
/// holds more memory than it uses at a time. Whoever sets `MIMALLOC_PURGE_DELAY` (milliseconds until
/// freed memory is given back) decides otherwise.
pub fn keep_freed_memory() {
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
        // SAFETY: it stores one number, which other threads read when they give memory back.
        unsafe { mi_option_set(PURGE_DELAY, -1) };
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// The allocator reads its variables when a process begins, so another one is asked whether the
    /// option is the one of this name, and stays.
    #[test]
    fn the_variable_has_the_last_word() {
        const VARIABLE: &str = "MIMALLOC_PURGE_DELAY";
        // SAFETY: it reads one number.
        let delay = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        let set = std::env::var(VARIABLE).is_ok();
        keep_freed_memory();
        if set {
            println!("{VARIABLE} is {}", delay());
            return;
        }
        assert_eq!(delay(), -1);
        let other = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "memory::tests::the_variable_has_the_last_word"])
            .arg("--nocapture")
            .env(VARIABLE, "1234")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&other.stdout).into_owned();
        assert!(said.contains("MIMALLOC_PURGE_DELAY is 1234"), "{said}");
    }
}
