//! Which of several nodes to believe.

use crate::sim_hooks::sim_panic_point;
use std::collections::HashSet;

use super::view::ClusterView;

/// Of the views of several nodes, the one to believe.
///
/// Nodes differ for a moment after every failover, and for long when one is cut off, was reset, or
/// joined another cluster. Each step is asked only of what the one before has left:
///
/// 1. Views with slots, if there are any: a node that was reset knows of none.
/// 2. Views that have a node in common with the view that most others have a node in common with:
///    the rest are of another cluster (an address that was given to somebody else).
/// 3. Those of the newest epoch, and those whose epoch is not known: a cut-off node stays behind,
///    and a node that alone has the newest is the first to know.
/// 4. Those with most slots: a node that has just joined learns of the shards one by one.
/// 5. Those of the largest party that agrees on who owns what. So a single view without an epoch
///    does not prevail over two that cover as much.
/// 6. The first, so that callers put those whom they trust most in front.
pub fn reconcile(mut views: Vec<ClusterView>) -> Option<ClusterView> {
    sim_panic_point!(Topology);
    if views.len() == 1 {
        return views.pop();
    }
    let most = |views: &[ClusterView]| views.iter().map(ClusterView::slots).max();
    if most(&views)? > 0 {
        views.retain(|view| view.slots() > 0);
    }
    let related = relatives(&views)?;
    let mut related = related.into_iter();
    views.retain(|_| related.next().unwrap_or(false));
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

/// Whether `opinions` views are enough to choose among: so many of the newest agree, or one is newer
/// than all others. Otherwise another node decides by majority: one that was away hears of the
/// present epoch a moment before it hears who took its slots meanwhile.
pub fn is_settled(views: &[ClusterView], opinions: usize) -> bool {
    let Some(newest) = views.iter().map(|view| view.epoch).max() else {
        return false;
    };
    let newest_views = || views.iter().filter(|view| view.epoch == newest);
    if views.len() >= opinions && newest > 0 && newest_views().count() == 1 {
        return true;
    }
    let owners: Vec<_> = newest_views().map(owners).collect();
    let most = owners
        .iter()
        .map(|a| owners.iter().filter(|b| a == *b).count())
        .max();
    views.len() >= opinions && most.is_some_and(|n| n >= opinions)
}

/// Whether each view is of the same cluster as most.
fn relatives(views: &[ClusterView]) -> Option<Vec<bool>> {
    let nodes: Vec<_> = views.iter().map(nodes).collect();
    let related = |a: usize, b: usize| a == b || !nodes[a].is_disjoint(&nodes[b]);
    let all = 0..views.len();
    let count = |a: usize| all.clone().filter(|b| related(a, *b)).count();
    let best = first_with_most(all.clone().map(count))?;
    Some(all.map(|view| related(best, view)).collect())
}

/// The index of the first of the largest.
fn first_with_most(counts: impl Iterator<Item = usize>) -> Option<usize> {
    counts
        .enumerate()
        .max_by_key(|(i, count)| (*count, std::cmp::Reverse(*i)))
        .map(|(i, _)| i)
}

/// The ids of all nodes of a view.
fn nodes(view: &ClusterView) -> HashSet<&str> {
    let shards = view.shards.iter();
    let nodes = shards.flat_map(|shard| shard.primary.iter().chain(&shard.replicas));
    nodes.map(|node| node.id.as_str()).collect()
}

/// Who owns what, in the order of slots.
fn owners(view: &ClusterView) -> Vec<(u16, u16, Option<&str>)> {
    let mut owners = Vec::new();
    for shard in &view.shards {
        let id = shard.primary.as_ref().map(|node| node.id.as_str());
        for (first, last) in &shard.ranges {
            owners.push((*first, *last, id));
        }
    }
    owners.sort_unstable();
    owners
}

#[cfg(test)]
mod tests {
    use super::super::parse::tests::seen;
    use super::*;

    /// Nine tenths of slots at `a` and the rest at `b`; after a failover, `c` has those of `a`.
    const OLD: &str = "[ [ 0 14999 [ h 1 a ] [ h 3 c ] ] [ 15000 16383 [ h 2 b ] ] ]";
    const NEW: &str = "[ [ 0 14999 [ h 3 c ] ] [ 15000 16383 [ h 2 b ] ] ]";
    /// The same map by other words: shards in another order, a range in two, a replica less.
    const OLD_TOO: &str = "[ [ 15000 16383 [ h 2 b ] ] [ 0 9 [ h 1 a ] ] [ 10 14999 [ h 1 a ] ] ]";
    /// A node that has heard of one shard so far.
    const PART: &str = "[ [ 15000 16383 [ h 2 b ] ] ]";
    const NONE: &str = "[ ]";
    const FOREIGN: &str = "[ [ 0 16383 [ h 9 z ] ] ]";

    #[test]
    fn the_view_that_is_believed() {
        for (day, views, believed) in [
            ("one node was asked", &[(OLD, 0)][..], 0),
            ("one node of a fresh cluster was asked", &[(NONE, 0)], 0),
            ("all agree", &[(OLD, 5), (OLD_TOO, 5), (OLD, 5)], 0),
            (
                "a cut-off node answers first",
                &[(OLD, 5), (NEW, 6), (NEW, 6)],
                1,
            ),
            (
                "a cut-off node answers last",
                &[(NEW, 6), (NEW, 6), (OLD, 5)],
                0,
            ),
            (
                "two of three have not heard of it",
                &[(OLD, 5), (OLD, 5), (NEW, 6)],
                2,
            ),
            (
                "one stale view, epochs unknown",
                &[(OLD, 0), (NEW, 0), (NEW, 0)],
                1,
            ),
            (
                "the same with other words",
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
            ("two differ and nothing tells", &[(NEW, 0), (OLD, 0)], 0),
            ("a node has just joined", &[(PART, 6), (OLD, 6)], 1),
            ("two have just joined", &[(PART, 6), (PART, 6), (OLD, 6)], 2),
            (
                "a stale node knows more slots",
                &[(OLD, 5), (PART, 6), (PART, 6)],
                1,
            ),
            ("a node was reset, softly", &[(NONE, 9), (OLD, 6)], 1),
            (
                "most nodes were reset",
                &[(NONE, 9), (NONE, 9), (OLD, 6)],
                2,
            ),
            (
                "an address went to another cluster",
                &[(FOREIGN, 99), (OLD, 6), (NEW, 7)],
                2,
            ),
            ("the first seed is trusted", &[(FOREIGN, 6), (OLD, 7)], 0),
        ] {
            let given: Vec<_> = views
                .iter()
                .enumerate()
                .map(|(i, (words, epoch))| ClusterView {
                    epoch: *epoch,
                    conflicts: i,
                    ..seen(words)
                })
                .collect();
            // The number of conflicts tells views apart that are equal otherwise.
            let chosen = reconcile(given).map(|view| view.conflicts);
            assert_eq!(chosen, Some(believed), "{day}");
        }
        assert_eq!(reconcile(Vec::new()), None);
    }

    #[test]
    fn whether_another_node_is_to_be_asked() {
        for (day, views, settled) in [
            ("one where one was wanted", &[(OLD, 0)][..], true),
            ("the same twice", &[(OLD, 5), (OLD_TOO, 5)], true),
            ("one is newer", &[(OLD, 5), (NEW, 6)], true),
            (
                "they differ and nothing tells",
                &[(OLD, 6), (NEW, 6)],
                false,
            ),
            ("nor where epochs are unknown", &[(OLD, 0), (NEW, 0)], false),
            ("a third decides", &[(OLD, 6), (NEW, 6), (NEW, 6)], true),
            ("none has been asked", &[], false),
        ] {
            let views: Vec<_> = views
                .iter()
                .map(|(words, epoch)| ClusterView {
                    epoch: *epoch,
                    ..seen(words)
                })
                .collect();
            let opinions = views.len().min(2);
            assert_eq!(is_settled(&views, opinions.max(1)), settled, "{day}");
        }
    }
}
