"""Facts that COMMAND lacks or reports wrongly, each with its reason. A new fact is a new row."""

# ---- Commands of servers that are newer than those in servers/ ---------------------------------------------------------------

ADDED = {
    "DELEX": (
        {"arity": -2, "flags": ["fast", "write"], "keys": [{"flags": ["RM"], "begin": ["index", 1], "find": ["range", 0, 1, 0]}]},
        "Redis 8.4"),
    "DIGEST": (
        {"arity": 2, "flags": ["fast", "readonly"], "keys": [{"flags": ["RO"], "begin": ["index", 1], "find": ["range", 0, 1, 0]}]},
        "Redis 8.4"),
    "FT.ALIASLIST": ({"arity": 2, "flags": ["module", "readonly"]}, "Redis 8.10"),
    "FT.HYBRID": ({"arity": -7, "flags": ["module", "readonly"]}, "Redis 8.4"),
    "TS.NRANGE": (
        {"arity": -5, "flags": ["module", "movablekeys", "readonly"],
         "keys": [{"flags": ["RO"], "begin": ["index", 1], "find": ["keynum", 0, 1, 1]}]},
        "Redis 8.10"),
    "TS.NREVRANGE": (
        {"arity": -5, "flags": ["module", "movablekeys", "readonly"],
         "keys": [{"flags": ["RO"], "begin": ["index", 1], "find": ["keynum", 0, 1, 1]}]},
        "Redis 8.10"),
}

# Sub-commands that servers handle in the code of their container: (arity, flags besides the container's, where the key is).
SUBCOMMANDS = {
    "DEBUG DIGEST-VALUE": (-3, [], -1),
    "DEBUG HTSTATS-KEY": (-3, [], 0),
    "DEBUG LISTPACK": (3, [], 0),
    "DEBUG OBJECT": (-3, [], 0),
    "DEBUG QUICKLIST": (-3, [], 0),
    "DEBUG SDSLEN": (3, [], 0),
    "DEBUG ZIPLIST": (3, [], 0),
    "FT.CONFIG GET": (-3, [], None),
    "FT.CONFIG HELP": (-3, [], None),
    "FT.CONFIG SET": (-3, ["write"], None),
    "FT.CURSOR DEL": (4, [], 0),
    "FT.CURSOR READ": (-4, [], 0),
    "JSON.DEBUG HELP": (2, [], None),
    "JSON.DEBUG MEMORY": (-3, [], 0),
}

# Commands of modules that are no part of the table: a server is asked about them, as about those of any other module.
EXCLUDED = {
    "FT.DEBUG": "for developers of the module",
    "FT.MGET": "removed in version 2.0 of the module",
    "FT.SYNADD": "removed in version 2.0 of the module",
    "FT._ALIASADDIFNX": "for replication",
    "FT._ALIASDELIFX": "for replication",
    "FT._ALTERIFNX": "for replication",
    "FT._CREATEIFNX": "for replication",
    "FT._DROPIFX": "for replication",
    "FT._DROPINDEXIFX": "for replication",
    "TIMESERIES.CLUSTERSET": "for the nodes among themselves",
    "TIMESERIES.CLUSTERSETFROMSHARD": "for the nodes among themselves",
    "TIMESERIES.FORCESHARDSCONNECTION": "for the nodes among themselves",
    "TIMESERIES.HELLO": "for the nodes among themselves",
    "TIMESERIES.INFOCLUSTER": "for the nodes among themselves",
    "TIMESERIES.INNERCOMMUNICATION": "for the nodes among themselves",
    "TIMESERIES.NETWORKTEST": "for the nodes among themselves",
    "TIMESERIES.REFRESHCLUSTER": "for the nodes among themselves",
}

# ---- Where the keys are ---------------------------------------------------------------------------------------------

DOCUMENT = [{"flags": ["RW"], "begin": ["index", 2], "find": ["range", 0, 1, 0]}]

INDEX_NAME = ("an index is no key: the node that gets the command asks the others; a node of a module without coordinator "
              "redirects to the slot of the index's name")

