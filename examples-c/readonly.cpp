// The program readonly.c in C++17: reads from primaries and replicas, through a client that refuses writes.
//
//     readonly redis://127.0.0.1:7000        (or the URL in RDC_URL)
#include <rediscluster.hpp>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <thread>

using rediscluster::Client;
using rediscluster::Pipeline;
using rediscluster::Reply;

// Prints a check and records it if it fails. The exit status is 1 if a check failed.
static bool all_passed = true;
static void expect(bool is_true, std::string_view what) {
    std::cout << (is_true ? "  ok: " : "WRONG: ") << what << "\n";
    all_passed = all_passed && is_true;
}

// A replica may lag behind its primary and then returns nil. Repeat until it has the key.
static Reply get(const Client &client, std::string_view key) {
    Reply reply = client.get(key);
    for (int i = 0; i < 100 && reply.is_nil(); i++) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        reply = client.get(key);
    }
    std::cout << "      " << key << " from " << reply.node() << "\n";
    return reply;
}

int main(int argc, char **argv) {
    const char *url = argc > 1 ? argv[1] : std::getenv("RDC_URL");
    const Client rc(url ? url : "redis://127.0.0.1:7000");
    if (!rc)
        std::cerr << rc.error_text() << "\n";
    expect(bool(rc.set("foo16706", "bar")), "set foo16706 bar");
    expect(bool(rc.set("foo81", std::string("f\0o", 3))), "set foo81, with a NUL inside");
    expect(bool(rc.command("DEL", "hash")) && rc.command("HSET", "hash", "field", "1").integer() == 1, "any command");
    expect(rc.command("HGETALL", "hash").integer() == std::nullopt, "a map is not an integer");
    const Reply hash = rc.command("HGETALL", "hash");
    expect(hash.size() == 2 && hash.find("field").text() == "1" && hash.find("none").is_nil(), "a map has fields");

    // Another client of the same cluster: each read goes to the slot's primary or one of its replicas.
    const Client readonly = rc.readonly();
    for (int i = 0; i < 8; i++)
        expect(get(readonly, "foo16706").string() == "bar", "bar");
    get(readonly, "foo81");
    Pipeline pipeline = rc.pipeline();
    const Reply replies = pipeline.get("foo81").get("foo16706").execute();
    expect(replies[0].text() == std::string_view("f\0o", 3) && replies[1].text() == "bar", "both in a pipeline");
    std::size_t count = 0;
    for (const auto reply : replies)
        count += bool(reply);
    expect(count == 2 && pipeline.size() == 0, "two replies, and the pipeline is empty");

    const Reply refused = readonly.set("foo", "bar");
    std::cout << "      " << refused.error_text() << "\n";
    expect(refused.error() == RDC_ERR_READONLY && !refused.sent() && !refused.text(), "a write is refused");
    const Reply wrong = rc.command("LPUSH", "foo16706", "x");
    expect(wrong.error() == RDC_ERR_SERVER && wrong.error_text().substr(0, 9) == "WRONGTYPE", "an error of the server");
    const Client invalid = rc.with("timeout_ms", "soon");
    expect(!invalid && !invalid.error_text().empty(), "an invalid option");
    return all_passed ? 0 : 1;
}
