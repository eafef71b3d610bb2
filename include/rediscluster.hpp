// librediscluster for C++17: classes that own and free the handles of rediscluster.h.
//
// Header only. It throws no exceptions of its own. rediscluster.h is the manual.
//
//     rediscluster::Client client("redis://127.0.0.1:7000");
//     if (auto name = client.get("name").to<std::string>()) std::cout << *name << "\n";
//     else std::cerr << name.error().message << "\n";
//
// Arguments of commands are texts and numbers. A Reply is a value or an error, and Reply::to<T>() converts it. A
// std::string_view or View that is borrowed from a Reply is valid as long as the Reply.
//
// Threads: any number of them may use a Client and read a Reply. One thread at a time uses a Pipeline, Options, Scan,
// Queue or Subscriber, except for wake().

#ifndef REDISCLUSTER_HPP
#define REDISCLUSTER_HPP

#include <rediscluster.h>

#include <charconv>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace rediscluster {

// Why a call failed, or why its reply could not be converted (code RDC_ERR_INVALID).
struct Error {
    std::int32_t code = RDC_OK; // RDC_ERR_TIMEOUT ...
    std::string message;        // one line
    std::string node;           // "host:port" of the node that the error concerns; empty if there is none
    bool sent = false;          // false: the command did not run, so that sending it again is safe

    // "TIMEOUT" ...
    const char *name() const noexcept { return rdc_error_name(code); }
};

// A value or an Error.
template <class T> class Result {
public:
    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

    bool has_value() const noexcept { return state_.index() == 0; }
    explicit operator bool() const noexcept { return has_value(); }
    // The value. As with std::optional, there must be one.
    const T &operator*() const & noexcept { return *std::get_if<0>(&state_); }
    T &operator*() & noexcept { return *std::get_if<0>(&state_); }
    T &&operator*() && noexcept { return std::move(*std::get_if<0>(&state_)); }
    const T *operator->() const noexcept { return std::get_if<0>(&state_); }
    T *operator->() noexcept { return std::get_if<0>(&state_); }
    template <class U> T value_or(U &&otherwise) const & {
        return has_value() ? **this : static_cast<T>(std::forward<U>(otherwise));
    }
    // The error. There must be one.
    const Error &error() const & noexcept { return *std::get_if<1>(&state_); }

private:
    std::variant<T, Error> state_;
};

namespace detail {

// An argument of a command as text: anything that converts to std::string_view, or a number. The text of a number is in
// the object itself, which therefore is not copied.
class Argument {
public:
    template <class T> explicit Argument(const T &value) noexcept {
        if constexpr (std::is_convertible_v<const T &, std::string_view>) {
            const std::string_view text = value;
            text_ = text.data() == nullptr ? std::string_view("") : text;
        } else {
            static_assert(std::is_arithmetic_v<T>, "an argument of a command is a text or a number");
            static_assert(!std::is_same_v<T, bool>, "a command has no true and false: write 1 or 0, yes or no");
            static_assert(!std::is_same_v<T, char>, "write a character as a text: \"c\"");
            if constexpr (std::is_floating_point_v<T>) {
                if (std::isinf(value)) {
                    text_ = value < 0 ? "-inf" : "inf";
                    return;
                }
            }
            const auto written = std::to_chars(number_, number_ + sizeof number_, value);
            text_ = std::string_view(number_, static_cast<std::size_t>(written.ptr - number_));
        }
    }
    Argument(const Argument &) = delete;
    Argument &operator=(const Argument &) = delete;
    ~Argument() = default;

    std::string_view text() const noexcept { return text_; }

private:
    std::string_view text_;
    char number_[32]; // the longest double that std::to_chars writes has 24 characters
};

// Calls `call` with the number of arguments, their texts and their lengths.
template <class Call, class... Args> auto with_arguments(Call &&call, const Args &...args) {
    static_assert(sizeof...(args) > 0, "a command has a name");
    const Argument arguments[] = {Argument(args)...};
    const char *texts[sizeof...(args)];
    std::size_t lengths[sizeof...(args)];
    for (std::size_t i = 0; i < sizeof...(args); i++) {
        texts[i] = arguments[i].text().data();
        lengths[i] = arguments[i].text().size();
    }
    return std::forward<Call>(call)(sizeof...(args), texts, lengths);
}

// The same for the texts of a range, which may be empty: the library refuses a command without a name.
template <class Call, class Range> auto with_range(Call &&call, const Range &range) {
    std::vector<const char *> texts;
    std::vector<std::size_t> lengths;
    for (const auto &element : range) {
        const std::string_view text = element;
        texts.push_back(text.data() == nullptr ? "" : text.data());
        lengths.push_back(text.size());
    }
    return std::forward<Call>(call)(texts.size(), texts.data(), lengths.data());
}

template <class T, class = void> struct Convert; // below

} // namespace detail