MERGE_SOURCES = [
    {"flags": ["RW"], "begin": ["index", 1], "find": ["range", 0, 1, 0]},
    {"flags": ["RO"], "begin": ["index", 2], "find": ["keynum", 0, 1, 1]},
]

# begin "index_if": this index, if the word is among the arguments.
# begin "option": the argument after the last (or "first") occurrence of these words. The search begins at this index and
# skips the arguments of other options.
KEYS = {
    "SORT": (
        [{"flags": ["RO"], "begin": ["index", 1], "find": ["range", 0, 1, 0]},
         {"flags": ["OW"], "begin": ["option", ["STORE"], 2, {"LIMIT": 2, "GET": 1, "BY": 1}, "last"],
          "find": ["range", 0, 1, 0], "presence": "Optional"}],
        "servers declare STORE as unknown and find it in code, where the last one counts; BY and GET are patterns, not keys"),
    "SORT_RO": (
        [{"flags": ["RO"], "begin": ["index", 1], "find": ["range", 0, 1, 0]}],
        "BY and GET are patterns, not keys, and are declared as unknown"),
    "MIGRATE": (
        [{"flags": ["RW"], "begin": ["option", ["KEYS"], 6, {"AUTH": 1, "AUTH2": 2}, "first"],
          "find": ["range", -1, 1, 0], "presence": "Instead"},
         {"flags": ["RW"], "begin": ["index", 3], "find": ["range", 0, 1, 0]}],
        'declared incomplete: with KEYS the argument 3 is "" and not a key, and the KEYS in AUTH KEYS is a password'),
    "GEORADIUS": (
        [{"flags": ["RO"], "begin": ["index", 1], "find": ["range", 0, 1, 0]},
         {"flags": ["OW"], "begin": ["option", ["STORE", "STOREDIST"], 5, {"STORE": 1, "STOREDIST": 1}, "last"],
          "find": ["range", 0, 1, 0], "presence": "Optional"}],
        "the last STORE or STOREDIST is the destination: so in Valkey 9.1; older servers take the first of each"),
    "GEORADIUSBYMEMBER": (
        [{"flags": ["RO"], "begin": ["index", 1], "find": ["range", 0, 1, 0]},
         {"flags": ["OW"], "begin": ["option", ["STORE", "STOREDIST"], 5, {"STORE": 1, "STOREDIST": 1}, "last"],
          "find": ["range", 0, 1, 0], "presence": "Optional"}],
        "as GEORADIUS"),
    "SUNSUBSCRIBE": (
        [{"flags": ["not_key"], "begin": ["index", 1], "find": ["range", -1, 1, 0], "presence": "Optional"}],
        "without a channel it means all of them"),
    "PFMERGE": (
        [{"flags": ["RW"], "begin": ["index", 1], "find": ["range", 0, 1, 0]},
         {"flags": ["RO"], "begin": ["index", 2], "find": ["range", -1, 1, 0], "presence": "Optional"}],
        "the destination alone is valid, and is created"),
    "JSON.MGET": (
        [{"flags": ["RO"], "begin": ["index", 1], "find": ["range", -2, 1, 0]}],
        "the module declares only the first key, and answers nil for keys that are at other nodes; a path follows the keys"),
    "JSON.MSET": (
        [{"flags": ["OW"], "begin": ["index", 1], "find": ["range", -1, 3, 0]}],
        "a key, a path and a value"),
    "JSON.DEBUG": ([], "its sub-commands have rows"),
    "CMS.MERGE": (MERGE_SOURCES, "the module declares only the destination"),
    "TDIGEST.MERGE": (MERGE_SOURCES, "the module declares only the destination"),
    "TS.CREATERULE": (
        [{"flags": ["RW"], "begin": ["index", 1], "find": ["range", 0, 1, 0]},
         {"flags": ["RW"], "begin": ["index", 2], "find": ["range", 0, 1, 0]}],
        "older modules declare only the source"),
    "TS.DELETERULE": (
        [{"flags": ["RW"], "begin": ["index", 1], "find": ["range", 0, 1, 0]},
         {"flags": ["RW"], "begin": ["index", 2], "find": ["range", 0, 1, 0]}],
        "older modules declare only the source"),
    **{name: (DOCUMENT, "the document is the key; older modules declare the index too")
       for name in ("FT.ADD", "FT.SAFEADD", "FT.DEL", "FT.GET")},
    "FT.AGGREGATE": (
        [{"flags": ["not_key"], "begin": ["index_if", 1, "WITHCURSOR"], "find": ["range", 0, 1, 0], "presence": "Optional"}],
        INDEX_NAME + "; a cursor is valid only at the node that returned it, which the name of the index decides"),
    **{name: ([{"flags": ["not_key"], "begin": ["index", 2], "find": ["range", 0, 1, 0]}], "as FT.AGGREGATE with a cursor")
       for name in ("FT.CURSOR DEL", "FT.CURSOR READ")},
    **{name: ([], INDEX_NAME) for name in (
        "FT.ALIASADD", "FT.ALIASDEL", "FT.ALIASUPDATE", "FT.ALTER", "FT.CREATE", "FT.CURSOR", "FT.DROP",
        "FT.DROPINDEX", "FT.EXPLAIN", "FT.EXPLAINCLI", "FT.INFO", "FT.PROFILE", "FT.SEARCH", "FT.SPELLCHECK", "FT.SYNDUMP",
        "FT.SYNUPDATE", "FT.TAGVALS")},
}

