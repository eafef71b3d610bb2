// librediscluster for C++17: classes that own and free the handles of rediscluster.h.
//
// Header only. It throws no exceptions of its own. rediscluster.h is the manual. A Reply is a value or an error. A
// std::string_view or View that is borrowed from it is valid as long as the Reply.
//
//     rediscluster::Client client("redis://127.0.0.1:7000");
//     if (auto reply = client.get("foo")) std::cout << reply.text().value_or("nil") << "\n";
//     else std::cerr << reply.error_text() << "\n";

#ifndef REDISCLUSTER_HPP
#define REDISCLUSTER_HPP

#include <rediscluster.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace rediscluster {

// A borrowed reply, or an element of a reply.
class View {
public:
    explicit View(const rdc_reply *reply) noexcept : reply_(reply) {}

    // One of RDC_STRING ... RDC_VERBATIM.
    std::int32_t type() const noexcept { return rdc_reply_type(reply_); }
    bool is_nil() const noexcept { return type() == RDC_NIL; }
    // True for a value, false for an error. Nil is a value.
    explicit operator bool() const noexcept { return error() == RDC_OK; }
    // RDC_OK for a value, or the code of the error: RDC_ERR_TIMEOUT ...
    std::int32_t error() const noexcept { return rdc_reply_error(reply_); }
    // The message of an error, one line; empty for a value.
    std::string_view error_text() const noexcept { return *this ? std::string_view() : bytes(); }
    // The text of a STRING, STATUS, DOUBLE, BIGNUM or VERBATIM, borrowed.
    std::optional<std::string_view> text() const noexcept {
        if (!*this || rdc_reply_str(reply_) == nullptr) return std::nullopt;
        return bytes();
    }
    // A copy of text().
    std::optional<std::string> string() const {
        if (const auto borrowed = text()) return std::string(*borrowed);
        return std::nullopt;
    }
    // The value of an INTEGER or a BOOL.
    std::optional<std::int64_t> integer() const noexcept {
        if (type() != RDC_INTEGER && type() != RDC_BOOL) return std::nullopt;
        return rdc_reply_int(reply_);
    }
    // The value of a DOUBLE or an INTEGER, or the number that a text represents; otherwise 0.
    double number() const noexcept { return rdc_reply_double(reply_); }
    // The elements of an ARRAY, SET, PUSH or MAP (key, value, key, value, ...). Nil past the end.
    std::size_t size() const noexcept { return rdc_reply_at(reply_, 0) ? rdc_reply_len(reply_) : 0; }
    View operator[](std::size_t i) const noexcept { return View(rdc_reply_at(reply_, i)); }
    // The value of a key of a MAP; nil if the map has no such key.
    View find(const std::string &key) const noexcept { return View(rdc_reply_find(reply_, key.c_str())); }
    // "host:port" of the node that sent the reply, or that the error concerns; empty if there is none.
    std::string_view node() const noexcept {
        const char *name = rdc_reply_node(reply_);
        return name ? std::string_view(name) : std::string_view();
    }
    // False if the command did not run, so that sending it again is safe; true if it ran or may have run.
    bool sent() const noexcept { return rdc_reply_sent(reply_) != 0; }

    class Iterator {
    public:
        Iterator(const rdc_reply *reply, std::size_t at) noexcept : reply_(reply), at_(at) {}
        View operator*() const noexcept { return View(rdc_reply_at(reply_, at_)); }
        Iterator &operator++() noexcept { ++at_; return *this; }
        bool operator!=(const Iterator &other) const noexcept { return at_ != other.at_; }

    private:
        const rdc_reply *reply_;
        std::size_t at_;
    };
    Iterator begin() const noexcept { return Iterator(reply_, 0); }
    Iterator end() const noexcept { return Iterator(reply_, size()); }

    const rdc_reply *raw() const noexcept { return reply_; }

private:
    std::string_view bytes() const noexcept { return {rdc_reply_str(reply_), rdc_reply_len(reply_)}; }

    const rdc_reply *reply_;
};

struct Deleter {
    void operator()(rdc_client *client) const noexcept { rdc_close(client); }
    void operator()(rdc_options *options) const noexcept { rdc_options_free(options); }
    void operator()(rdc_pipeline *pipeline) const noexcept { rdc_pipeline_free(pipeline); }
    void operator()(rdc_reply *reply) const noexcept { rdc_reply_free(reply); }
};

// An owned reply. The deleted overloads prevent borrowing from a temporary: keep the Reply, or copy with string().
class Reply : public View {
public:
    explicit Reply(rdc_reply *reply) noexcept : View(reply), owner_(reply) {}