// A borrowed reply, or an element of a reply.
class View {
public:
    explicit View(const rdc_reply *reply) noexcept : reply_(reply) {}

    // One of RDC_STRING ... RDC_PUSH.
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

    // A copy as T, or an Error: the one of the reply, or RDC_ERR_INVALID if the value is no T. T is one of these, also
    // nested:
    //   std::string                      a text, or an INTEGER in decimal
    //   an integer, a floating type      a number that fits, or a text that is one
    //   bool                             a BOOL, or an INTEGER that is 0 or 1
    //   std::optional                    nil is std::nullopt
    //   std::vector, std::set ...        any elements
    //   std::map, std::unordered_map     a MAP, or an array of fields and values
    //   std::pair, std::tuple            an array with that many elements
    template <class T> Result<T> to() const {
        if (!*this) return failure(std::string(error_text()));
        std::optional<T> value = detail::Convert<T>::from(*this);
        if (value) return std::move(*value);
        return failure("INVALID the reply cannot be converted: its type is " + std::to_string(type()));
    }

    class Iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = View;
        using difference_type = std::ptrdiff_t;
        using pointer = void;
        using reference = View;

        Iterator(const rdc_reply *reply, std::size_t at) noexcept : reply_(reply), at_(at) {}
        View operator*() const noexcept { return View(rdc_reply_at(reply_, at_)); }
        Iterator &operator++() noexcept { ++at_; return *this; }
        Iterator operator++(int) noexcept { return Iterator(reply_, at_++); }
        bool operator==(const Iterator &other) const noexcept { return at_ == other.at_; }
        bool operator!=(const Iterator &other) const noexcept { return at_ != other.at_; }

    private:
        const rdc_reply *reply_;
        std::size_t at_;
    };
    Iterator begin() const noexcept { return Iterator(reply_, 0); }
    Iterator end() const noexcept { return Iterator(reply_, size()); }

    // The pairs of a MAP, or of an array of fields and values: for (auto [field, value] : reply.pairs())
    class Pairs {
    public:
        class Iterator {
        public:
            using iterator_category = std::input_iterator_tag;
            using value_type = std::pair<View, View>;
            using difference_type = std::ptrdiff_t;
            using pointer = void;
            using reference = value_type;

            Iterator(const rdc_reply *reply, std::size_t at) noexcept : reply_(reply), at_(at) {}
            value_type operator*() const noexcept {
                return {View(rdc_reply_at(reply_, at_)), View(rdc_reply_at(reply_, at_ + 1))};
            }
            Iterator &operator++() noexcept { at_ += 2; return *this; }
            Iterator operator++(int) noexcept { Iterator before = *this; at_ += 2; return before; }
            bool operator==(const Iterator &other) const noexcept { return at_ == other.at_; }
            bool operator!=(const Iterator &other) const noexcept { return at_ != other.at_; }

        private:
            const rdc_reply *reply_;
            std::size_t at_;
        };
        explicit Pairs(const rdc_reply *reply) noexcept : reply_(reply) {}
        std::size_t size() const noexcept { return View(reply_).size() / 2; }
        Iterator begin() const noexcept { return Iterator(reply_, 0); }
        Iterator end() const noexcept { return Iterator(reply_, size() * 2); }

    private:
        const rdc_reply *reply_;
    };
    Pairs pairs() const noexcept { return Pairs(reply_); }

    const rdc_reply *raw() const noexcept { return reply_; }

private:
    std::string_view bytes() const noexcept { return {rdc_reply_str(reply_), rdc_reply_len(reply_)}; }
    Error failure(std::string message) const {
        return Error{*this ? RDC_ERR_INVALID : error(), std::move(message), std::string(node()), sent()};
    }

    const rdc_reply *reply_;
};