# ---- Reads and writes -----------------------------------------------------------------------------------------------
# A command is a read if every server that has it flags it readonly. Every other command is a write, unless it is here.

NOT_READS = {
    "CF.COMPACT": "flagged readonly, yet rewrites the filter",
    "FT.ALIASADD": "flagged readonly by older modules, yet changes the aliases",
    "FT.ALIASDEL": "flagged readonly by older modules, yet changes the aliases",
    "FT.ALIASUPDATE": "flagged readonly by older modules, yet changes the aliases",
    "FT.DICTADD": "flagged readonly by older modules, yet changes the dictionary",
    "FT.DICTDEL": "flagged readonly by older modules, yet changes the dictionary",
}

READS = {
    "PING": "keyless, changes nothing",
    "ECHO": "keyless, changes nothing",
    "TIME": "keyless, changes nothing",
    "INFO": "reports on the node",
    "ROLE": "reports on the node",
    "LASTSAVE": "reports on the node",
    "MEMORY DOCTOR": "reports on the node",
    "MEMORY MALLOC-STATS": "reports on the node",
    "MEMORY STATS": "reports on the node",
    "COMMAND": "reports what the node can do",
    "COMMAND COUNT": "reports what the node can do",
    "COMMAND DOCS": "reports what the node can do",
    "COMMAND GETKEYS": "reports what the node can do",
    "COMMAND GETKEYSANDFLAGS": "reports what the node can do",
    "COMMAND INFO": "reports what the node can do",
    "COMMAND LIST": "reports what the node can do",
    "CLUSTER COUNTKEYSINSLOT": "reports the node's view of the cluster",
    "CLUSTER GETKEYSINSLOT": "reports the node's view of the cluster",
    "CLUSTER INFO": "reports the node's view of the cluster",
    "CLUSTER KEYSLOT": "computes",
    "CLUSTER LINKS": "reports the node's view of the cluster",
    "CLUSTER MYID": "reports the node's view of the cluster",
    "CLUSTER MYSHARDID": "reports the node's view of the cluster",
    "CLUSTER NODES": "reports the node's view of the cluster",
    "CLUSTER SHARDS": "reports the node's view of the cluster",
    "CLUSTER SLOT-STATS": "reports the node's view of the cluster",
    "CLUSTER SLOTS": "reports the node's view of the cluster",
    "PUBSUB CHANNELS": "lists subscriptions",
    "PUBSUB NUMPAT": "lists subscriptions",
    "PUBSUB NUMSUB": "lists subscriptions",
    "PUBSUB SHARDCHANNELS": "lists subscriptions",
    "PUBSUB SHARDNUMSUB": "lists subscriptions",
    "SCRIPT EXISTS": "reports on scripts, loads nothing",
    "SCRIPT SHOW": "reports on scripts, loads nothing",
    "FUNCTION DUMP": "reports on functions, loads nothing",
    "FUNCTION LIST": "reports on functions, loads nothing",
    "FUNCTION STATS": "reports on functions, loads nothing",
    "PFCOUNT": "caches the count that it computed in the value, which changes no reply: replicas answer it, and do not "
               "replicate it; read-only scripts refuse it",
}

