//! The tool `rdc`, on real clusters and servers.

mod programs;

use programs::{BUILT, ROOT, scratch, succeed};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::Duration;
use support::{Cluster, Server, wait_until};

/// The tool, with the static library that cargo built for this test.
static RDC: LazyLock<PathBuf> = LazyLock::new(|| {
    let mut make = Command::new("make");
    for inherited in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL"] {
        make.env_remove(inherited);
    }
    let build = format!("BUILD={}", BUILT.display());
    succeed(make.current_dir(ROOT).args(["rdc", &build]));
    BUILT.join("rdc")
});

/// A healthy cluster, which no test breaks.
static HEALTHY: LazyLock<Cluster> =
    LazyLock::new(|| Cluster::builder().replicas(1).start().expect("a cluster"));

/// A single server, whose replies do not depend on slots.
static SINGLE: LazyLock<Server> = LazyLock::new(|| {
    let builder = Server::builder().option("enable-debug-command", "yes");
    builder.start().expect("a server")
});

/// `timeout` ends an endless call, with status 124.
fn command(url: &str, args: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.arg("60").arg(&*RDC).args(args).stdin(Stdio::null());
    command.env("RDC_URL", url).env_remove("RDC_LOG");
    command
}

fn rdc(url: &str, args: &[&str]) -> Output {
    command(url, args).output().expect("rdc")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The output of a command that succeeds.
fn text(url: &str, args: &[&str]) -> String {
    let output = rdc(url, args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    stdout(&output)
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn json(url: &str, args: &[&str]) -> Value {
    parse(&text(url, args))
}

fn with_input(url: &str, args: &[&str], input: &[u8]) -> Output {
    let mut command = command(url, args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().expect("rdc");
    let mut stdin = child.stdin.take().expect("its input");
    // In a thread, because both pipes may be full.
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).expect("a pipe"));
        child.wait_with_output().expect("its output")
    })
}

#[test]
fn replies_are_printed_as_redis_cli_prints_them() {
    let (url, port) = (SINGLE.url(), SINGLE.port().to_string());
    let nested = "return {1, {2, {3, 'x'}, {}}, 'a', {11,12,13,14,15,16,17,18,19,{20}}}";
    for words in [
        &["SET", "bytes", "a \"b\"\n\t\\\x01\x7f é"][..],
        &["HSET", "hash", "field", "value", "second", ""],
        &["RPUSH", "list", "1", "2", "3"],
        &["SADD", "set", "only"],
        &["ZADD", "zset", "1.5", "a", "2", "b"],
    ] {
        SINGLE.command(words).unwrap();
    }
    for args in [
        &["PING"][..],
        &["DBSIZE"],
        &["GET", "bytes"],
        &["GET", "missing"],
        &["HGETALL", "hash"],
        &["HGETALL", "missing"],
        &["LRANGE", "list", "0", "-1"],
        &["LRANGE", "missing", "0", "-1"],
        &["SMEMBERS", "set"],
        &["SMEMBERS", "missing"],
        &["ZSCORE", "zset", "a"],
        &["ZRANGE", "zset", "0", "-1", "WITHSCORES"],
        &["EVAL", nested, "0"],
        &["DEBUG", "PROTOCOL", "double"],
        &["DEBUG", "PROTOCOL", "verbatim"],
        &["DEBUG", "PROTOCOL", "true"],
        &["DEBUG", "PROTOCOL", "map"],
        &["DEBUG", "PROTOCOL", "set"],
    ] {
        for form in ["--no-raw", "--raw"] {
            let mut cli = Command::new("redis-cli");
            let cli = cli.args(["-3", "-p", &port, form]).args(args);
            let expected = cli.output().expect("redis-cli").stdout;
            let found = rdc(&url, &[&[form, "call"], args].concat()).stdout;
            assert_eq!(
                String::from_utf8_lossy(&found),
                String::from_utf8_lossy(&expected),
                "{form} {args:?}"
            );
        }
    }
    // Older versions of redis-cli do not print it.
    let bignum = text(&url, &["debug", "protocol", "bignum"]);
    assert_eq!(bignum, "1234567999999999999999999999999999999\n");
    let refused = rdc(&HEALTHY.url(), &["client", "kill", "id", "1"]);
    assert!(stderr(&refused).contains("--node"), "{refused:?}");
    // On a terminal, the form is the one with types.
    let line = format!("{} get missing", RDC.display());
    let mut script = Command::new("script");
    let script = script.args(["-qec", &line, "/dev/null"]);
    let seen = succeed(script.env("RDC_URL", &url).stdin(Stdio::null()));
    assert_eq!(seen.trim_end(), "(nil)");
}

