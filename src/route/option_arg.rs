//! An option among the arguments of a command.

/// Which word to look for, and how: compared without case, like servers do.
#[derive(Debug)]
pub struct OptionArg {
    pub words: &'static [&'static str],
    /// The first argument that can be one of them.
    pub from: u8,
    /// Words whose arguments are not words, and how many arguments they have.
    pub takes: &'static [(&'static str, u8)],
    /// The word that ends the options; "" if they go on to the end.
    pub stop: &'static str,
    /// Whether the last wins, or the first.
    pub last: bool,
}

impl OptionArg {
    /// The index of the argument after the word.
    pub fn find(&self, args: &[&[u8]]) -> Option<usize> {
        let mut found = None;
        let mut i = usize::from(self.from);
        // A word with nothing after it is no option, whatever it says.
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
