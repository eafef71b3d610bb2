//! A password or a key: never printed, and overwritten when dropped.

use std::fmt;
use zeroize::Zeroize;

/// Text that must not appear in errors, logs and memory dumps.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: &str) -> Secret {
        Secret(text.to_owned())
    }

    /// The text itself, for the wire.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Removes the secret from an error message. Servers repeat the arguments of a command that they do not know, each
    /// of them cut off after 128 bytes.
    pub fn remove_from(&self, message: &str) -> String {
        let kept = message.split(" with args beginning with").next();
        let kept = kept.unwrap_or_default().trim_end_matches(',');
        match self.0.as_str() {
            "" => kept.to_owned(),
            secret => kept.replace(secret, "***"),
        }
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_removed_from_messages_that_repeat_it() {
        let secret = Secret::new(&"s3cret".repeat(30));
        let of = |message: &str| secret.remove_from(message);
        let text = secret.reveal();
        for (message, expected) in [
            (
                format!(
                    "ERR unknown command `AUTH`, with args beginning with: `{}`, ",
                    &text[..128]
                ),
                "ERR unknown command `AUTH`",
            ),
            (
                format!("ERR unknown command 'AUTH', with args beginning with: '{text}' "),
                "ERR unknown command 'AUTH'",
            ),
            (format!("ERR no {text} here"), "ERR no *** here"),
            ("WRONGPASS invalid".to_owned(), "WRONGPASS invalid"),
        ] {
            assert_eq!(of(&message), expected);
        }
        assert_eq!(Secret::new("").remove_from("ERR x"), "ERR x");
        assert!(!format!("{secret:?}").contains("s3cret"));
    }
}
