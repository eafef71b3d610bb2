//! Commands to bytes.

/// A command, as its arguments or already encoded.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    Args(&'a [&'a [u8]]),
    /// The number of arguments and the name, encoded, and the other arguments.
    Named(&'static [u8], &'a [&'a [u8]]),
    Encoded(&'a [u8]),
}

impl Body<'_> {
    /// How many bytes the encoded command has.
    pub fn len(&self) -> usize {
        match self {
            Body::Encoded(bytes) => bytes.len(),
            // Only asked when something went wrong.
            _ => {
                let mut out = Vec::new();
                self.write(&mut out);
                out.len()
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the encoded command.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Body::Args(args) => command(out, args),
            Body::Named(name, rest) => named(out, name, rest),
            Body::Encoded(bytes) => out.extend_from_slice(bytes),
        }
    }
}

/// Appends `n` in decimal.
fn number(out: &mut Vec<u8>, n: usize) {
    if n < 10 {
        out.push(b'0' + n as u8);
        return;
    }
    if n < 100 {
        out.extend_from_slice(&[b'0' + (n / 10) as u8, b'0' + (n % 10) as u8]);
        return;
    }
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut left = n;
    while left > 0 {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends the header of an array of `n` or of a string of `n` bytes.
#[inline(always)]
fn header(out: &mut Vec<u8>, sign: u8, n: usize) {
    if n < 10 {
        out.extend_from_slice(&[sign, b'0' + n as u8, b'\r', b'\n']);
    } else if n < 100 {
        out.extend_from_slice(&[
            sign,
            b'0' + (n / 10) as u8,
            b'0' + (n % 10) as u8,
            b'\r',
            b'\n',
        ]);
    } else {
        out.push(sign);
        number(out, n);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends a command: an array of bulk strings.
#[inline]
pub fn command(out: &mut Vec<u8>, args: &[&[u8]]) {
    header(out, b'*', args.len());
    for arg in args {
        string(out, arg);
    }
}

/// Appends a command whose beginning is encoded already.
#[inline]
pub fn named(out: &mut Vec<u8>, name: &[u8], rest: &[&[u8]]) {
    out.extend_from_slice(name);
    for arg in rest {
        string(out, arg);
    }
}

/// Appends a bulk string.
#[inline(always)]
fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    header(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_every_size_are_written_in_decimal() {
        for n in [0, 9, 10, 99, 100, 12345, 4_294_967_296] {
            let mut out = Vec::new();
            header(&mut out, b'$', n);
            assert_eq!(out, format!("${n}\r\n").into_bytes());
        }
    }

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        let mut out = Vec::new();
        command(&mut out, &[b"SET", b"k\0", b""]);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$2\r\nk\0\r\n$0\r\n\r\n");
    }
}
