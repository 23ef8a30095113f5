//! SHA-1's compression function over several messages at once.
//!
//! Each round of SHA-1 waits for the one before, so that a single message leaves the processor's SHA unit idle half of
//! the time and more. The rounds of independent messages fill the gaps: two of them take little longer than one.

/// Most messages at a time. Eight would need more registers than there are.
pub(crate) const LANES: usize = 4;

/// The chaining value.
pub(crate) type State = [u32; 5];

/// What the function takes at a time.
pub(crate) type Chunk = [u8; 64];

/// How many pieces at a time this processor hashes for less than one after another; 1 when it gains nothing.
pub fn hash_lanes() -> usize {
    if is_supported() { LANES } else { 1 }
}

/// Advances each state by its chunks. All have as many chunks as the first, 0 to [`LANES`] of them.
#[cfg_attr(target_arch = "x86_64", allow(unsafe_code))]
pub(crate) fn compress<const N: usize>(states: &mut [State; N], chunks: [&[Chunk]; N]) {
    const { assert!(N <= LANES) };
    assert!(chunks.windows(2).all(|pair| pair[0].len() == pair[1].len()), "messages of different length");
    #[cfg(target_arch = "x86_64")]
    if N > 1 && is_supported() {
        // SAFETY: the processor has the instructions; it was asked just now.
        unsafe {
            x86::compress(states, chunks);
        }
        return;
    }
    for (state, chunks) in states.iter_mut().zip(chunks) {
        sha1::block_api::compress(state, chunks);
    }
}

#[cfg(target_arch = "x86_64")]
fn is_supported() -> bool {
    is_x86_feature_detected!("sha") && is_x86_feature_detected!("ssse3") && is_x86_feature_detected!("sse4.1")
}

#[cfg(not(target_arch = "x86_64"))]
fn is_supported() -> bool {
    false
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Chunk, State};
    use std::arch::x86_64::*;

    /// Words come with the highest byte first, and the first word is kept in the highest lane.
    const ORDER: (i64, i64) = (0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f);

    /// Four rounds with the words as they are.
    macro_rules! rounds {
        ($f:literal, $a:ident, $e:ident, $w:ident, $at:literal) => {
            for lane in 0..N {
                let e = _mm_sha1nexte_epu32($e[lane], $w[lane][$at]);
                $e[lane] = _mm_sha1rnds4_epu32::<$f>($a[lane], e);
            }
        };
    }

    /// Makes four words of the sixteen before, in the place of the oldest, and does four rounds with them.
    macro_rules! scheduled {
        ($f:literal, $a:ident, $e:ident, $w:ident, $at:literal) => {
            for lane in 0..N {
                let [w0, w1, w2, w3] = [0, 1, 2, 3].map(|i: usize| $w[lane][($at + i) % 4]);
                $w[lane][$at] = _mm_sha1msg2_epu32(_mm_xor_si128(_mm_sha1msg1_epu32(w0, w1), w2), w3);
            }
            rounds!($f, $a, $e, $w, $at);
        };
    }

    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    pub(super) fn compress<const N: usize>(states: &mut [State; N], chunks: [&[Chunk]; N]) {
        let mut abcd = states.map(|s| _mm_set_epi32(s[0] as i32, s[1] as i32, s[2] as i32, s[3] as i32));
        let mut e = states.map(|s| _mm_set_epi32(s[4] as i32, 0, 0, 0));
        for at in 0..chunks.first().map_or(0, |chunks| chunks.len()) {
            let mut w = chunks.map(|chunks| load(&chunks[at]));
            let (mut x, mut y) = (abcd, e);
            for lane in 0..N {
                let first = _mm_add_epi32(y[lane], w[lane][0]);
                y[lane] = _mm_sha1rnds4_epu32::<0>(x[lane], first);
            }
            rounds!(0, y, x, w, 1);
            rounds!(0, x, y, w, 2);
            rounds!(0, y, x, w, 3);
            scheduled!(0, x, y, w, 0);

            scheduled!(1, y, x, w, 1);
            scheduled!(1, x, y, w, 2);
            scheduled!(1, y, x, w, 3);
            scheduled!(1, x, y, w, 0);
            scheduled!(1, y, x, w, 1);

            scheduled!(2, x, y, w, 2);
            scheduled!(2, y, x, w, 3);
            scheduled!(2, x, y, w, 0);
            scheduled!(2, y, x, w, 1);
            scheduled!(2, x, y, w, 2);

            scheduled!(3, y, x, w, 3);
            scheduled!(3, x, y, w, 0);
            scheduled!(3, y, x, w, 1);
            scheduled!(3, x, y, w, 2);
            scheduled!(3, y, x, w, 3);
            for lane in 0..N {
                abcd[lane] = _mm_add_epi32(abcd[lane], x[lane]);
                e[lane] = _mm_sha1nexte_epu32(y[lane], e[lane]);
            }
        }
        for lane in 0..N {
            states[lane] = [
                _mm_extract_epi32::<3>(abcd[lane]) as u32,
                _mm_extract_epi32::<2>(abcd[lane]) as u32,
                _mm_extract_epi32::<1>(abcd[lane]) as u32,
                _mm_extract_epi32::<0>(abcd[lane]) as u32,
                _mm_extract_epi32::<3>(e[lane]) as u32,
            ];
        }
    }

    #[inline]
    #[allow(unsafe_code)]
    #[target_feature(enable = "sse2,ssse3")]
    fn load(chunk: &Chunk) -> [__m128i; 4] {
        let order = _mm_set_epi64x(ORDER.0, ORDER.1);
        let (words, _) = chunk.as_chunks::<16>();
        [0, 1, 2, 3].map(|at: usize| {
            // SAFETY: a chunk is four times 16 bytes, and the load asks for no alignment.
            let word = unsafe { _mm_loadu_si128(words[at].as_ptr().cast()) };
            _mm_shuffle_epi8(word, order)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: State = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

    fn agrees<const N: usize>(states: [State; N], bytes: &[u8]) {
        let (chunks, _) = bytes.as_chunks::<64>();
        let each = chunks.len() / N;
        let lists: [&[Chunk]; N] = std::array::from_fn(|lane| &chunks[lane * each..][..each]);
        let mut found = states;
        compress(&mut found, lists);
        let mut expected = states;
        for (state, chunks) in expected.iter_mut().zip(lists) {
            sha1::block_api::compress(state, chunks);
        }
        assert_eq!(found, expected, "{N} lanes of {each} chunks");
    }

    #[test]
    fn lanes_are_gained_from_where_the_processor_has_the_instructions() {
        assert!([1, LANES].contains(&hash_lanes()));
        assert_eq!(hash_lanes() == 1, !is_supported());
    }

    #[test]
    #[should_panic(expected = "messages of different length")]
    fn messages_of_different_length_are_refused() {
        compress(&mut [START; 2], [&[[0; 64]; 2], &[[0; 64]; 1]]);
    }

    proptest! {
        #[test]
        fn all_lanes_agree_with_one(
            states in any::<[State; LANES]>(),
            bytes in proptest::collection::vec(any::<u8>(), 0..5000),
        ) {
            agrees::<1>([states[0]], &bytes);
            agrees::<2>([states[0], states[1]], &bytes);
            agrees::<3>([states[0], states[1], states[2]], &bytes);
            agrees::<4>(states, &bytes);
        }
    }
}