    std::string_view error_text() const & noexcept { return View::error_text(); }
    std::string_view error_text() const && = delete;
    std::optional<std::string_view> text() const & noexcept { return View::text(); }
    std::optional<std::string_view> text() const && = delete;
    View operator[](std::size_t i) const & noexcept { return View::operator[](i); }
    View operator[](std::size_t i) const && = delete;
    View find(const std::string &key) const & noexcept { return View::find(key); }
    View find(const std::string &key) const && = delete;

private:
    std::unique_ptr<rdc_reply, Deleter> owner_;
};

// Commands of one client that are sent together. The methods append a command.
class Pipeline {
public:
    explicit Pipeline(rdc_pipeline *pipeline) noexcept : owner_(pipeline) {}

    template <class... Args> Pipeline &command(const Args &...args) noexcept {
        const char *const texts[] = {std::string_view(args).data()...};
        const std::size_t lengths[] = {std::string_view(args).size()...};
        rdc_pipeline_command(raw(), sizeof...(args), texts, lengths);
        return *this;
    }
    Pipeline &get(std::string_view key) noexcept { return command("GET", key); }
    Pipeline &set(std::string_view key, std::string_view value) noexcept { return command("SET", key, value); }
    std::size_t size() const noexcept { return rdc_pipeline_len(raw()); }
    // Sends the commands. Returns an array with one reply per command, in order, and empties the pipeline.
    Reply execute() noexcept { return Reply(rdc_pipeline_execute(raw())); }
    // The same as a transaction: all commands run or none. All keys must be in one slot.
    Reply execute_atomic() noexcept { return Reply(rdc_pipeline_execute_atomic(raw())); }

    rdc_pipeline *raw() const noexcept { return owner_.get(); }

private:
    std::unique_ptr<rdc_pipeline, Deleter> owner_;
};

// Options by the names of CONFIGURATION.md. The Client reports errors of options.
class Options {
public:
    Options() noexcept : owner_(rdc_options_new()) {}
    Options &set(const std::string &name, const std::string &value) noexcept {
        rdc_options_set(raw(), name.c_str(), value.c_str());
        return *this;
    }
    rdc_options *raw() const noexcept { return owner_.get(); }

private:
    std::unique_ptr<rdc_options, Deleter> owner_;
};

// A handle on a cluster, with its own options.
class Client {
public:
    explicit Client(rdc_client *client) noexcept : owner_(client) {}
    explicit Client(const std::string &url) noexcept : Client(rdc_create(url.c_str())) {}
    explicit Client(const Options &options) noexcept : Client(rdc_create_with(options.raw())) {}

    // False if it did not connect when it was created; error_text() is the reason. A later call may connect.
    explicit operator bool() const noexcept { return rdc_client_error(raw()) == nullptr; }
    std::string error_text() const { return *this ? std::string() : rdc_client_error(raw()); }

    // Derived clients on the same connections: with() changes one option, readonly() reads from primaries and replicas
    // and refuses writes, pin() has a dedicated connection to the primary of a key, for WATCH, MULTI and EXEC.
    Client with(const std::string &option, const std::string &value) const noexcept {
        return Client(rdc_with(raw(), option.c_str(), value.c_str()));
    }
    Client readonly() const noexcept { return Client(rdc_readonly(raw())); }
    Client pin(std::string_view key) const noexcept { return Client(rdc_pin(raw(), key.data(), key.size())); }
    // New credentials for all clients on these connections. False if they are invalid.
    bool set_credentials(const std::string &user, const std::string &password) const noexcept {
        return rdc_set_credentials(raw(), user.c_str(), password.c_str()) == RDC_OK;
    }
    Pipeline pipeline() const noexcept { return Pipeline(rdc_pipeline_new(raw())); }

    // Runs any command: command("HSET", "user:1", "name", name).
    template <class... Args> Reply command(const Args &...args) const noexcept {
        const char *const texts[] = {std::string_view(args).data()...};
        const std::size_t lengths[] = {std::string_view(args).size()...};
        return Reply(rdc_command(raw(), sizeof...(args), texts, lengths));
    }
    Reply get(std::string_view key) const noexcept { return Reply(rdc_get(raw(), key.data(), key.size())); }
    Reply set(std::string_view key, std::string_view value) const noexcept {
        return Reply(rdc_set(raw(), key.data(), key.size(), value.data(), value.size()));
    }
    Reply del(std::string_view key) const noexcept { return Reply(rdc_del(raw(), key.data(), key.size())); }

    // Ends the calls in progress in other threads on this client. May be called from a signal handler.
    void interrupt() const noexcept { rdc_interrupt(raw()); }
    // Calls in progress and later calls fail with RDC_ERR_CLOSED. The destructor does the same.
    void close() const noexcept { rdc_close(raw()); }

    rdc_client *raw() const noexcept { return owner_.get(); }

private:
    std::unique_ptr<rdc_client, Deleter> owner_;
};

} // namespace rediscluster

#endif // REDISCLUSTER_HPP
