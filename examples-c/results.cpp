// Typed results in C++17: replies become strings, numbers, containers and maps, or an Error that says why not.
//
//     results redis://127.0.0.1:7000        (or the URL in RDC_URL)
#include <rediscluster.hpp>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <map>
#include <poll.h>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using rediscluster::Client;

static bool all_passed = true;
static void expect(bool is_true, std::string_view what) {
    std::cout << (is_true ? "  ok: " : "WRONG: ") << what << "\n";
    all_passed = all_passed && is_true;
}

// A page view: counted in a hash, and remembered in a list that expires. Arguments are texts and numbers.
static void view_page(const Client &rc, const std::string &page, int user) {
    auto pipeline = rc.pipeline();
    pipeline.command("HINCRBY", "{site}views", page, 1)
        .command("LPUSH", "{site}visitors", user)
        .command("PEXPIRE", "{site}visitors", 60000);
    const auto replies = pipeline.execute_atomic();
    if (!replies)
        std::cerr << replies.error_text() << "\n";
}

// The same commands from an event loop: submit, wait for the descriptor, run, take.
static long sum_in_an_event_loop(const Client &rc) {
    auto queue = rc.queue();
    for (std::uint64_t n = 1; n <= 100; n++)
        queue.command(n, "INCRBY", "{site}counter:" + std::to_string(n % 10), n);
    long replies = 0;
    while (queue.size() > 0) {
        pollfd readable = {queue.fd(), POLLIN, 0};
        poll(&readable, 1, -1);
        queue.run(0ms);
        while (const auto completed = queue.next())
            replies += completed->reply.to<long>().has_value();
    }
    return replies;
}

int main(int argc, char **argv) {
    const char *url = argc > 1 ? argv[1] : std::getenv("RDC_URL");
    const Client rc(url ? url : "redis://127.0.0.1:7000");
    if (!rc)
        std::cerr << rc.error_text() << "\n";
    rc.command("DEL", "{site}views", "{site}visitors");
    view_page(rc, "/index", 7);
    view_page(rc, "/index", 8);
    view_page(rc, "/about", 7);

    const auto views = rc.command("HGETALL", "{site}views").to<std::map<std::string, int>>();
    expect(views && views->at("/index") == 2 && views->at("/about") == 1, "a map of numbers");
    const auto visitors = rc.command("LRANGE", "{site}visitors", 0, -1).to<std::vector<int>>();
    expect(visitors && *visitors == std::vector<int>{7, 8, 7}, "a list of numbers");
    for (const auto name : {"{site}views", "{site}none"})
        if (const auto count = rc.command("HGET", name, "/index").to<std::optional<int>>())
            std::cout << "      " << name << ": " << (*count ? std::to_string(**count) : "nil") << "\n";

    rc.set("{site}title", "librediscluster", 60s);
    expect(rc.get("{site}title").to<std::string>().value_or("") == "librediscluster", "a text that expires");
    const auto wrong = rc.get("{site}title").to<int>();
    expect(!wrong && wrong.error().code == RDC_ERR_INVALID, "a text is not a number");
    const auto refused = rc.command("LPUSH", "{site}title", "x").to<long>();
    expect(!refused && refused.error().code == RDC_ERR_SERVER, refused.error().message);

    std::size_t found = 0;
    auto scan = rc.scan("{site}*");
    while (scan.next())
        found += scan.keys().size();
    expect(scan && found >= 3, "the keys of all nodes");
    expect(sum_in_an_event_loop(rc) == 100, "a hundred commands in flight");
    return all_passed ? 0 : 1;
}