namespace detail {

template <> struct Convert<std::string> {
    static std::optional<std::string> from(View view) {
        if (const auto number = view.integer()) return std::to_string(*number);
        return view.string();
    }
};

template <> struct Convert<bool> {
    static std::optional<bool> from(View view) noexcept {
        const auto number = view.integer();
        if (!number || (*number != 0 && *number != 1)) return std::nullopt;
        return *number == 1;
    }
};

template <class T> struct Convert<T, std::enable_if_t<std::is_integral_v<T> && !std::is_same_v<T, bool>>> {
    static std::optional<T> from(View view) noexcept {
        T value{};
        if (const auto number = view.integer()) {
            value = static_cast<T>(*number);
            const bool fits = static_cast<std::int64_t>(value) == *number && (value < T{}) == (*number < 0);
            return fits ? std::optional<T>(value) : std::nullopt;
        }
        const auto text = view.text();
        if (!text) return std::nullopt;
        const auto read = std::from_chars(text->data(), text->data() + text->size(), value);
        const bool is_whole = read.ec == std::errc() && read.ptr == text->data() + text->size();
        return is_whole ? std::optional<T>(value) : std::nullopt;
    }
};

template <class T> struct Convert<T, std::enable_if_t<std::is_floating_point_v<T>>> {
    static std::optional<T> from(View view) noexcept {
        if (view.type() == RDC_DOUBLE || view.type() == RDC_INTEGER) return static_cast<T>(view.number());
        const auto text = view.text();
        if (!text || text->empty()) return std::nullopt;
        char *end = nullptr;
        // A text of a reply has a NUL after its last byte.
        const double value = std::strtod(text->data(), &end); // NOLINT(bugprone-suspicious-stringview-data-usage)
        return end == text->data() + text->size() ? std::optional<T>(static_cast<T>(value)) : std::nullopt;
    }
};

template <class T> struct Convert<std::optional<T>> {
    static std::optional<std::optional<T>> from(View view) {
        if (view.is_nil()) return std::optional<std::optional<T>>(std::in_place, std::nullopt);
        auto value = Convert<T>::from(view);
        if (!value) return std::nullopt;
        return std::optional<std::optional<T>>(std::in_place, std::move(value));
    }
};

inline bool has_elements(View view) noexcept {
    const std::int32_t type = view.type();
    return type == RDC_ARRAY || type == RDC_SET || type == RDC_PUSH || type == RDC_MAP;
}

template <class... Ts> struct Convert<std::tuple<Ts...>> {
    static std::optional<std::tuple<Ts...>> from(View view) {
        return view.size() == sizeof...(Ts) ? from(view, std::index_sequence_for<Ts...>()) : std::nullopt;
    }

private:
    template <std::size_t... I>
    static std::optional<std::tuple<Ts...>> from(View view, std::index_sequence<I...> /*unused*/) {
        std::tuple<std::optional<Ts>...> parts{Convert<Ts>::from(view[I])...};
        if (!(std::get<I>(parts).has_value() && ...)) return std::nullopt;
        return std::tuple<Ts...>(std::move(*std::get<I>(parts))...); // NOLINT(bugprone-unchecked-optional-access)
    }
};

template <class A, class B> struct Convert<std::pair<A, B>> {
    static std::optional<std::pair<A, B>> from(View view) {
        auto both = Convert<std::tuple<A, B>>::from(view);
        if (!both) return std::nullopt;
        return std::pair<A, B>(std::move(std::get<0>(*both)), std::move(std::get<1>(*both)));
    }
};

// Containers: maps have a mapped_type, all have insert(position, value).
template <class T> struct Convert<T, std::void_t<typename T::mapped_type>> {
    static std::optional<T> from(View view) {
        if (!has_elements(view) || view.size() % 2 != 0) return std::nullopt;
        T all;
        for (const auto [field, content] : view.pairs()) {
            auto key = Convert<typename T::key_type>::from(field);
            auto value = Convert<typename T::mapped_type>::from(content);
            if (!key || !value) return std::nullopt;
            all.insert_or_assign(std::move(*key), std::move(*value));
        }
        return all;
    }
};

template <class T, class = void> struct IsMap : std::false_type {};
template <class T> struct IsMap<T, std::void_t<typename T::mapped_type>> : std::true_type {};

template <class T, class = void> struct IsContainer : std::false_type {};
template <class T>
struct IsContainer<T, std::void_t<typename T::value_type, typename T::iterator>>
    : std::bool_constant<!IsMap<T>::value && !std::is_same_v<T, std::string>> {};

template <class T> struct Convert<T, std::enable_if_t<IsContainer<T>::value>> {
    static std::optional<T> from(View view) {
        if (!has_elements(view)) return std::nullopt;
        T all;
        for (const View element : view) {
            auto value = Convert<typename T::value_type>::from(element);
            if (!value) return std::nullopt;
            all.insert(all.end(), std::move(*value));
        }
        return all;
    }
};

} // namespace detail

