//! CRC16 by carry-less multiplication, on processors of the x86-64 family that have it: half the instructions of the
//! tables.
//!
//! A text is a polynomial over GF(2) whose highest coefficient is the first bit of the first byte, and its CRC is the
//! remainder of text * x^16 by [`POLYNOMIAL`]. Multiplication by a power of x modulo the polynomial takes a part of the
//! text to another place (folding); the remainder of the last 64 bits is found by Barrett reduction. See V. Gopal et al.,
//! "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction".

use std::arch::x86_64::{
    __m128i, _mm_and_si128, _mm_clmulepi64_si128, _mm_cmpeq_epi8, _mm_cvtsi64_si128,
    _mm_cvtsi128_si64, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8, _mm_slli_si128,
    _mm_xor_si128,
};

/// x^16 + x^12 + x^5 + 1.
const POLYNOMIAL: u64 = 0x11021;

/// The remainder of x^n by the polynomial.
const fn power(n: u32) -> i64 {
    let (mut remainder, mut done) = (1, 0);
    while done < n {
        remainder <<= 1;
        if remainder & 0x10000 != 0 {
            remainder ^= POLYNOMIAL;
        }
        done += 1;
    }
    remainder as i64
}

/// The quotient of x^64 by the polynomial.
const QUOTIENT: u64 = {
    let (mut rest, mut quotient, mut at) = (1u128 << 64, 0, 64);
    while at >= 16 {
        if rest >> at & 1 != 0 {
            rest ^= (POLYNOMIAL as u128) << (at - 16);
            quotient |= 1 << (at - 16);
        }
        at -= 1;
    }
    quotient
};

/// The CRC16 (XMODEM) of some bytes, and whether they contain a `{`. `None` if the processor cannot do it.
#[inline]
pub fn crc(bytes: &[u8]) -> Option<(u16, bool)> {
    if !std::arch::is_x86_feature_detected!("pclmulqdq") {
        return None;
    }
    // SAFETY: the processor has the instruction.
    Some(unsafe { detected_crc(bytes) })
}

#[target_feature(enable = "pclmulqdq")]
fn detected_crc(bytes: &[u8]) -> (u16, bool) {
    let (head, eights) = bytes.as_rchunks::<8>();
    // The initial value is 0, so zeros before the text do not change the CRC.
    let high = match bytes.first_chunk() {
        Some(first) => u64::from_be_bytes(*first).unbounded_shr(8 * (8 - head.len() as u32)),
        None => head
            .iter()
            .fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    let Some((first, rest)) = eights.split_first() else {
        let text = _mm_cvtsi64_si128(high as i64);
        return (remainder(_mm_slli_si128(text, 2)), has_brace(text));
    };
    let low = u64::from_be_bytes(*first);
    let text = _mm_set_epi64x(high as i64, low as i64);
    let mut has = has_brace(text);
    let folded = _mm_clmulepi64_si128(text, _mm_cvtsi64_si128(power(80)), 0x01);
    let shifted = _mm_slli_si128(_mm_cvtsi64_si128(low as i64), 2);
    let mut crc = remainder(_mm_xor_si128(folded, shifted));
    for eight in rest {
        let word = u64::from_be_bytes(*eight);
        has |= has_brace(_mm_cvtsi64_si128(word as i64));
        let text = _mm_cvtsi64_si128((word ^ u64::from(crc) << 48) as i64);
        crc = remainder(_mm_slli_si128(text, 2));
    }
    (crc, has)
}

/// The remainder of a polynomial of degree below 80.
#[target_feature(enable = "pclmulqdq")]
fn remainder(dividend: __m128i) -> u16 {
    let high = _mm_clmulepi64_si128(dividend, _mm_cvtsi64_si128(power(64)), 0x01);
    let word = _mm_xor_si128(dividend, high);
    // The quotient of the word by x^16 is multiplied by the quotient of x^64, and the product divided by x^48: it stays
    // shifted by 16 bits, so that this is its upper half.
    let upper = _mm_and_si128(word, _mm_set_epi64x(0, !0xffff));
    let factors = _mm_set_epi64x(POLYNOMIAL as i64, QUOTIENT as i64);
    let quotient = _mm_clmulepi64_si128(upper, factors, 0x00);
    let multiple = _mm_clmulepi64_si128(quotient, factors, 0x11);
    _mm_cvtsi128_si64(_mm_xor_si128(word, multiple)) as u16
}

#[target_feature(enable = "sse2")]
fn has_brace(text: __m128i) -> bool {
    _mm_movemask_epi8(_mm_cmpeq_epi8(text, _mm_set1_epi8(b'{' as i8))) != 0
}
