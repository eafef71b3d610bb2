"""Facts that COMMAND lacks or reports wrongly, each with its reason. A new fact is a new row."""

# ---- Commands of servers that are newer than those in servers/ ---------------------------------------------------------------

ADDED = {
    "DELEX": (
        {"arity": -2, "flags": ["fast", "write"], "keys": [{"flags": ["RM"], "begin": ["index", 1], "find": ["range", 0, 1, 0]}]},
        "Redis 8.4"),
    "DIGEST": (
        {"arity": 2, "flags": ["fast", "readonly"], "keys": [{"flags": ["RO"], "begin": ["index", 1], "find": ["range", 0, 1, 0]}]},
        "Redis 8.4"),
}

# ---- Where the keys are ---------------------------------------------------------------------------------------------

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
}

# ---- Reads and writes -----------------------------------------------------------------------------------------------
# A command is a read if every server that has it flags it readonly. Every other command is a write, unless it is here.

NOT_READS = {
    "PFCOUNT": "flagged readonly, yet writes the count it computed into the value: it breaks a WATCH on the key, is "
               "replicated, and read-only scripts refuse it (7.0.15)",
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

# ---- Commands whose cursor is valid only in the process that returned it: never sent to a replica ---------------------

CURSOR = ["SCAN", "HSCAN", "SSCAN", "ZSCAN", "CLUSTERSCAN"]

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