struct Deleter {
    void operator()(rdc_client *client) const noexcept { rdc_close(client); }
    void operator()(rdc_options *options) const noexcept { rdc_options_free(options); }
    void operator()(rdc_pipeline *pipeline) const noexcept { rdc_pipeline_free(pipeline); }
    void operator()(rdc_queue *queue) const noexcept { rdc_queue_free(queue); }
    void operator()(rdc_reply *reply) const noexcept { rdc_reply_free(reply); }
    void operator()(rdc_subscriber *subscriber) const noexcept { rdc_subscriber_free(subscriber); }
};

// An owned reply. The deleted overloads prevent borrowing from a temporary: keep the Reply, or copy with to().
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
    Pairs pairs() const & noexcept { return View::pairs(); }
    Pairs pairs() const && = delete;

private:
    std::unique_ptr<rdc_reply, Deleter> owner_;
};

// Commands of one client that are sent together. The methods append a command.
class Pipeline {
public:
    explicit Pipeline(rdc_pipeline *pipeline) noexcept : owner_(pipeline) {}

    template <class... Args> Pipeline &command(const Args &...args) noexcept {
        detail::with_arguments([this](auto... all) { rdc_pipeline_command(raw(), all...); }, args...);
        return *this;
    }
    // A command whose name and arguments are the texts of a range.
    template <class Range> Pipeline &command_list(const Range &args) {
        detail::with_range([this](auto... all) { rdc_pipeline_command(raw(), all...); }, args);
        return *this;
    }
    Pipeline &get(std::string_view key) noexcept { return command("GET", key); }
    template <class Value> Pipeline &set(std::string_view key, const Value &value) noexcept {
        return command("SET", key, value);
    }
    Pipeline &del(std::string_view key) noexcept { return command("DEL", key); }
    std::size_t size() const noexcept { return rdc_pipeline_len(raw()); }
    // Sends the commands. Returns an array with one reply per command, in order, and empties the pipeline.
    Reply execute() noexcept { return Reply(rdc_pipeline_execute(raw())); }
    // The same as a transaction: all commands run or none. All keys must be in one slot.
    Reply execute_atomic() noexcept { return Reply(rdc_pipeline_execute_atomic(raw())); }
    void clear() noexcept { rdc_pipeline_clear(raw()); }

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

// The milliseconds that the library takes: at most 24 days; -1 for no limit.
namespace detail {
inline std::int32_t milliseconds(std::chrono::milliseconds time) noexcept {
    constexpr std::chrono::milliseconds::rep most = std::numeric_limits<std::int32_t>::max();
    return static_cast<std::int32_t>(time.count() < most ? time.count() : most);
}
} // namespace detail

// Commands for a program that must not block: the chapter "Event loops" of rediscluster.h. Submit, poll fd(), call
// run(), and take what is complete.
class Queue {
public:
    struct Completed {
        std::uint64_t tag;
        Reply reply;
    };

    explicit Queue(rdc_queue *queue) noexcept : owner_(queue) {}

