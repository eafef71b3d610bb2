//! Chooses among the views of several nodes.

use crate::sim_hooks::sim_panic_point;
use std::collections::HashSet;

use super::view::ClusterView;

/// Chooses one of the views of several nodes.
///
/// Views differ briefly after every failover. They differ for long if a node is partitioned off, was
/// reset, or has joined another cluster. Each rule applies to the views that the rules before it have
/// left:
///
/// 1. Views with slots, if there are any: a node that was reset knows of none.
/// 2. Views of the same cluster as most others, which means that they have a node in common. The
///    rest belong to another cluster: an address was reassigned.
/// 3. Views with the newest epoch, and views with an unknown epoch. A partitioned node stays at an old
///    epoch. If only one node has the newest epoch, it is the first to learn of it.
/// 4. Views with the most slots: a node that has just joined learns of the shards one by one.
/// 5. The largest group of views that agree on the owner of each slot. Thus one view without an epoch
///    does not win over two that cover as many slots.
/// 6. The first view. Callers put the most trusted node first.
pub fn reconcile(mut views: Vec<ClusterView>) -> Option<ClusterView> {
    sim_panic_point!(Topology);
    if views.len() == 1 {
        return views.pop();
    }
    let most = |views: &[ClusterView]| views.iter().map(ClusterView::slots).max();
    if most(&views)? > 0 {
        views.retain(|view| view.slots() > 0);
    }
    let mut views = largest_family(views);
    let newest = views.iter().map(|view| view.epoch).max()?;
    views.retain(|view| view.epoch == newest || view.epoch == 0);
    let slots = most(&views)?;
    views.retain(|view| view.slots() == slots);
    let best = {
        let owners: Vec<_> = views.iter().map(owners).collect();
        first_with_most(
            owners
                .iter()
                .map(|a| owners.iter().filter(|b| a == *b).count()),
        )?
    };
    Some(views.swap_remove(best))
}

/// Whether `wanted` views suffice to choose one: that many of the newest agree, or one is newer than
/// all others.
///
/// Otherwise the view of another node is needed for a majority. A node that returns from a partition
/// learns the current epoch shortly before it learns the new owners of its slots.
pub fn is_settled(views: &[ClusterView], wanted: usize) -> bool {
    let Some(newest) = views.iter().map(|view| view.epoch).max() else {
        return false;
    };
    let newest_views = || views.iter().filter(|view| view.epoch == newest);
    if views.len() >= wanted && newest > 0 && newest_views().count() == 1 {
        return true;
    }
    let owners: Vec<_> = newest_views().map(owners).collect();
    let most = owners
        .iter()
        .map(|a| owners.iter().filter(|b| a == *b).count())
        .max();
    views.len() >= wanted && most.is_some_and(|n| n >= wanted)
}

/// The views that are of the same cluster as most of them.
pub fn largest_family(mut views: Vec<ClusterView>) -> Vec<ClusterView> {
    let count = |a: &ClusterView| views.iter().filter(|b| are_related(a, b)).count();
    if let Some(best) = first_with_most(views.iter().map(count)) {
        let related: Vec<bool> = (views.iter())
            .map(|view| are_related(&views[best], view))
            .collect();
        let mut related = related.into_iter();
        views.retain(|_| related.next().unwrap_or(false));
    }
    views
}

/// Whether two views are of the same cluster: they have a node in common.
pub fn are_related(a: &ClusterView, b: &ClusterView) -> bool {
    // Views of one cluster mostly list the same nodes at the same places, which needs no set of them.
    let has_common_place = || a.nodes().zip(b.nodes()).any(|(a, b)| a.id == b.id);
    std::ptr::eq(a, b) || has_common_place() || !nodes(a).is_disjoint(&nodes(b))
}

/// The index of the largest count; of the first one if several are equal.
fn first_with_most(counts: impl Iterator<Item = usize>) -> Option<usize> {
    counts
        .enumerate()
        .max_by_key(|(i, count)| (*count, std::cmp::Reverse(*i)))
        .map(|(i, _)| i)
}

/// The ids of all nodes of a view.
fn nodes(view: &ClusterView) -> HashSet<&str> {
    view.nodes().map(|node| &*node.id).collect()
}

/// The owner of each range of slots, in order.
fn owners(view: &ClusterView) -> Vec<(u16, u16, Option<&str>)> {
    let mut owners = Vec::new();
    for shard in &view.shards {
        let id = shard.primary.as_ref().map(|node| &*node.id);
        for (first, last) in &shard.ranges {
            owners.push((*first, *last, id));
        }
    }
    owners.sort_unstable();
    owners
}

#[cfg(test)]
mod tests {
    use super::super::parse::tests::slots_view;
    use super::*;

