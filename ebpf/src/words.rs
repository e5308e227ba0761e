//! Clearing and copying by words. The compiler would call `memset` and `memcpy`, which go byte by byte: slow to run, and
//! slow for the verifier to check.

/// Zeroes `value`.
///
/// # Safety
/// All bytes zero must be a valid `T`; `T` must be 8-aligned and a multiple of 8 bytes.
#[inline(always)]
pub unsafe fn zero<T>(value: &mut T) {
    const { assert!(size_of::<T>() % 8 == 0 && align_of::<T>() == 8) };
    let words: *mut u64 = (&raw mut *value).cast();
    let mut word = 0;
    while word < size_of::<T>() / 8 {
        // SAFETY: inside the value; volatile, so that the loop is not made a call.
        unsafe { words.add(word).write_volatile(0) };
        word += 1;
    }
}

/// Copies a value word by word.
///
/// # Safety
/// `T` must be 8-aligned and a multiple of 8 bytes.
#[inline(always)]
pub unsafe fn copy_value<T: Copy>(target: &mut T, source: &T) {
    const { assert!(size_of::<T>() % 8 == 0 && align_of::<T>() == 8) };
    let (target, source): (*mut u64, *const u64) =
        ((&raw mut *target).cast(), (&raw const *source).cast());
    let mut word = 0;
    while word < size_of::<T>() / 8 {
        // SAFETY: inside both; volatile, so that the loop is not made a call.
        unsafe { target.add(word).write_volatile(source.add(word).read_volatile()) };
        word += 1;
    }
}

/// Copies words.
#[inline(always)]
pub fn copy<const N: usize>(target: &mut [u64; N], source: &[u64; N]) {
    let mut word = 0;
    while word < N {
        // SAFETY: inside both; volatile, so that the loop is not made a call.
        unsafe {
            (&raw mut target[word]).write_volatile((&raw const source[word]).read_volatile())
        };
        word += 1;
    }
}
