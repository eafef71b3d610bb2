//! How to find an option among the arguments of a command.

/// The option to search for. Words are compared without regard to case, as in servers.
#[derive(Debug)]
pub struct OptionArg {
    pub words: &'static [&'static str],
    /// The index of the first argument that can be one of them.
    pub from: u8,
    /// Other options that take arguments, and how many.
    pub takes: &'static [(&'static str, u8)],
    /// The word that ends the options; "" if there is none.
    pub stop: &'static str,
    /// Whether the last occurrence counts; otherwise the first.
    pub last: bool,
}

impl OptionArg {
    /// The index of the argument after the option.
    pub fn find(&self, args: &[&[u8]]) -> Option<usize> {
        let mut found = None;
        let mut i = usize::from(self.from);
        // The last argument cannot be an option: it has no argument of its own.
        while i + 1 < args.len() {
            let is = |word: &str| args[i].eq_ignore_ascii_case(word.as_bytes());
            if is(self.stop) && !self.stop.is_empty() {
                break;
            }
            if self.words.iter().any(|word| is(word)) {
                found = Some(i + 1);
                if !self.last {
                    break;
                }
            }
            let taken = self.takes.iter().find(|(word, _)| is(word));
            i += 1 + taken.map_or(0, |&(_, count)| usize::from(count));
        }
        found
    }
}