    /// Most slots at `a`, and the rest at `b`. After a failover, `c` has those of `a`.
    const OLD: &str = "[ [ 0 14999 [ h 1 a ] [ h 3 c ] ] [ 15000 16383 [ h 2 b ] ] ]";
    const NEW: &str = "[ [ 0 14999 [ h 3 c ] ] [ 15000 16383 [ h 2 b ] ] ]";
    /// The same owners in another form: other order of shards, a split range, one replica less.
    const OLD_TOO: &str = "[ [ 15000 16383 [ h 2 b ] ] [ 0 9 [ h 1 a ] ] [ 10 14999 [ h 1 a ] ] ]";
    /// The view of a node that knows one shard so far.
    const PART: &str = "[ [ 15000 16383 [ h 2 b ] ] ]";
    const NONE: &str = "[ ]";
    const FOREIGN: &str = "[ [ 0 16383 [ h 9 z ] ] ]";

    #[test]
    fn newest_agreed_view_is_chosen() {
        for (case, views, expected) in [
            ("one view", &[(OLD, 0)][..], 0),
            ("one view of a cluster without slots", &[(NONE, 0)], 0),
            ("all agree", &[(OLD, 5), (OLD_TOO, 5), (OLD, 5)], 0),
            (
                "a partitioned node is first",
                &[(OLD, 5), (NEW, 6), (NEW, 6)],
                1,
            ),
            (
                "a partitioned node is last",
                &[(NEW, 6), (NEW, 6), (OLD, 5)],
                0,
            ),
            (
                "two of three do not know of the failover",
                &[(OLD, 5), (OLD, 5), (NEW, 6)],
                2,
            ),
            (
                "one stale view, epochs unknown",
                &[(OLD, 0), (NEW, 0), (NEW, 0)],
                1,
            ),
            (
                "the same in another form",
                &[(NEW, 0), (OLD, 0), (OLD_TOO, 0)],
                1,
            ),
            (
                "one stale view, with the only epoch",
                &[(OLD, 5), (NEW, 0), (NEW, 0)],
                1,
            ),
            (
                "unknown epoch beside an old one",
                &[(OLD, 5), (OLD, 0), (NEW, 6)],
                1,
            ),
            (
                "one stale view, epochs equal",
                &[(NEW, 6), (OLD, 6), (NEW, 6)],
                0,
            ),
            ("two differ, epochs unknown", &[(NEW, 0), (OLD, 0)], 0),
            ("a node has just joined", &[(PART, 6), (OLD, 6)], 1),
            ("two have just joined", &[(PART, 6), (PART, 6), (OLD, 6)], 2),
            (
                "a stale node knows more slots",
                &[(OLD, 5), (PART, 6), (PART, 6)],
                1,
            ),
            ("a node had a soft reset", &[(NONE, 9), (OLD, 6)], 1),
            (
                "most nodes were reset",
                &[(NONE, 9), (NONE, 9), (OLD, 6)],
                2,
            ),
            (
                "an address was given to another cluster",
                &[(FOREIGN, 99), (OLD, 6), (NEW, 7)],
                2,
            ),
            ("the first seed is trusted", &[(FOREIGN, 6), (OLD, 7)], 0),
        ] {
            let given: Vec<_> = views
                .iter()
                .enumerate()
                .map(|(i, (slots, epoch))| ClusterView {
                    epoch: *epoch,
                    conflicts: i,
                    ..slots_view(slots)
                })
                .collect();
            // The number of conflicts identifies views that are otherwise equal.
            let chosen = reconcile(given).map(|view| view.conflicts);
            assert_eq!(chosen, Some(expected), "{case}");
        }
        assert_eq!(reconcile(Vec::new()), None);
    }

    #[test]
    fn refresh_asks_another_node_if_view_is_doubtful() {
        for (case, views, settled) in [
            ("one of one", &[(OLD, 0)][..], true),
            ("two agree", &[(OLD, 5), (OLD_TOO, 5)], true),
            ("one is newer", &[(OLD, 5), (NEW, 6)], true),
            ("two differ, epochs equal", &[(OLD, 6), (NEW, 6)], false),
            ("two differ, epochs unknown", &[(OLD, 0), (NEW, 0)], false),
            ("two of three", &[(OLD, 6), (NEW, 6), (NEW, 6)], true),
            ("no view", &[], false),
        ] {
            let views: Vec<_> = views
                .iter()
                .map(|(slots, epoch)| ClusterView {
                    epoch: *epoch,
                    ..slots_view(slots)
                })
                .collect();
            let wanted = views.len().clamp(1, 2);
            assert_eq!(is_settled(&views, wanted), settled, "{case}");
        }
    }
}
