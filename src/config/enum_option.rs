//! The types of options whose value is one of a few names.

/// Defines an enum whose variants are the values of an option.
macro_rules! option_enum {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// All names, in the order of the variants.
            pub const NAMES: &'static [&'static str] = &[$($text,)*];

            /// The name of this variant.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }

            /// The variant with this name, case-insensitive.
            pub fn from_name(name: &str) -> Option<$name> {
                $(if name.eq_ignore_ascii_case($text) { return Some($name::$variant); })*
                None
            }
        }
    };
}

option_enum! {
    /// Which nodes of a shard serve reads.
    ReadFrom {
        /// Only the primary: never stale.
        Primary = "primary",
        /// The primary and its replicas, uniformly.
        Any = "any",
        /// The replicas; the primary if no replica is usable.
        Replica = "replica",
        /// The node with the lowest round-trip time.
        Nearest = "nearest",
        /// Nodes of the client's zone first.
        Zone = "zone",
    }
}

option_enum! {
    /// The version of RESP.
    Protocol {
        /// RESP2, which every server supports.
        Resp2 = "2",
        /// RESP3, or RESP2 if the server does not support RESP3.
        Resp3 = "3",
    }
}

option_enum! {
    /// Whether the seeds are nodes of a cluster.
    ClusterMode {
        /// The seeds are asked.
        Auto = "auto",
        /// They must be nodes of a cluster; otherwise connecting fails.
        Yes = "yes",
        /// They are servers without cluster support, or proxies; nothing is asked that a proxy need not know.
        No = "no",
    }
}

option_enum! {
    /// The treatment of a nil from a replica.
    NilPolicy {
        /// It is returned.
        Accept = "accept",
        /// The read is repeated at the primary.
        Verify = "verify",
    }
}