#[test]
fn commands_are_read_from_standard_input() {
    let url = HEALTHY.url();
    let input = b"set rdc:a 'it''s'\nset rdc:a \"x \\x41\"\n\nget rdc:a\nget \"open\nlpush rdc:a y\nget rdc:a";
    let output = with_input(&url, &[], input);
    assert_eq!(stdout(&output), "OK\nx A\nx A\n");
    let errors = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    for line in ["line 1: quotes", "line 5: quotes", "line 6: ", "WRONGTYPE"] {
        assert!(errors.contains(line), "{line}: {errors}");
    }
    let last = with_input(&url, &["-x", "set", "rdc:b"], b"\0bytes\n");
    assert!(last.status.success(), "{last:?}");
    assert_eq!(rdc(&url, &["get", "rdc:b"]).stdout, b"\0bytes\n\n");
    // Many lines are pipelines; replies stay in order.
    let lines: Vec<String> = (0..20_000).map(|i| format!("echo {i}\n")).collect();
    let echoed = with_input(&url, &[], lines.concat().as_bytes());
    let numbers: Vec<String> = (0..20_000).map(|i| format!("{i}\n")).collect();
    assert_eq!(stdout(&echoed), numbers.concat());
}

#[test]
fn every_report_is_json() {
    let url = HEALTHY.url();
    text(&url, &["set", "rdc:json", "v\u{1}\"\\é"]);
    assert_eq!(json(&url, &["--json", "get", "rdc:json"]), "v\u{1}\"\\é");
    with_input(&url, &["-x", "set", "rdc:bytes"], b"\xff\xc0\xaf");
    let replaced = json(&url, &["-j", "get", "rdc:bytes"]);
    assert_eq!(replaced, "\u{fffd}\u{fffd}\u{fffd}");
    let pings = json(&url, &["ping", "--json"]);
    assert_eq!(pings.as_array().map(Vec::len), Some(6));
    assert!(
        pings[0]["us"].as_f64().is_some_and(|us| us > 0.0),
        "{pings}"
    );
    let topology = json(&url, &["topology", "--json"]);
    assert_eq!(topology["unserved_slots"], 0);
    let shards = topology["shards"].as_array().expect("shards");
    assert_eq!(shards.len(), 3);
    for shard in shards {
        assert_eq!(shard["primary"]["health"], "healthy", "{shard}");
        assert_eq!(shard["replicas"][0]["link"], "up", "{shard}");
        assert!(shard["replicas"][0]["lag_bytes"].is_i64(), "{shard}");
    }
    let explanation = json(&url, &["explain", "--json", "get", "rdc:json"]);
    assert_eq!(explanation["access"], "read");
    assert_eq!(explanation["nodes"].as_array().map(Vec::len), Some(1));
    let watched = text(&url, &["stats", "--json", "--count", "2", "-i", "0.01"]);
    let commands: Vec<i64> = (watched.lines())
        .map(|line| parse(line)["commands"].as_i64().expect("a number"))
        .collect();
    assert!(
        commands.len() == 2 && commands[0] < commands[1],
        "{watched}"
    );
    let latency = json(&url, &["latency", "--json", "-d", "0.2"]);
    assert_eq!(latency.as_array().map(Vec::len), Some(6));
    for node in latency.as_array().expect("nodes") {
        assert!(node["n"].as_u64() > Some(1), "{node}");
        assert!(node["min_us"].as_f64() <= node["p50_us"].as_f64(), "{node}");
        assert!(node["p50_us"].as_f64() <= node["max_us"].as_f64(), "{node}");
    }
    let of_key = json(&url, &["latency", "-j", "-d", "0.1", "-k", "rdc:json"]);
    assert_eq!(of_key.as_array().map(Vec::len), Some(1), "{of_key}");
    assert_eq!(of_key[0]["node"], explanation["nodes"][0]);
    let nodes = json(&url, &["--json", "--node", "all", "dbsize"]);
    assert_eq!(nodes.as_object().map(|nodes| nodes.len()), Some(6));
}