    template <class... Args> Queue &command(std::uint64_t tag, const Args &...args) noexcept {
        detail::with_arguments([&](auto... all) { rdc_queue_command(raw(), tag, all...); }, args...);
        return *this;
    }
    template <class Range> Queue &command_list(std::uint64_t tag, const Range &args) {
        detail::with_range([&](auto... all) { rdc_queue_command(raw(), tag, all...); }, args);
        return *this;
    }
    // Takes the commands of a pipeline: their replies are one array.
    Queue &pipeline(std::uint64_t tag, Pipeline &pipeline) noexcept {
        rdc_queue_pipeline(raw(), tag, pipeline.raw());
        return *this;
    }
    Queue &pipeline_atomic(std::uint64_t tag, Pipeline &pipeline) noexcept {
        rdc_queue_pipeline_atomic(raw(), tag, pipeline.raw());
        return *this;
    }
    // Readable if and only if run() or next() has something to do.
    int fd() const noexcept { return rdc_queue_fd(raw()); }
    // Does what can be done, waiting at most this long: 0 ms not at all, -1 ms until something is complete. Returns how
    // many replies wait to be taken.
    int run(std::chrono::milliseconds timeout) noexcept {
        return rdc_queue_run(raw(), detail::milliseconds(timeout));
    }
    std::optional<Completed> next() noexcept {
        std::uint64_t tag = 0;
        rdc_reply *reply = rdc_queue_next(raw(), &tag);
        if (reply == nullptr) return std::nullopt;
        return Completed{tag, Reply(reply)};
    }
    // Gives up the commands with this tag: each completes with RDC_ERR_INTERRUPTED.
    void cancel(std::uint64_t tag) noexcept { rdc_queue_cancel(raw(), tag); }
    // The commands that were submitted and are not taken yet.
    std::size_t size() const noexcept { return rdc_queue_len(raw()); }
    // Makes run() return. May be called from any thread and from a signal handler.
    void wake() const noexcept { rdc_queue_wake(raw()); }

    rdc_queue *raw() const noexcept { return owner_.get(); }

private:
    std::unique_ptr<rdc_queue, Deleter> owner_;
};

// The messages of channels: the chapter "Publish / subscribe" of rediscluster.h, and docs/pubsub.md.
//
//     auto subscriber = client.subscriber();
//     subscriber.command("SSUBSCRIBE", "orders:1", "orders:2");
//     for (;;) {
//         const auto push = subscriber.next(1s);
//         if (push.is_nil()) continue;
//         if (!push) std::cerr << push.error_text() << "\n";
//         else if (push[0].text() == "smessage") use(push[1], push[2]);
//         else if (push[0].text() == "gap") load_again(push[2]);
//     }
class Subscriber {
public:
    explicit Subscriber(rdc_subscriber *subscriber) noexcept : owner_(subscriber) {}

    // SUBSCRIBE, PSUBSCRIBE, SSUBSCRIBE and their UN-. Never waits: what follows comes from next().
    template <class... Args> Reply command(const Args &...args) noexcept {
        return detail::with_arguments(
            [this](auto... all) { return Reply(rdc_subscriber_command(raw(), all...)); }, args...);
    }
    template <class Range> Reply command_list(const Range &args) {
        return detail::with_range([this](auto... all) { return Reply(rdc_subscriber_command(raw(), all...)); }, args);
    }
    // The next PUSH (a message, a confirmation or a gap); nil after this time, which may be 0 ms, or -1 ms for no
    // limit; or an error, after which the next call goes on.
    Reply next(std::chrono::milliseconds timeout) noexcept {
        return Reply(rdc_subscriber_next(raw(), detail::milliseconds(timeout)));
    }
    // Readable if and only if next(0ms) has something to do.
    int fd() const noexcept { return rdc_subscriber_fd(raw()); }
    // Makes next() return nil. May be called from any thread and from a signal handler.
    void wake() const noexcept { rdc_subscriber_wake(raw()); }

    rdc_subscriber *raw() const noexcept { return owner_.get(); }

private:
    std::unique_ptr<rdc_subscriber, Deleter> owner_;
};

class Client;

// The keys of the whole cluster, batch by batch:
//
//     auto scan = client.scan("user:*");
//     while (scan.next())
//         for (auto key : scan.keys()) use(*key.text());
//     if (!scan) std::cerr << scan.error().message << "\n";
class Scan {
public:
    // Fetches a batch, which may be empty. False after the last one, and after an error.
    bool next();
    // The batch, borrowed until the next one.
    View keys() const noexcept { return batch_[1]; }
    explicit operator bool() const noexcept { return bool(batch_); }
    // There must be one.
    Error error() const { return batch_.to<bool>().error(); }

private:
    friend class Client;
    Scan(const Client &client, std::string pattern, std::size_t count) noexcept
        : client_(&client), pattern_(std::move(pattern)), count_(count) {}

