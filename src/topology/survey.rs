//! What the nodes said when the topology was asked for, and what follows from it. No I/O.
//!
//! A cluster is recognized by the ids of its nodes. A view is of the client's cluster if it contains a known id, or if
//! its node has one. Each rule applies if none before it does:
//!
//! | the nodes said | the topology is |
//! |---|---|
//! | that nothing has changed: each node | unchanged |
//! | views of the client's cluster | the one that [`reconcile`] chooses of those with the most known ids and their relatives |
//! | views of one other cluster, by more than half of the seeds, and all nodes were asked | that view: the cluster was created anew |
//! | views of other clusters | unchanged |
//! | the client's cluster, without slots | that view |
//! | no cluster support: every node, and the client knows of no cluster | that server |
//! | no cluster support: some | unchanged |

use super::known_ids::KnownIds;
use super::reconcile::{are_related, is_settled, largest_family, reconcile};
use super::slot_map::Topology;
use super::view::ClusterView;
use crate::net::ReportedIdentity;

/// How many additional views are used at most, if views disagree.
const MAX_ADDITIONAL_VIEWS: usize = 3;

/// The views and refusals of the nodes that were asked so far.
pub struct Survey<'a> {
    present: &'a Topology,
    known: &'a KnownIds,
    /// The epochs of nodes whose view is the present topology, while there is no other view to compare them with.
    unchanged: Vec<u64>,
    /// Views of the client's cluster, or of any if it knows none yet.
    views: Vec<ClusterView>,
    /// The same cluster without slots.
    empty: Option<ClusterView>,
    /// Views of other clusters, according to seeds.
    foreign_seed_views: Vec<ClusterView>,
    /// The number of nodes without cluster support.
    standalone: usize,
}

/// Whether a view is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    SameCluster,
    OtherCluster,
}

/// What follows from a survey.
#[derive(Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// The topology is what it was, at this epoch.
    Unchanged(u64),
    Cluster(ClusterView),
    /// Another cluster has taken the place of the one that the client knows.
    NewCluster(ClusterView),
    /// There is no cluster.
    Standalone,
    /// The topology remains as it is.
    Nothing,
}

