//! A table of the owners of slots, while it is made.

/// Sets the owner of a range of slots, in a table that ends with the last slot that has one. Slots before the range get
/// `none`. Most ranges are behind those before them, so that each slot is written once.
pub(super) fn set_owner(owners: &mut Vec<u16>, (first, last): (u16, u16), owner: u16, none: u16) {
    let (first, next) = (usize::from(first), usize::from(last) + 1);
    let known = owners.len().clamp(first, next);
    if owners.len() < first {
        owners.resize(first, none);
    }
    owners[first..known].fill(owner);
    if owners.len() < next {
        owners.resize(next, owner);
    }
}
