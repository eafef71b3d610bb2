//! "did you mean": the known name closest to a mistyped one.

/// Longer input, in bytes, is not a typing error. The cost of a distance is the product of both
/// lengths.
const MAX_INPUT: usize = 64;

/// The name that is closest to `given`, if one is close enough.
pub(super) fn nearest(
    given: &str,
    names: impl Iterator<Item = &'static str>,
) -> Option<&'static str> {
    if given.is_empty() || given.len() > MAX_INPUT {
        return None;
    }
    let given = given.to_ascii_lowercase().replace('-', "_");
    // Half of a short word is another word.
    let max_distance = ((given.len() + 2) / 4).max(1);
    names
        .filter_map(|name| {
            // A prefix ("timeout") or an extension ("username") of a name is distant, but intended.
            let is_prefix = given.len() >= 3 && name.starts_with(&given);
            let is_extension = name.len() >= 4 && given.starts_with(name);
            let distance = if is_prefix || is_extension {
                1
            } else {
                distance(&given, name)
            };
            (distance <= max_distance && distance < name.len()).then_some((distance, name))
        })
        .min_by_key(|&(distance, name)| (distance, name.len()))
        .map(|(_, name)| name)
}

/// The Damerau-Levenshtein distance (optimal string alignment): how many bytes must be inserted,
/// deleted, replaced or swapped with the next one to turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let mut cost = (last[j] + usize::from(a[i] != b[j]))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                cost = cost.min(before_last[j - 1] + 1);
            }
            row.push(cost);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_differ_in_half_of_their_letters_are_not_suggested() {
        let names = || ["zone", "database", "timeout_ms"].into_iter();
        assert_eq!(nearest("nope", names()), None);
        assert_eq!(nearest("zne", names()), Some("zone"));
        assert_eq!(nearest("databsae", names()), Some("database"));
    }

    #[test]
    fn edit_distance_counts_single_character_changes() {
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