# Writes on purpose, although they change no key: administration (ACL, CONFIG, SLOWLOG, LATENCY, MODULE, DEBUG ...), CLIENT
# and other commands that affect one connection (below), EVAL and FCALL (a replica runs them until they write), PUBLISH and
# SPUBLISH (a replica publishes too), SCRIPT LOAD, WAIT and WAITAOF (replicas refuse them), MULTI, EXEC and WATCH.

# CMD_MAY_REPLICATE in the servers' sources, which COMMAND does not report.
MAY_REPLICATE = ["PFCOUNT", "PUBLISH", "SPUBLISH", "EVAL", "EVALSHA", "FCALL", "SCRIPT LOAD", "SCRIPT FLUSH"]

# ---- Commands that change the state of their connection: refused on a shared one ------------------------------------

CONNECTION = {
    "AUTH": "the user of the connection",
    "HELLO": "its protocol and its user",
    "RESET": "all its state",
    "QUIT": "ends it",
    "SELECT": "its database",
    "ASKING": "its next command",
    "READONLY": "whether a replica serves it",
    "READWRITE": "whether a replica serves it",
    "MULTI": "its transaction",
    "EXEC": "its transaction",
    "DISCARD": "its transaction",
    "WATCH": "its transaction",
    "UNWATCH": "its transaction",
    "SUBSCRIBE": "its replies become pushes",
    "PSUBSCRIBE": "its replies become pushes",
    "SSUBSCRIBE": "its replies become pushes",
    "UNSUBSCRIBE": "its replies become pushes",
    "PUNSUBSCRIBE": "its replies become pushes",
    "SUNSUBSCRIBE": "its replies become pushes",
    "MONITOR": "its replies become a stream",
    "SYNC": "its replies become a stream",
    "PSYNC": "its replies become a stream",
    "REPLCONF": "it becomes a replication link",
    "CLUSTER SYNCSLOTS": "it becomes a migration link",
    "CLIENT": "an unknown sub-command might change it",
    "CLIENT CACHING": "its tracking",
    "CLIENT TRACKING": "its tracking",
    "CLIENT CAPA": "the replies it can handle",
    "CLIENT IMPORT-SOURCE": "how its writes expire",
    "CLIENT NO-EVICT": "its eviction",
    "CLIENT NO-TOUCH": "what its reads touch",
    "CLIENT REPLY": "whether it gets replies",
    "CLIENT SETINFO": "its name",
    "CLIENT SETNAME": "its name",
    "SCRIPT DEBUG": "how its next script runs",
}

# ---- Commands whose errors may be worded by code of the caller --------------------------------------------------------
# The first word of such an error does not prove that the server has refused the command. The commands of modules count too.

OWN_ERRORS = {
    "EVAL": "the script",
    "EVALSHA": "the script",
    "EVAL_RO": "the script",
    "EVALSHA_RO": "the script",
    "FCALL": "the function",
    "FCALL_RO": "the function",
    "DEBUG": "DEBUG ERROR returns its argument",
}

# ---- What they change in it, so that a pinned handle knows what is lost with its connection -----------------------------
# Begins, Ends: a part of the state. Switches: the argument begins it, but the given word ends it. Streams: a pinned handle
# cannot read it. Needs: a command that depends on a part. QUIT changes nothing that a later command could miss.

