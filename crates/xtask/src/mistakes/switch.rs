//! Which mistake is to be made: at most one, by its number, in the whole process. Written into the copy by `cargo xtask`.

use std::sync::atomic::{AtomicU32, Ordering};

const UNREAD: u32 = u32::MAX;

static CHOSEN: AtomicU32 = AtomicU32::new(UNREAD);

/// Whether this mistake is to be made.
#[inline]
pub fn on(mistake: u32) -> bool {
    chosen() == mistake
}

/// The number in `KAVKA_MISTAKE`, or what was chosen since; 0 is none.
#[inline]
pub fn chosen() -> u32 {
    match CHOSEN.load(Ordering::Relaxed) {
        UNREAD => read(),
        known => known,
    }
}

/// Chooses another mistake, or none with 0.
pub fn choose(mistake: u32) {
    CHOSEN.store(mistake, Ordering::Relaxed);
}

#[cold]
fn read() -> u32 {
    let number = std::env::var("KAVKA_MISTAKE").ok().and_then(|number| number.parse().ok());
    choose(number.unwrap_or(0));
    number.unwrap_or(0)
}
