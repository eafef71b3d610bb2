//! "did you mean": the known word nearest to a mistyped one.

/// Longer input is no typing error, and the distance costs the product of the lengths.
const LONGEST: usize = 64;

/// The one of `names` that `given` most likely stands for.
pub(super) fn nearest(
    given: &str,
    names: impl Iterator<Item = &'static str>,
) -> Option<&'static str> {
    if given.is_empty() || given.len() > LONGEST {
        return None;
    }
    let given = given.to_ascii_lowercase().replace('-', "_");
    // A word cut short ("timeout") or drawn out ("username") is far by distance but plainly meant.
    let far = given.len() / 3 + 1;
    names
        .filter_map(|name| {
            let cut = given.len() >= 3 && name.starts_with(&given);
            let drawn = name.len() >= 4 && given.starts_with(name);
            let steps = if cut || drawn {
                1
            } else {
                distance(&given, name)
            };
            (steps <= far && steps < name.len()).then_some((steps, name))
        })
        .min_by_key(|&(steps, name)| (steps, name.len()))
        .map(|(_, name)| name)
}

/// How many bytes are to be put in, left out, changed or swapped with the next to get from `a`
/// to `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let mut steps = (last[j] + usize::from(a[i] != b[j]))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                steps = steps.min(before[j - 1] + 1);
            }
            row.push(steps);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_between_words() {
        for (a, b, steps) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "ab", 2),
            ("abc", "abc", 0),
            ("abc", "acb", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), steps, "{a} {b}");
        }
    }
}