#[test]
fn bench_measures_and_removes_its_keys() {
    let url = HEALTHY.url();
    for depth in ["1", "20"] {
        let args = [
            "bench", "--json", "-d", "0.3", "-P", depth, "-t", "3", "-K", "500",
        ];
        let bench = json(&url, &args);
        let count = |name: &str| bench[name].as_u64().expect("a number");
        let commands = count("gets") + count("sets");
        assert!(
            count("gets") > count("sets") && count("sets") > 0,
            "{bench}"
        );
        assert_eq!(count("errors"), 0, "{bench}");
        let calls = bench["call"]["n"].as_u64().expect("a number");
        assert_eq!(calls * depth.parse::<u64>().unwrap(), commands, "{bench}");
        assert_eq!(text(&url, &["scan", "--match", "rdc:bench:*"]), "");
    }
    let readonly = rdc(&url, &["-o", "readonly=yes", "bench", "-d", "0.1"]);
    assert_eq!(readonly.status.code(), Some(1));
    assert!(stderr(&readonly).contains("READONLY"), "{readonly:?}");
}

#[test]
fn scan_prints_every_key_once() {
    let url = HEALTHY.url();
    let mut expected: Vec<String> = (0..300).map(|i| format!("rdc:scan:{i}")).collect();
    let lines: Vec<String> = expected
        .iter()
        .map(|key| format!("set {key} v\n"))
        .collect();
    with_input(&url, &[], lines.concat().as_bytes());
    let args = ["scan", "--match", "rdc:scan:*", "--batch", "50"];
    let mut found: Vec<String> = text(&url, &args).lines().map(str::to_owned).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    let lists = text(&url, &["scan", "-m", "rdc:scan:*", "--type", "list"]);
    assert_eq!(lists, "");
}

#[test]
fn wrong_command_line_exits_with_2_and_a_sentence() {
    for (args, expected) in [
        (&["--bogus"][..], "unknown option --bogus"),
        (&["--password=s3cret"], "unknown option --password;"),
        (&["--url"], "--url needs URL"),
        (&["--option", "s3cret"], "--option needs NAME=VALUE"),
        (&["-o", "nonsense=1", "get", "k"], "\"nonsense\" is unknown"),
        (&["-o", "timeout_ms=soon", "get", "k"], "timeout_ms"),
        (&["--read-from", "moon", "get", "k"], "read_from"),
        (
            &["-u", "http://x", "get", "k"],
            "scheme \"http\" is unknown",
        ),
        (&["-u", "", "get", "k"], "url"),
        (
            &["-uredis://app:s3cret@h:x", "ping"],
            "port is not a number",
        ),
        (&["ping", "extra"], "rdc ping takes no arguments"),
        (&["help", "a", "b"], "rdc help takes one argument"),
        (&["redis://:s3cret@h:1", "ping"], "--url"),
        (&["-zs3cret", "ping"], "unknown option -z;"),
        (&["-o", "timeout_ms=1", "-js", "ping"], "unknown option -j;"),
        (&["ping", "--threads", "4"], "unknown option --threads"),
        (&["--node", "all", "ping"], "rdc call ping"),
        (&["explain"], "needs COMMAND"),
        (&["bench", "--threads", "0"], "from 1 to 1024, not '0'"),
        (&["bench", "-t", "1.5"], "a whole number"),
        (&["bench", "-d", "nan"], "--duration needs a number"),
        (&["stats", "--json=yes"], "--json has no value"),
        (&["completion", "tcsh"], "bash, zsh and fish"),
        (&["help", "nonsense"], "no command 'nonsense'"),
        (&["-x"], "--stdin needs a command"),
    ] {
        let output = rdc("redis://127.0.0.1:1", args);
        let errors = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        assert!(errors.contains(expected), "{args:?}: {errors}");
        assert!(errors.starts_with("rdc: ") && errors.lines().count() == 1);
        assert!(!errors.contains("s3cret"), "{args:?}: {errors}");
        assert_eq!(stdout(&output), "", "{args:?}");
    }
    let url = "redis://app:s3cret@127.0.0.1:1?timeout_ms=100";
    for args in [&["get", "k"][..], &["topology"], &["ping"], &["doctor"]] {
        let output = rdc(url, args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        let all = stdout(&output) + &stderr(&output);
        assert!(all.contains("127.0.0.1:1 refused"), "{args:?}: {all}");
        assert!(!all.contains("s3cret"), "{args:?}: {all}");
    }
}

/// The findings of a check, in the JSON of `rdc doctor`.
fn findings<'a>(report: &'a Value, check: &str) -> Vec<&'a Value> {
    let all = report.as_array().expect("findings").iter();
    all.filter(|finding| finding["check"] == check).collect()
}