impl<'a> Survey<'a> {
    pub fn new(present: &'a Topology, known: &'a KnownIds) -> Survey<'a> {
        Survey {
            present,
            known,
            unchanged: Vec::new(),
            views: Vec::new(),
            empty: None,
            foreign_seed_views: Vec::new(),
            standalone: 0,
        }
    }

    /// Whether the view of a node that has reported this identity is of the client's cluster.
    pub fn relation(&self, view: &ClusterView, identity: &ReportedIdentity) -> Relation {
        let is_known_node =
            matches!(identity, ReportedIdentity::Node(id) if self.known.contains(id));
        match self.known.is_empty() || is_known_node || self.known.is_any_in(view) {
            true => Relation::SameCluster,
            false => Relation::OtherCluster,
        }
    }

    /// Adds the view of a node that has reported this identity.
    pub fn add_view(
        &mut self,
        view: ClusterView,
        identity: &ReportedIdentity,
        is_seed: bool,
    ) -> Relation {
        let relation = self.relation(&view, identity);
        match (relation, view.shards.is_empty()) {
            (Relation::SameCluster, true) => self.empty = Some(view),
            (Relation::SameCluster, false) => {
                let unchanged = self.unchanged.drain(..);
                self.views
                    .extend(unchanged.map(|epoch| self.present.view(epoch)));
                self.views.push(view);
            }
            (Relation::OtherCluster, false) if is_seed => self.foreign_seed_views.push(view),
            (Relation::OtherCluster, _) => {}
        }
        relation
    }

    /// Adds a node whose view is the present topology.
    pub fn add_unchanged(&mut self, epoch: u64) {
        match self.views.is_empty() {
            true => self.unchanged.push(epoch),
            false => self.views.push(self.present.view(epoch)),
        }
    }

    /// Whether a node has returned a view of the client's cluster, or of any if it knows none yet.
    pub fn has_views(&self) -> bool {
        !self.unchanged.is_empty() || !self.views.is_empty() || self.empty.is_some()
    }

    /// Whether the client knows of a cluster.
    pub fn knows_cluster(&self) -> bool {
        !self.known.is_empty()
    }

    /// Whether a seed is of another cluster, which takes the place of the client's if no node of that is left.
    pub fn has_seen_other_cluster(&self) -> bool {
        !self.foreign_seed_views.is_empty()
    }

    /// A node has no cluster support.
    pub fn add_standalone(&mut self) {
        self.standalone += 1;
    }

    /// Whether no more nodes have to be asked.
    pub fn is_settled(&self, wanted: usize) -> bool {
        self.unchanged.len() >= wanted
            || is_settled(&self.views, wanted)
            || self.views.len() >= wanted + MAX_ADDITIONAL_VIEWS
    }

    /// What follows, if `unasked` of the nodes were not asked, `failed` gave no answer, and the client has `seeds`
    /// seeds.
    pub fn conclude(mut self, unasked: usize, failed: usize, seeds: usize) -> Conclusion {
        if let Some(epoch) = self.unchanged.iter().max() {
            return Conclusion::Unchanged(*epoch);
        }
        self.retain_family();
        if let Some(view) = reconcile(self.views) {
            return Conclusion::Cluster(view);
        }
        let foreign = largest_family(self.foreign_seed_views);
        if unasked == 0
            && foreign.len() * 2 > seeds
            && let Some(view) = reconcile(foreign)
        {
            return Conclusion::NewCluster(view);
        }
        if let Some(view) = self.empty {
            return Conclusion::Cluster(view);
        }
        let is_unanimous = self.standalone > 0 && unasked + failed == 0;
        match self.known.is_empty() && is_unanimous {
            true => Conclusion::Standalone,
            false => Conclusion::Nothing,
        }
    }

    /// Keeps the views with the most known nodes, and those of the same cluster. A former node of the cluster, which is
    /// in another one now, does not win over the others.
    fn retain_family(&mut self) {
        let counts: Vec<usize> = self.views.iter().map(|v| self.known.count_in(v)).collect();
        let Some(most) = counts.iter().max() else {
            return;
        };
        let best = counts.iter().zip(&self.views).filter(|(n, _)| *n == most);
        let best: Vec<&ClusterView> = best.map(|(_, view)| view).collect();
        let is_kept = |view: &ClusterView| best.iter().any(|other| are_related(view, other));
        let kept: Vec<bool> = self.views.iter().map(is_kept).collect();
        let mut kept = kept.into_iter();
        self.views.retain(|_| kept.next().unwrap_or(false));
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::tests::slots_view;
    use super::*;

    const OURS: &str = "[ [ 0 8191 [ h 1 a ] [ h 3 c ] ] [ 8192 16383 [ h 2 b ] ] ]";
    /// The same cluster after a failover, and with a new node.
    const LATER: &str = "[ [ 0 8191 [ h 3 c ] ] [ 8192 16383 [ h 9 x ] ] ]";
    const OTHER: &str = "[ [ 0 16383 [ h 1 y ] [ h 2 z ] ] ]";
    const THIRD: &str = "[ [ 0 16383 [ h 5 w ] ] ]";
    /// Another cluster, which a node of ours has joined.
    const JOINED: &str = "[ [ 0 8191 [ h 1 a ] ] [ 8192 16383 [ h 7 y ] ] ]";
    /// Ours without that node.
    const REST: &str = "[ [ 0 8191 [ h 3 c ] ] [ 8192 16383 [ h 2 b ] ] ]";
    const NONE: &str = "[ ]";

    /// What a node says: its view, the id that it reports, and whether it is a seed.
    type Said = (&'static str, &'static str, bool);

    fn conclude(known: &[&str], said: &[Said], others: (usize, usize, usize)) -> Conclusion {
        let known: KnownIds = known.iter().map(|id| (*id).into()).collect();
        let present = Topology::empty();
        let mut survey = Survey::new(&present, &known);
        for (view, id, is_seed) in said {
            match *view {
                "standalone" => survey.add_standalone(),
                view => {
                    let identity = ReportedIdentity::Node((*id).into());
                    survey.add_view(slots_view(view), &identity, *is_seed);
                }
            }
        }
        let (unasked, failed, seeds) = others;
        survey.conclude(unasked, failed, seeds)
    }

    #[test]
    fn unchanged_views_count_beside_others() {
        let present = Topology::empty();
        let known: KnownIds = ["a".into(), "c".into()].into_iter().collect();
        let mut survey = Survey::new(&present, &known);
        survey.add_unchanged(5);
        assert!(survey.is_settled(1) && !survey.is_settled(2));
        survey.add_unchanged(6);
        assert!(survey.is_settled(2));
        assert_eq!(survey.conclude(9, 0, 1), Conclusion::Unchanged(6));
        let mut survey = Survey::new(&present, &known);
        survey.add_unchanged(5);
        let newer = || ClusterView {
            epoch: 6,
            ..slots_view(LATER)
        };
        survey.add_view(newer(), &ReportedIdentity::Unknown, false);
        survey.add_unchanged(5);
        assert_eq!((survey.unchanged.len(), survey.views.len()), (0, 3));
        assert_eq!(survey.conclude(9, 0, 1), Conclusion::Cluster(newer()));
    }

    #[test]
    fn cluster_is_replaced_only_by_one_that_most_seeds_name() {
        let ours = &["a", "b", "c"][..];
        let cluster = |view| Conclusion::Cluster(slots_view(view));
        let new = |view| Conclusion::NewCluster(slots_view(view));
        // The last numbers: nodes that were not asked, nodes that failed, seeds.
        for (case, known, said, others, expected) in [
            (
                "the first view",
                &[][..],
                &[(OTHER, "y", true)][..],
                (2, 0, 3),
                cluster(OTHER),
            ),
            (
                "a later view",
                ours,
                &[(LATER, "x", false)],
                (1, 0, 1),
                cluster(LATER),
            ),
            (
                "ours and another",
                ours,
                &[(OTHER, "y", true), (OTHER, "z", true), (OURS, "b", false)],
                (0, 0, 2),
                cluster(OURS),
            ),
            (
                "one former node has moved to another cluster",
                ours,
                &[(JOINED, "a", true), (REST, "b", true)],
                (0, 0, 2),
                cluster(REST),
            ),
            (
                "one of one seed",
                ours,
                &[(OTHER, "y", true)],
                (0, 2, 1),
                new(OTHER),
            ),
            (
                "not all were asked",
                ours,
                &[(OTHER, "y", true)],
                (1, 2, 1),
                Conclusion::Nothing,
            ),
            (
                "one of two seeds",
                ours,
                &[(OTHER, "y", true)],
                (0, 1, 2),
                Conclusion::Nothing,
            ),
            (
                "no seed",
                ours,
                &[(OTHER, "y", false)],
                (0, 1, 1),
                Conclusion::Nothing,
            ),
            (
                "two of three seeds",
                ours,
                &[(OTHER, "y", true), (OTHER, "z", true)],
                (0, 1, 3),
                new(OTHER),
            ),
            (
                "three seeds of three clusters",
                ours,
                &[
                    (OTHER, "y", true),
                    (THIRD, "w", true),
                    ("standalone", "", true),
                ],
                (0, 0, 3),
                Conclusion::Nothing,
            ),
            (
                "the old nodes are alive without slots",
                ours,
                &[(NONE, "a", false), (OTHER, "y", true)],
                (0, 0, 1),
                new(OTHER),
            ),
            (
                "ours without slots",
                ours,
                &[(NONE, "a", true)],
                (0, 2, 1),
                cluster(NONE),
            ),
            (
                "another without slots",
                ours,
                &[(NONE, "y", true)],
                (0, 0, 1),
                Conclusion::Nothing,
            ),
            (
                "standalone",
                &[],
                &[("standalone", "", true); 2],
                (0, 0, 2),
                Conclusion::Standalone,
            ),
            (
                "standalone, and one that failed",
                &[],
                &[("standalone", "", true)],
                (0, 1, 2),
                Conclusion::Nothing,
            ),
            (
                "standalone beside a cluster",
                &[],
                &[("standalone", "", true), (OURS, "a", true)],
                (1, 0, 3),
                cluster(OURS),
            ),
            (
                "standalone in place of a cluster",
                ours,
                &[("standalone", "", true); 3],
                (0, 0, 3),
                Conclusion::Nothing,
            ),
        ] {
            assert_eq!(conclude(known, said, others), expected, "{case}");
        }
    }
}
