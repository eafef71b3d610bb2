// rediscluster.hpp: arguments, conversions and their failures, ranges, pipelines, queues, SCAN and node-bound calls.
#include <rediscluster.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <list>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

using namespace std::chrono_literals;
using namespace rediscluster;

static int failed = 0;
static void check(bool is_true, const char *what) {
    std::printf("%s - %s\n", is_true ? "ok" : "not ok", what);
    failed += !is_true;
}

static void check_arguments(const Client &rc) {
    const auto echo = [&rc](const auto &value) {
        return rc.command("ECHO", value).template to<std::string>().value_or("?");
    };
    check(echo(-7) == "-7" && echo(18446744073709551615ull) == "18446744073709551615", "integers are arguments");
    check(echo(0.1) == "0.1" && echo(-HUGE_VAL) == "-inf" && echo(1.5f) == "1.5", "floating numbers are arguments");
    check(echo(std::string_view()) == "" && echo("") == "", "empty texts are arguments");
    check(echo(std::string("a\0b", 3)) == std::string("a\0b", 3), "a text may contain any byte");
    const std::vector<std::string> words = {"ECHO", "from a range"};
    check(rc.command_list(words).to<std::string>().value_or("?") == "from a range", "a range is a command");
    check(rc.command_list(std::vector<std::string>()).error() == RDC_ERR_INVALID, "an empty range is refused");
}

static void check_numbers(const Client &rc) {
    rc.set("{if}n", 300);
    const auto n = rc.get("{if}n");
    check(n.to<int>().value_or(0) == 300 && n.to<double>().value_or(0) == 300.0, "a text that is a number");
    check(!n.to<unsigned char>() && !n.to<bool>(), "a number that does not fit is refused");
    rc.set("{if}n", "12 ");
    check(!rc.get("{if}n").to<int>() && !rc.get("{if}n").to<double>(), "a text with more than a number is refused");
    rc.set("{if}n", "-1");
    check(!rc.get("{if}n").to<unsigned>() && rc.get("{if}n").to<long>().value_or(0) == -1,
          "a negative number has a sign");
    rc.set("{if}n", "-1");
    const auto minus = rc.incr("{if}n", -1);
    check(minus.to<int>().value_or(0) == -2 && !minus.to<unsigned>() && !minus.to<std::size_t>(),
          "an integer is negative");
    check(minus.to<std::string>().value_or("?") == "-2", "an integer as text");
    check(rc.exists("{if}n").to<bool>().value_or(false) && !rc.exists("{if}none").to<bool>().value_or(true),
          "0 and 1 are a bool");
}

static void check_nil_and_errors(const Client &rc) {
    const auto nil = rc.get("{if}none");
    check(nil && nil.is_nil() && !nil.to<std::string>(), "nil is no text");
    const auto maybe = nil.to<std::optional<std::string>>();
    check(maybe && !maybe->has_value(), "nil is an empty optional");
    check(nil.to<std::string>().error().code == RDC_ERR_INVALID, "a failed conversion is an error");
    rc.set("{if}text", "x");
    const auto wrong = rc.command("LPUSH", "{if}text", "x").to<std::optional<long>>();
    check(!wrong && wrong.error().code == RDC_ERR_SERVER && wrong.error().sent && !wrong.error().node.empty(),
          "an error has a code, a node, and whether it was sent");
    check(std::string(wrong.error().name()) == "SERVER", "an error has a name");
    const auto refused = rc.readonly().set("{if}text", "y").to<std::string>();
    check(!refused && !refused.error().sent && refused.error().code == RDC_ERR_READONLY,
          "a refused write was not sent");
    const Client invalid = rc.with("timeout_ms", "soon");
    check(!invalid && invalid.get("x").to<std::string>().error().message == invalid.error_text(),
          "an invalid handle says why");
}

static void check_containers(const Client &rc) {
    rc.del("{if}hash");
    rc.command("HSET", "{if}hash", "one", 1, "two", 2);
    using Unordered = std::unordered_map<std::string, std::string>;
    const auto hash = rc.command("HGETALL", "{if}hash");
    check(hash.to<std::map<std::string, int>>().value_or(std::map<std::string, int>()).at("two") == 2, "a map");
    check(hash.to<Unordered>().value_or(Unordered()).size() == 2, "an unordered map");
    check(!hash.to<std::map<int, int>>(), "a key that is no number is refused");
    std::string joined;
    for (const auto [field, value] : hash.pairs())
        joined += field.string().value_or("") + "=" + value.string().value_or("") + ";";
    check(joined == "one=1;two=2;", "the pairs of a map");
    const auto both = rc.command("HMGET", "{if}hash", "one", "none");
    check(both.to<std::vector<std::optional<int>>>().value_or(std::vector<std::optional<int>>()).size() == 2,
          "elements that may be nil");
    check(!both.to<std::vector<int>>(), "an element that is nil is no number");
    const auto pair = both.to<std::pair<int, std::optional<std::string>>>();
    check(pair && pair->first == 1 && !pair->second, "a pair");
    check(!both.to<std::tuple<int>>() && !both.to<std::map<std::string, int>>(),
          "another number of elements is refused");
    check(std::count_if(both.begin(), both.end(), [](View v) { return v.is_nil(); }) == 1,
          "algorithms run over elements");
    rc.del("{if}list");
    rc.command("RPUSH", "{if}list", "b", "a", "b");
    const auto list = rc.command("LRANGE", "{if}list", 0, -1);
    check(list.to<std::set<std::string>>().value_or(std::set<std::string>()).size() == 2, "a set");
    check(list.to<std::list<std::string>>().value_or(std::list<std::string>()).back() == "b", "a list in order");
    check(!list.to<std::string>() && !rc.get("{if}text").to<std::vector<std::string>>(), "a text is no list");
}

