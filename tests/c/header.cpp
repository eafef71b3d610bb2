// The header in C++: it compiles without a warning, declares C linkage, and works with unique_ptr.
#include <rediscluster.h>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

struct Free {
    void operator()(rdc_client *client) const { rdc_close(client); }
    void operator()(rdc_reply *reply) const { rdc_reply_free(reply); }
    void operator()(rdc_pipeline *pipeline) const { rdc_pipeline_free(pipeline); }
};
template <class T> using Owned = std::unique_ptr<T, Free>;

static_assert(RDC_NTS == static_cast<std::size_t>(-1), "RDC_NTS is a size_t");
static_assert(RDC_OK == 0 && RDC_ERR_CLOSED == 14, "codes are plain numbers");

int main() {
    const char *url = std::getenv("RDC_URL");
    Owned<rdc_client> client(rdc_create(url ? url : "redis://127.0.0.1:7000"));
    const std::string value("a value\0with a NUL", 18);
    Owned<rdc_reply> set(rdc_set(client.get(), "header", RDC_NTS, value.data(), value.size()));
    if (rdc_reply_error(set.get()) != RDC_OK) {
        std::fprintf(stderr, "not ok - %s\n", rdc_reply_str(set.get()));
        return 1;
    }
    Owned<rdc_pipeline> pipeline(rdc_pipeline_new(client.get()));
    rdc_pipeline_get(pipeline.get(), "header", RDC_NTS);
    Owned<rdc_reply> replies(rdc_pipeline_execute(pipeline.get()));
    const rdc_reply *first = rdc_reply_at(replies.get(), 0);
    Owned<rdc_reply> deleted(rdc_cmd(client.get(), "DEL", "header"));
    const bool called = rdc_reply_int(deleted.get()) == 1 && rdc_version_matches();
    std::printf("%s - rdc_cmd is a function in C++, and the header matches the library\n", called ? "ok" : "not ok");
    const bool same = rdc_reply_str(first) && value == std::string(rdc_reply_str(first), rdc_reply_len(first));
    std::printf("%s - C++ writes and reads a std::string\n", same ? "ok" : "not ok");
    return same && called ? 0 : 1;
}
