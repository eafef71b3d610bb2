//! The view of one node: its CLUSTER NODES.

/// The lines of CLUSTER NODES.
#[derive(Debug)]
pub(crate) struct View(Vec<Line>);

#[derive(Debug)]
pub(crate) struct Line {
    id: String,
    flags: Vec<String>,
    /// The id of its primary, if it is a replica.
    pub primary: Option<String>,
    pub epoch: u64,
    connected: bool,
    slots: Vec<(u16, u16)>,
}

impl Line {
    /// `id ip:port@bus[,host] flags primary ping pong epoch link slot slot-slot [slot->-id] ...`
    fn parse(line: &str) -> Option<Line> {
        let words: Vec<_> = line.split(' ').collect();
        let [id, _, flags, primary, _, _, epoch, link, slots @ ..] = &words[..] else {
            return None;
        };
        let range = |word: &&str| {
            let (a, b) = word.split_once('-').unwrap_or((word, word));
            Some((a.parse().ok()?, b.parse().ok()?))
        };
        Some(Line {
            id: id.to_string(),
            flags: flags.split(',').map(str::to_string).collect(),
            primary: (*primary != "-").then(|| primary.to_string()),
            epoch: epoch.parse().ok()?,
            connected: *link == "connected",
            slots: slots.iter().filter_map(range).collect(),
        })
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|f| f == flag)
    }

    pub fn is_primary(&self) -> bool {
        self.has("master")
    }

    pub fn owns(&self, slot: u16) -> bool {
        self.slots.iter().any(|&(a, b)| (a..=b).contains(&slot))
    }
}

impl View {
    pub fn parse(text: &str) -> View {
        View(text.lines().filter_map(Line::parse).collect())
    }

    pub fn myself(&self) -> Option<&Line> {
        self.0.iter().find(|line| line.has("myself"))
    }

    pub fn owner(&self, slot: u16) -> Option<&str> {
        let line = self.0.iter().find(|l| l.is_primary() && l.owns(slot))?;
        Some(&line.id)
    }

    /// The epoch of the slots of the node with this id.
    pub fn epoch_of(&self, id: &str) -> Option<u64> {
        let line = self.0.iter().find(|l| l.id == id)?;
        Some(line.epoch)
    }

    /// Whether the node with this id owns any slot.
    pub fn has_slots(&self, id: &str) -> bool {
        self.0.iter().any(|l| l.id == id && !l.slots.is_empty())
    }

    /// Whether this node is connected to that one and does not suspect it.
    pub fn is_well(&self, id: &str) -> bool {
        let bad = ["fail", "fail?", "handshake", "noaddr"];
        let line = self.0.iter().find(|l| l.id == id);
        line.is_some_and(|l| (l.connected || l.has("myself")) && !bad.iter().any(|f| l.has(f)))
    }

    /// Whether exactly these nodes are known and all are healthy.
    pub fn is_whole(&self, ids: &[&str]) -> bool {
        self.0.len() == ids.len() && ids.iter().all(|id| self.is_well(id))
    }

    /// Slot owners and replication, in a form that can be compared; of the nodes without slots only those in `live`
    /// count.
    pub fn map(&self, live: &[String]) -> Vec<String> {
        let mut lines: Vec<_> = self
            .0
            .iter()
            .filter(|l| !l.slots.is_empty() || live.contains(&l.id))
            .map(|l| format!("{} {:?} {:?}", l.id, l.primary, l.slots))
            .collect();
        lines.sort();
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::View;

    #[test]
    fn nodes_with_open_slots_and_hostnames_are_parsed() {
        let view = View::parse(
            "aa 127.0.0.1:7000@17000,h,shard-id=1 myself,master - 0 0 3 connected 0-5 7 [8->-bb]\n\
             bb 127.0.0.1:7001@17001 slave,fail? aa 0 0 3 disconnected\n",
        );
        let me = view.myself().unwrap();
        assert!(me.is_primary() && me.owns(5) && me.owns(7) && !me.owns(6) && !me.owns(8));
        assert_eq!(me.epoch, 3);
        assert_eq!(view.owner(7), Some("aa"));
        assert!(view.is_well("aa") && !view.is_well("bb"));
        assert_eq!(view.map(&[]).len(), 1);
    }
}