static void check_pipeline_and_queue(const Client &rc) {
    auto pipeline = rc.pipeline();
    pipeline.set("{if}p", 1.5).get("{if}p").command_list(std::vector<std::string>{"GET", "{if}none"}).del("{if}p");
    check(pipeline.size() == 4, "four commands");
    const auto replies = pipeline.execute();
    const auto all = replies.to<std::tuple<std::string, double, std::optional<std::string>, int>>();
    check(all && std::get<1>(*all) == 1.5 && std::get<3>(*all) == 1, "replies of different types");
    pipeline.get("{if}p").clear();
    check(pipeline.size() == 0, "a cleared pipeline is empty");

    auto queue = rc.queue();
    pipeline.set("{if}q", "queued").get("{if}q");
    queue.command(1, "ECHO", 42).command_list(2, std::vector<std::string>{"ECHO", "x"}).pipeline_atomic(3, pipeline);
    queue.command(4, "BLPOP", "{if}empty", 0);
    std::map<std::uint64_t, Reply> got;
    while (got.size() < 3) {
        queue.run(5000ms);
        while (auto completed = queue.next())
            got.emplace(completed->tag, std::move(completed->reply));
    }
    check(got.at(1).to<int>().value_or(0) == 42 && got.at(3)[1].text() == "queued" && queue.size() == 1,
          "queued commands");
    queue.cancel(4);
    const auto cancelled = queue.next();
    check(cancelled && cancelled->tag == 4 && cancelled->reply.error() == RDC_ERR_INTERRUPTED, "a cancelled command");
    check(!queue.next() && queue.fd() >= 0, "nothing more");
}

static void check_subscriber(const Client &rc) {
    auto subscriber = rc.subscriber();
    check(subscriber.command("GET", "x").error() == RDC_ERR_INVALID, "a subscriber takes no other commands");
    check(bool(subscriber.command("SSUBSCRIBE", "{if}channel")), "a sharded channel is wanted");
    check(bool(subscriber.command_list(std::vector<std::string>{"SUBSCRIBE", "if:news"})), "a channel is wanted");
    std::set<std::string> confirmed;
    while (confirmed.size() < 2) {
        const auto push = subscriber.next(5000ms);
        if (!push || push.is_nil())
            break;
        confirmed.insert(push[0].string().value_or("?"));
    }
    check(confirmed == std::set<std::string>{"ssubscribe", "subscribe"} && subscriber.fd() >= 0, "both are confirmed");
    rc.command("SPUBLISH", "{if}channel", 42);
    const auto push = subscriber.next(5000ms).to<std::vector<std::string>>();
    check(push && *push == std::vector<std::string>{"smessage", "{if}channel", "42"}, "a message");
    subscriber.wake();
    check(subscriber.next(-1ms).is_nil() && subscriber.next(0ms).is_nil(), "a subscriber that is woken returns nil");
}

static void check_cluster_calls(const Client &rc) {
    std::set<std::string> keys;
    for (int i = 0; i < 300; i++)
        rc.set("scan:" + std::to_string(i), i, 600s);
    auto scan = rc.scan("scan:*", 20);
    while (scan.next())
        for (const auto key : scan.keys())
            keys.insert(key.string().value_or(""));
    check(scan && keys.size() == 300 && !scan.next(), "SCAN returns the keys of all nodes");
    const Client closed = rc.with("timeout_ms", "soon");
    auto fails = closed.scan();
    check(!fails.next() && !fails && fails.error().code != RDC_OK && !fails.next(), "a scan that fails says why");
    check(rc.expire("scan:1", 1ms).to<bool>().value_or(false), "expiry in milliseconds");
    const auto topology = rc.topology();
    const auto node = topology[0].find("primary").find("address").string().value_or("");
    check(rc.command_to(node, "DBSIZE").to<long>().value_or(-1) >= 0, "a command at one node");
    const auto explained = rc.explain("GET", "{if}n");
    check(explained.find("access").text() == "read" && rc.stats() && rc.refresh(), "introspection");
    check(key_slot("foo") == 12182, "the slot of a key");
}

int main() {
    const char *url = std::getenv("RDC_URL");
    const Client rc(Options().set("url", url ? url : "redis://127.0.0.1:7000").set("client_name", "interface"));
    check(bool(rc), "connected by options");
    check_arguments(rc);
    check_numbers(rc);
    check_nil_and_errors(rc);
    check_containers(rc);
    check_pipeline_and_queue(rc);
    check_subscriber(rc);
    check_cluster_calls(rc);
    return failed != 0;
}