fn doctor(url: &str) -> (Value, Option<i32>) {
    let output = rdc(url, &["doctor", "--json"]);
    (parse(&stdout(&output)), output.status.code())
}

#[test]
fn doctor_finds_nothing_wrong_with_a_healthy_cluster() {
    let (report, code) = doctor(&HEALTHY.url());
    for finding in report.as_array().expect("findings") {
        assert_eq!(finding["verdict"], "OK", "{finding}");
    }
    assert_eq!(code, Some(0));
    let readonly = format!("{}?readonly=yes", HEALTHY.url());
    let rights = doctor(&readonly).0;
    let rights = findings(&rights, "rights")[0]["found"].to_string();
    assert!(rights.contains("the user default"), "{rights}");
    let lines = text(&HEALTHY.url(), &["doctor"]);
    assert!(lines.ends_with(" 0 WARN, 0 FAIL\n"), "{lines}");
    // A seed of another cluster.
    let strange = format!("{},{}", HEALTHY.url(), SINGLE.address());
    let (report, code) = doctor(&strange);
    let seeds = findings(&report, "seeds");
    assert_eq!(seeds[0]["verdict"], "FAIL", "{report}");
    assert_eq!(code, Some(1));
}

#[test]
fn doctor_checks_tls() {
    let dir = scratch("rdc-tls");
    let pair = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_string()]).unwrap();
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    fs::write(&cert, pair.cert.pem()).unwrap();
    fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    let server = Server::builder().tls(&cert, &key, &cert).start().unwrap();
    let url = format!("rediss://127.0.0.1:{}", server.tls_port().unwrap());
    let trusting = format!("{url}?tls_ca_file={}", cert.display());
    assert_eq!(findings(&doctor(&trusting).0, "tls")[0]["verdict"], "OK");
    let insecure = format!("{url}?tls_insecure_skip_verify=yes");
    let (report, code) = doctor(&insecure);
    assert_eq!(findings(&report, "tls")[0]["verdict"], "WARN", "{report}");
    assert_eq!(code, Some(0));
    let (report, code) = doctor(&url);
    let seed = findings(&report, "seeds")[0];
    assert_eq!(seed["verdict"], "FAIL", "{report}");
    assert!(
        seed["todo"]
            .as_str()
            .is_some_and(|todo| todo.contains("tls_ca_file")),
        "{seed}"
    );
    assert_eq!(code, Some(1));
}