STATE = {
    "AUTH": "Begins(User)",
    "HELLO": "Hello",
    "RESET": "Resets",
    "QUIT": "Nothing",
    "SELECT": "Begins(Database)",
    "ASKING": "Begins(NextCommand)",
    "READONLY": "Begins(ReplicaReads)",
    "READWRITE": "Ends(ReplicaReads)",
    "MULTI": "Begins(Transaction)",
    "EXEC": "Ends(Transaction)",
    "DISCARD": "Ends(Transaction)",
    "WATCH": "Begins(Transaction)",
    "UNWATCH": "Ends(Transaction)",
    "SUBSCRIBE": "Streams",
    "PSUBSCRIBE": "Streams",
    "SSUBSCRIBE": "Streams",
    "UNSUBSCRIBE": "Streams",
    "PUNSUBSCRIBE": "Streams",
    "SUNSUBSCRIBE": "Streams",
    "MONITOR": "Streams",
    "SYNC": "Streams",
    "PSYNC": "Streams",
    "REPLCONF": "Streams",
    "CLUSTER SYNCSLOTS": "Streams",
    "CLIENT": "Begins(Other)",
    "CLIENT CACHING": "Begins(NextCommand)",
    "CLIENT TRACKING": "Switches(Tracking, Off)",
    "CLIENT CAPA": "Begins(Capabilities)",
    "CLIENT IMPORT-SOURCE": "Switches(ImportSource, Off)",
    "CLIENT NO-EVICT": "Switches(Eviction, Off)",
    "CLIENT NO-TOUCH": "Switches(Touching, Off)",
    "CLIENT REPLY": "Switches(Replies, On)",
    "CLIENT SETINFO": "Begins(LibraryInfo)",
    "CLIENT SETNAME": "Begins(Name)",
    "SCRIPT DEBUG": "Switches(ScriptDebugging, No)",
    "WAIT": "Needs(Writes)",
    "WAITAOF": "Needs(Writes)",
}

# ---- Commands with a key for which only the primary's answer counts: never sent to a replica --------------------------

PRIMARY_ONLY = {
    "SPUBLISH": "a replica takes it instead of redirecting it, and its primary's subscribers do not receive it",
    **{name: "its cursor is valid only in the process that returned it"
       for name in ("SCAN", "HSCAN", "SSCAN", "ZSCAN", "CLUSTERSCAN", "BF.SCANDUMP", "CF.SCANDUMP", "FT.AGGREGATE",
                    "FT.CURSOR DEL", "FT.CURSOR READ")},
    **{name: "no node redirects it: each looks the key up in its own data"
       for name in ("DEBUG DIGEST-VALUE", "DEBUG HTSTATS-KEY", "DEBUG LISTPACK", "DEBUG OBJECT", "DEBUG QUICKLIST",
                    "DEBUG SDSLEN", "DEBUG ZIPLIST")},
}

# ---- Which nodes get a command, where the tips of COMMAND do not say it ------------------------------------------------
# (request policy, response policy, reason). Beside the servers' policies: "slot", the owner of the slot that argument 2
# names; "selected", only the node that the caller selects; "writes", the connection of the writes before it; "channel", any
# node, but the same one for each command with this argument 1.

