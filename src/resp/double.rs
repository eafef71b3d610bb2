//! Doubles as text.

/// The text of a NaN. The C library of a server may write it in other ways.
pub const NAN: &[u8] = b"nan";

/// Whether a text is a NaN in any form of printf(3): "nan", "-nan", "NAN", "nan(0x7)". Servers before 7.2 pass on what
/// their C library writes.
pub fn is_nan(text: &[u8]) -> bool {
    let unsigned = text.strip_prefix(b"-").or(text.strip_prefix(b"+"));
    let Some((name, rest)) = unsigned.unwrap_or(text).split_at_checked(NAN.len()) else {
        return false;
    };
    let is_payload = |bytes: &[u8]| {
        let inner = bytes.strip_prefix(b"(").and_then(|b| b.strip_suffix(b")"));
        let allowed = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
        inner.is_some_and(|inner| inner.iter().all(allowed))
    };
    name.eq_ignore_ascii_case(NAN) && (rest.is_empty() || is_payload(rest))
}

/// The number that a text represents: decimal, infinite or a NaN. Never hexadecimal, and independent of the locale.
pub fn parse_double(text: &[u8]) -> Option<f64> {
    if is_nan(text) {
        return Some(f64::NAN);
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_parse_in_every_form_that_servers_send() {
        for (text, expected) in [
            ("1.5", 1.5),
            ("+1.5", 1.5),
            ("-0", -0.0),
            ("10", 10.0),
            ("1e-7", 1e-7),
            ("1.7976931348623157E+308", f64::MAX),
            ("4.9406564584124654e-324", f64::from_bits(1)),
            ("inf", f64::INFINITY),
            ("-inf", f64::NEG_INFINITY),
            ("INF", f64::INFINITY),
            ("infinity", f64::INFINITY),
        ] {
            let parsed = parse_double(text.as_bytes());
            assert_eq!(parsed, Some(expected), "{text}");
        }
        for text in [
            "nan",
            "-nan",
            "NaN",
            "NAN",
            "nan(0x7)",
            "-nan(0x8000000000000)",
            "nan()",
        ] {
            assert!(parse_double(text.as_bytes()).unwrap().is_nan(), "{text}");
        }
        for text in [
            "",
            " 1",
            "1 ",
            "1.5x",
            "0x10",
            "0x1p3",
            "1,5",
            "1_000",
            "--1",
            "nan(",
            "nan)",
            "nan(0x7)x",
            "nan(-)",
            "nanx",
            "na",
            "--nan",
            "inf(1)",
            "infinit",
            "\u{663}",
        ] {
            assert_eq!(parse_double(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_double(b"\xff"), None);
    }
}