#[test]
fn dead_nodes_are_reported_by_topology_and_doctor() {
    let cluster = Cluster::builder().replicas(1).start().unwrap();
    // No failover, so that the map keeps the dead nodes. A cluster that starts with this setting takes longer.
    for port in cluster.ports() {
        let setting = ["CONFIG", "SET", "cluster-node-timeout", "60000"];
        cluster.command(port, &setting).unwrap();
    }
    let url = format!("{}?timeout_ms=1000", cluster.url());
    let replica = cluster.replicas_of(0).unwrap()[0];
    cluster.kill(replica).unwrap();
    let topology = json(&url, &["topology", "--json"]);
    let dead = &topology["shards"][0]["replicas"][0];
    assert_eq!(dead["address"], format!("127.0.0.1:{replica}"));
    assert_eq!(dead["health"], "unreachable");
    assert!(
        dead["error"]
            .as_str()
            .is_some_and(|e| e.contains("refused")),
        "{dead}"
    );
    let ping = rdc(&url, &["ping"]);
    assert_eq!(ping.status.code(), Some(1), "{ping:?}");
    let (report, code) = doctor(&url);
    assert_eq!(findings(&report, "nodes")[0]["verdict"], "WARN", "{report}");
    assert_eq!(code, Some(0));

    let primary = cluster.primary_of(16383).unwrap();
    cluster.stop(primary).unwrap();
    let (report, code) = doctor(&url);
    let failed = findings(&report, "nodes");
    let name = format!("primary 127.0.0.1:{primary}: ");
    let is_it = |finding: &&&Value| finding["found"].to_string().contains(&name);
    let failed = failed.iter().find(is_it).expect("the primary");
    assert_eq!(failed["verdict"], "FAIL", "{failed}");
    assert!(failed["todo"].is_string(), "{failed}");
    assert_eq!(code, Some(1));
    cluster.cont(primary).unwrap();
}

#[test]
fn doctor_names_missing_rights() {
    let url = |user: &str| {
        HEALTHY
            .url()
            .replace("redis://", &format!("redis://{user}:pw@"))
    };
    // The rights that docs/rdc.md lists are enough.
    let page = fs::read_to_string(format!("{ROOT}/docs/rdc.md")).unwrap();
    let line = page
        .lines()
        .find(|line| line.contains("ACL SETUSER app "))
        .unwrap();
    let listed = line.split(' ').filter(|word| word.starts_with('+'));
    let listed: Vec<&str> = listed.collect();
    assert!(listed.len() > 5, "{line}");
    for port in HEALTHY.ports() {
        for (user, rights) in [
            ("exact", &listed[..]),
            ("some", &["+cluster|slots"]),
            ("none", &[]),
        ] {
            let start = ["ACL", "SETUSER", user, "reset", "on", ">pw", "~*"];
            HEALTHY.command(port, &[&start, rights].concat()).unwrap();
        }
    }
    let (report, code) = doctor(&url("exact"));
    for finding in report.as_array().expect("findings") {
        assert_eq!(finding["verdict"], "OK", "{finding}");
    }
    assert_eq!(code, Some(0));
    let (report, code) = doctor(&url("some"));
    let missing = findings(&report, "rights");
    assert_eq!(missing.len(), listed.len() - 1, "{report}");
    for finding in missing {
        assert_eq!(finding["verdict"], "WARN", "{finding}");
        let todo = finding["todo"].as_str().expect("what to do");
        assert!(listed.iter().any(|right| todo.contains(right)), "{todo}");
    }
    assert_eq!(code, Some(0));
    let (report, code) = doctor(&url("none"));
    let todo = findings(&report, "seeds")[0]["todo"].to_string();
    assert!(todo.contains("+cluster|slots"), "{report}");
    assert_eq!(code, Some(1));
    // The password is wrong.
    let (report, code) = doctor(&url("exact").replace(":pw@", ":s3cret@"));
    let text = report.to_string();
    assert!(
        text.contains("WRONGPASS") && !text.contains("s3cret"),
        "{text}"
    );
    assert_eq!(code, Some(1));
}