    const Client *client_;
    std::string pattern_;
    std::size_t count_;
    std::string cursor_ = "0";
    Reply batch_ = Reply(nullptr);
    bool is_over_ = false;
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
    Queue queue() const noexcept { return Queue(rdc_queue_new(raw())); }
    Subscriber subscriber() const noexcept { return Subscriber(rdc_subscriber_new(raw())); }

    // Runs any command: command("HSET", "user:1", "name", name, "age", 36).
    template <class... Args> Reply command(const Args &...args) const noexcept {
        return detail::with_arguments([this](auto... all) { return Reply(rdc_command(raw(), all...)); }, args...);
    }
    // A command whose name and arguments are the texts of a range.
    template <class Range> Reply command_list(const Range &args) const {
        return detail::with_range([this](auto... all) { return Reply(rdc_command(raw(), all...)); }, args);
    }
    // The same command at one node, "host:port".
    template <class... Args> Reply command_to(const std::string &node, const Args &...args) const noexcept {
        return detail::with_arguments(
            [&](auto... all) { return Reply(rdc_command_to(raw(), node.c_str(), all...)); }, args...);
    }
    // What would be done with a command, without doing it: a map.
    template <class... Args> Reply explain(const Args &...args) const noexcept {
        return detail::with_arguments([this](auto... all) { return Reply(rdc_explain(raw(), all...)); }, args...);
    }

    Reply get(std::string_view key) const noexcept { return Reply(rdc_get(raw(), key.data(), key.size())); }
    template <class Value> Reply set(std::string_view key, const Value &value) const noexcept {
        const detail::Argument text(value);
        return Reply(rdc_set(raw(), key.data(), key.size(), text.text().data(), text.text().size()));
    }
    // A value that expires.
    template <class Value>
    Reply set(std::string_view key, const Value &value, std::chrono::milliseconds expiry) const noexcept {
        const detail::Argument text(value);
        return Reply(
            rdc_set_px(raw(), key.data(), key.size(), text.text().data(), text.text().size(), expiry.count()));
    }
    Reply del(std::string_view key) const noexcept { return Reply(rdc_del(raw(), key.data(), key.size())); }
    Reply exists(std::string_view key) const noexcept { return Reply(rdc_exists(raw(), key.data(), key.size())); }
    Reply incr(std::string_view key, std::int64_t by = 1) const noexcept {
        return Reply(rdc_incrby(raw(), key.data(), key.size(), by));
    }
    Reply expire(std::string_view key, std::chrono::milliseconds expiry) const noexcept {
        return Reply(rdc_pexpire(raw(), key.data(), key.size(), expiry.count()));
    }
    // The keys of all nodes that match a pattern, about `count` in each batch. The client must outlive the scan.
    Scan scan(std::string pattern = "*", std::size_t count = 100) const & noexcept {
        return Scan(*this, std::move(pattern), count);
    }
    Scan scan(std::string pattern = "*", std::size_t count = 100) const && = delete;

    // The shards of the cluster and their nodes; counters; learn the topology again, now.
    Reply topology() const noexcept { return Reply(rdc_topology(raw())); }
    Reply stats() const noexcept { return Reply(rdc_stats(raw())); }
    Reply refresh() const noexcept { return Reply(rdc_refresh(raw())); }

    // Ends the calls in progress in other threads on this client. May be called from a signal handler.
    void interrupt() const noexcept { rdc_interrupt(raw()); }
    // Calls in progress and later calls fail with RDC_ERR_CLOSED. The destructor does the same.
    void close() const noexcept { rdc_close(raw()); }

    rdc_client *raw() const noexcept { return owner_.get(); }

private:
    std::unique_ptr<rdc_client, Deleter> owner_;
};

inline bool Scan::next() {
    if (is_over_) return false;
    batch_ = client_->command("SCAN", cursor_, "MATCH", pattern_, "COUNT", count_);
    cursor_ = batch_[0].string().value_or("0");
    is_over_ = !batch_ || cursor_ == "0";
    return bool(batch_);
}

// The slot of a key, 0 to 16383.
inline int key_slot(std::string_view key) noexcept { return rdc_key_slot(key.data(), key.size()); }

} // namespace rediscluster

#endif // REDISCLUSTER_HPP