ROUTES = {
    "ACL LOAD": ("all_nodes", "all_succeeded", "each node has its own file, as with ACL SAVE"),
    "ACL LOG": ("all_nodes", "default", "each node has its own log, as with SLOWLOG GET"),
    "CLUSTER GETSLOTMIGRATIONS": ("all_shards", "default", "each node lists its own migrations"),
    "PUBLISH": ("channel", "default", "every node takes it; the messages of a channel keep their order only through one node"),
    "PUBSUB CHANNELS": ("all_nodes", "special", "a subscriber may be connected to any node, replicas included"),
    "PUBSUB NUMPAT": ("all_nodes", "agg_sum", "a subscriber may be connected to any node, replicas included"),
    "PUBSUB NUMSUB": ("all_nodes", "special", "a subscriber may be connected to any node, replicas included"),
    "PUBSUB SHARDCHANNELS": ("all_nodes", "special", "a subscriber may be connected to any node of the channel's shard"),
    "PUBSUB SHARDNUMSUB": ("all_nodes", "special", "a subscriber may be connected to any node of the channel's shard"),
    "WAIT": ("writes", "default", "it waits for the writes of its own connection"),
    "WAITAOF": ("writes", "default", "it waits for the writes of its own connection"),
    # Slots.
    "CLUSTER COUNTKEYSINSLOT": ("slot", "default", "another node answers 0"),
    "CLUSTER FLUSHSLOT": ("slot", "default", "another node has none of its keys"),
    "CLUSTER GETKEYSINSLOT": ("slot", "default", "another node has none of its keys"),
    # Modules.
    "FT.CONFIG SET": ("all_nodes", "all_succeeded", "each node has its own configuration, as with CONFIG SET"),
    "FT._LIST": ("all_shards", "special", "without coordinator, each node lists its own indexes"),
    "JSON.MGET": ("multi_shard", "default", "as MGET"),
    "JSON.MSET": ("multi_shard", "all_succeeded", "as MSET"),
    "TS.MADD": ("multi_shard", "default", "a reply for each sample, as with MGET"),
    "TS.MGET": ("all_shards", "special", "without TIMESERIES.REFRESHCLUSTER, each node answers for its own series"),
    "TS.MRANGE": ("all_shards", "special", "as TS.MGET"),
    "TS.MREVRANGE": ("all_shards", "special", "as TS.MGET"),
    "TS.QUERYINDEX": ("all_shards", "special", "as TS.MGET"),
    # What one node does. A node that the caller has not selected would be a random one.
    "CLUSTER": ("selected", "default", "an unknown sub-command might change the state of one node"),
    **{name: ("selected", "default", "it changes the state of one node") for name in (
        "BGREWRITEAOF", "BGSAVE", "CLIENT KILL", "CLIENT PAUSE", "CLIENT UNBLOCK", "CLIENT UNPAUSE", "CLUSTER ADDSLOTS",
        "CLUSTER ADDSLOTSRANGE", "CLUSTER BUMPEPOCH", "CLUSTER CANCELSLOTMIGRATIONS", "CLUSTER DELSLOTS",
        "CLUSTER DELSLOTSRANGE", "CLUSTER FAILOVER", "CLUSTER FLUSHSLOTS", "CLUSTER FORGET", "CLUSTER MEET",
        "CLUSTER MIGRATESLOTS", "CLUSTER REPLICATE", "CLUSTER RESET", "CLUSTER SAVECONFIG", "CLUSTER SET-CONFIG-EPOCH",
        "CLUSTER SETSLOT", "DEBUG", "FAILOVER", "MODULE LOAD", "MODULE LOADEX", "MODULE UNLOAD", "REPLICAOF", "SAVE",
        "SHUTDOWN", "SLAVEOF", "SWAPDB")},
}

# ---- Commands that may have a password among their arguments: buffers that hold one are overwritten -------------------

SECRET = {
    "AUTH": "the password",
    "HELLO": "AUTH user password",
    "MIGRATE": "AUTH password, AUTH2 user password",
    "ACL SETUSER": ">password",
    "CONFIG SET": "requirepass, masterauth, tls-key-file-pass",
    "MODULE LOADEX": "CONFIG name value",
}

# ---- How long a command may block -----------------------------------------------------------------------------------
# Seconds or Millis: the index of the timeout, from the front or (if negative) from the back. MillisAfter: the option that
# has it (see "option" above), the word that ends the options, and other options with the number of their arguments.

BLOCKS = {
    "BLPOP": ("Seconds", -1),
    "BRPOP": ("Seconds", -1),
    "BZPOPMIN": ("Seconds", -1),
    "BZPOPMAX": ("Seconds", -1),
    "BRPOPLPUSH": ("Seconds", -1),
    "BLMOVE": ("Seconds", -1),
    "BLMPOP": ("Seconds", 1),
    "BZMPOP": ("Seconds", 1),
    "WAIT": ("Millis", 2),
    "WAITAOF": ("Millis", 3),
    "XREAD": ("MillisAfter", "BLOCK", "STREAMS", {"COUNT": 1}),
    "XREADGROUP": ("MillisAfter", "BLOCK", "STREAMS", {"GROUP": 2, "COUNT": 1, "CLAIM": 1}),
}