#[test]
fn ctrl_c_ends_a_call_and_a_report() {
    let url = SINGLE.url();
    // Without `timeout`, which has a process id of its own.
    let spawn = |args: &[&str]| {
        let mut command = Command::new(&*RDC);
        command.args(args).env("RDC_URL", &url).stdin(Stdio::null());
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("rdc")
    };
    let interrupt = |pid: u32| succeed(Command::new("kill").args(["-INT", &pid.to_string()]));
    let has_client = |part: &str| {
        let list = SINGLE.command(&["CLIENT", "LIST"]).unwrap();
        list.text().contains(part)
    };
    let child = spawn(&["blpop", "rdc:nosuch", "30"]);
    let is_blocked = wait_until(|| has_client("cmd=blpop"), Duration::from_secs(10));
    assert!(is_blocked, "BLPOP did not arrive");
    interrupt(child.id());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert!(stderr(&output).starts_with("INTERRUPTED"), "{output:?}");

    let child = spawn(&["ping", "--watch", "--interval", "3600"]);
    let is_watching = wait_until(|| has_client("cmd=ping"), Duration::from_secs(10));
    assert!(is_watching, "PING did not arrive");
    interrupt(child.id());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn completion_scripts_complete_commands_and_options() {
    let complete = |words: &str| {
        let script = format!(
            "source <('{}' completion bash); COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _rdc; \
             echo \"${{COMPREPLY[@]}}\"",
            RDC.display()
        );
        succeed(Command::new("bash").args(["-c", &script]))
    };
    assert_eq!(complete("rdc --json topo"), "topology\n");
    assert_eq!(complete("rdc bench --th"), "--threads\n");
    assert_eq!(complete("rdc topology --th"), "\n");
    assert_eq!(complete("rdc --read-from near"), "nearest\n");
    assert_eq!(complete("rdc -o timeout"), "timeout_ms=\n");
    for shell in ["bash", "zsh", "fish"] {
        let script = text("", &["completion", shell]);
        for word in ["topology", "histogram", "read-from"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn help_names_every_command_and_option() {
    let page = fs::read_to_string(format!("{ROOT}/docs/rdc.md")).unwrap();
    let overview = text("", &["help"]);
    let commands = overview.split("Commands of rdc:\n").nth(1).unwrap();
    let commands = commands.lines().take_while(|line| !line.is_empty());
    let names: Vec<&str> = commands
        .map(|l| l.split_whitespace().next().unwrap())
        .collect();
    assert_eq!(names.len(), 12, "{overview}");
    for name in &names {
        assert!(
            page.contains(&format!("`rdc {name}")),
            "docs/rdc.md lacks {name}"
        );
        assert!(overview.contains(name));
        let help = text("", &["help", name]);
        assert_eq!(text("", &[name, "--help"]), help);
        for option in (overview.clone() + &help).split("--").skip(1) {
            let option: String = option
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '-')
                .collect();
            assert!(
                page.contains(&format!("`--{option}")),
                "docs/rdc.md lacks --{option}"
            );
        }
    }
    assert_eq!(
        text("", &["--version"]),
        format!("rdc {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn log_goes_where_rdc_log_says() {
    let url = "redis://:s3cret@127.0.0.1:1?timeout_ms=50";
    let log = |value: &str| {
        let mut command = command(url, &["get", "k"]);
        stderr(&command.env("RDC_LOG", value).output().expect("rdc"))
    };
    let quiet = log("");
    assert_eq!(quiet.lines().count(), 1, "{quiet}");
    let debug = log("debug");
    let line = debug.lines().next().unwrap_or_default();
    // 2026-01-31T12:00:00.000Z rediscluster[1234] warn: ...
    let (time, rest) = line.split_once(' ').expect("a time");
    assert!(time.len() == 24 && time.ends_with('Z'), "{debug}");
    assert!(rest.starts_with("rediscluster["), "{debug}");
    assert!(!debug.contains("s3cret"), "{debug}");
    let path = scratch("rdc-log").join("log");
    let with_file = log(&format!("debug:{}", path.display()));
    assert_eq!(with_file.lines().count(), 1, "{with_file}");
    let file = fs::read_to_string(&path).unwrap();
    assert_eq!(file.lines().count() + 1, debug.lines().count(), "{file}");
    assert!(log("loud").contains("RDC_LOG: the level \"loud\" is unknown"));
    let folder = log(&format!("debug:{}", scratch("rdc-log").display()));
    assert!(folder.contains("RDC_LOG: cannot open the file"), "{folder}");
}
