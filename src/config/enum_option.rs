//! Options whose value is one of a few words, as types.

/// An enum whose variants are the words of an option.
macro_rules! option_enum {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// Every word, in the order of the variants.
            pub const NAMES: &'static [&'static str] = &[$($word,)*];

            /// The word of this variant.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }

            /// The variant of this word, in whatever case.
            pub fn from_name(name: &str) -> Option<$name> {
                $(if name.eq_ignore_ascii_case($word) { return Some($name::$variant); })*
                None
            }
        }
    };
}

option_enum! {
    /// Which nodes of a shard serve reads.
    ReadFrom {
        /// The primary alone: never stale.
        Primary = "primary",
        /// The primary and its replicas alike.
        Any = "any",
        /// The replicas, and the primary where there is no usable one.
        Replica = "replica",
        /// Whichever answers fastest.
        Nearest = "nearest",
        /// Nodes of our zone first.
        Zone = "zone",
    }
}

option_enum! {
    /// The version of RESP that is spoken.
    Protocol {
        /// RESP2, which every server speaks.
        Resp2 = "2",
        /// RESP3; with a server that does not know it, RESP2.
        Resp3 = "3",
    }
}

option_enum! {
    /// Whether the seeds are nodes of a cluster.
    ClusterMode {
        /// Ask them.
        Auto = "auto",
        /// They are, or it is an error.
        Yes = "yes",
        /// It is one server that has all slots.
        No = "no",
    }
}

option_enum! {
    /// What a nil from a replica is worth.
    NilPolicy {
        /// It is the answer.
        Accept = "accept",
        /// The primary is asked before it is believed.
        Verify = "verify",
    }
}
