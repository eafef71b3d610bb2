# frozen_string_literal: true

# A client of a Redis or Valkey cluster, or of a single server. It may be used by any number of threads at once, and
# after a fork by the parent and the child. Every call that waits for a server ends within the option timeout_ms. Under
# a fiber scheduler, a waiting call lets the other fibers of its thread run.
class RedisCluster
  include Administration
  include CallForms
  include Commands
  include Dispatch
  include Scan
  include Subscriptions
  include Transactions

  # RedisCluster.new("redis://127.0.0.1:7000", readonly: true)
  # RedisCluster.new(nodes: ["127.0.0.1:7000", { host: "127.0.0.1", port: 7001 }], password: "secret")
  # RedisCluster.new(url: "redis://127.0.0.1", db: 3)
  # RedisCluster.new(path: "/run/redis.sock")
  #
  # The options are those of CONFIGURATION.md, and those of redis-rb: see Options. Raises InvalidError if an option is
  # wrong, and CannotConnectError if no node can be reached.
  # logger: is for the whole process, as RedisCluster.logger=.
  def initialize(url = nil, logger: nil, **options)
    options = url.transform_keys(&:to_sym) if url.is_a?(Hash)
    logger ||= options.delete(:logger)
    Log.logger = logger if logger
    options[:url] = url if url.is_a?(String)
    options = Options.translate(**options)
    native = Native.rdc_options_new
    begin
      # Errors of options are reported by rdc_create_with.
      options.each { |name, value| Native.rdc_options_set(native, name.to_s, value.to_s) }
      FiberQueues.off_thread { attach { Native.waiting.rdc_create_with(native) } }
    ensure
      Native.rdc_options_free(native)
    end
  end

  # Runs a command at a target: "slot:N", "key:K", "random" or "host:port"; or at "all", "primaries" or "replicas",
  # with a hash of each node's reply as the result.
  def call_to(target, *args)
    queue = @queues.current
    raise_error(Convert.argv(args) do |*argv|
      next Convert.reply { Native.waiting.rdc_command_to(@handle, target, *argv) } unless queue

      queue.call { |native, tag| Native.rdc_queue_command_to(native, tag, target, *argv) }
    end)
  end

  # Another client of the same cluster that reads from primaries and replicas and refuses writes (ReadonlyError).
  # Reads may be stale. With a block, yields that client and closes it afterwards.
  def readonly(&block)
    with(readonly: true, &block)
  end

  # Another client of the same cluster with some options changed, those that CONFIGURATION.md marks as per handle.
  # Cheap, without network I/O. With a block, yields that client and closes it afterwards.
  #
  #     client.with(timeout_ms: 100) { |quick| quick.get("key") }
  def with(**options, &block)
    return block ? yield(self) : self if options.empty?

    derived = options.reduce(self) do |client, (name, value)|
      client.derive { |handle| Native.rdc_with(handle, name.to_s, Convert.option(value)) }
    end
    block ? derived.close_after(&block) : derived
  end

  # Another client with one dedicated connection, to the primary of this key, for WATCH, MULTI and EXEC. With a
  # block, yields that client and closes it afterwards.
  def pin(key, &block)
    key = Convert.text(key)
    pinned = derive { |handle| Native.rdc_pin(handle, key, key.bytesize) }
    pinned.mark_pinned
    block ? pinned.close_after(&block) : pinned
  end

  # A subscriber, with the methods of redis-client's: `pubsub.call("SUBSCRIBE", "news")`, `pubsub.next_event(timeout)`.
  # With arguments, the command PUBSUB: `pubsub("CHANNELS", "news.*")`.
  def pubsub(*args)
    return PubSub.new(@handle) if args.empty?

    run(["PUBSUB", *args], {}, args.first.to_s.match?(/numsub\z/i) ? Commands::HASH : nil)
  end

  # Replaces the credentials of all clients of the cluster, without network I/O. Connections that are opened from now on
  # use them. An open one is authenticated again when it is idle, before its next command. If a server refuses them, its
  # open connections keep their user. Raises InvalidError, and then nothing has changed. See docs/credentials.md.
  def set_credentials(user, password)
    return if Native.rdc_set_credentials(@handle, user, password).zero?

    raise InvalidError.new(
      "INVALID the credentials are not valid: at most 64 KiB of UTF-8, a user without control characters, and a " \
      "password for a user; or the client was closed", code: "INVALID"
    )
  end

  # Closes this client. Calls in progress in other threads, and later calls, raise ClosedError.
  def close
    Native.rdc_close(@handle)
    @queues.close
  end

  # The cluster as the client knows it: an array of shards. No network I/O.
  def topology
    raise_error(Convert.reply { Native.rdc_topology(@handle) })
  end

  # The counters of STATISTICS.md by name. No network I/O.
  def stats
    raise_error(Convert.reply { Native.rdc_stats(@handle) })
  end

  # Fetches the topology now. This is rarely needed: the library does it whenever there is a reason.
  def refresh
    raise_error(FiberQueues.off_thread { Convert.reply { Native.waiting.rdc_refresh(@handle) } })
  end

  # How a command would be routed, without running it. No network I/O.
  def explain(*args)
    raise_error(Convert.reply { Convert.argv(args) { |*argv| Native.rdc_explain(@handle, *argv) } })
  end

  # The known shards, without the options, which may contain a password.
  def inspect
    shards = Convert.reply { Native.rdc_topology(@handle) }
    return "#<#{self.class} closed>" if shards.is_a?(Error)

    "#<#{self.class} #{shards.map { |shard| shard.dig("primary", "address") }.join(" ")}>"
  end
  alias to_s inspect

  class << self
    # The version of the loaded library.
    def library_version
      Native.rdc_version
    end

    # The Logger of the library's messages, of all clients: errors, warnings, information and debug messages, from the
    # level on that the logger has when it is set. nil for none.
    def logger=(logger)
      Log.logger = logger
    end

    def logger
      Log.logger
    end

    # The slot of a key, 0 to 16383.
    def slot(key)
      key = Convert.text(key)
      Native.rdc_key_slot(key, key.bytesize)
    end
  end

  protected

  # Yields this client and closes it.
  def close_after
    yield self
  ensure
    close
  end

  def mark_pinned
    @pinned = true
  end

  # A client of the same class on the handle that the block derives from this one.
  def derive
    handle = @handle
    self.class.allocate.tap { |client| client.attach { yield handle } }
  end

  # Attaches the handle that the block returns to this client, or raises the error of the handle.
  def attach
    WaitCallback.defer_interrupts { @handle = Native::Client.new(yield) }
    @pinned = false
    # The C extension reads it. The handle closes the client when it is collected with this object.
    @address = @handle.address
    @queues = FiberQueues.new(@handle)
    message = Native.rdc_client_error(@handle)
    raise Error.of_creation(message) if message
  end

  private

  # Runs a command, by the queue of the fibers if there is a scheduler.
  def run_encoded(args, options, convert)
    resp = Convert.encode(args, options)
    value = raise_error(execute(resp, @queues.current))
    convert ? convert.call(value) : value
  end

  def execute(resp, queue)
    return Convert.reply { Native.waiting.rdc_command_resp(@handle, resp, resp.bytesize) } unless queue

    queue.call { |native, tag| Native.rdc_queue_resp(native, tag, resp, resp.bytesize) }
  end

  # Returns the value, or raises it if it is an error.
  def raise_error(value)
    raise value if value.is_a?(Error)

    value
  end
end
