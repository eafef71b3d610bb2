# frozen_string_literal: true

# A client of a Redis or Valkey cluster. May be used by any number of threads at once, and after a fork by parent
# and child. Every call that waits for a server ends within the option timeout_ms.
class RedisCluster
  include Commands
  include Scan

  # RedisCluster.new("redis://127.0.0.1:7000", readonly: true)
  # RedisCluster.new(nodes: ["127.0.0.1:7000", { host: "127.0.0.1", port: 7001 }], password: "secret")
  #
  # The options are those of CONFIGURATION.md. Raises what is wrong with them, or why the cluster cannot be reached.
  def initialize(url = nil, nodes: nil, **options)
    url ||= Convert.url(nodes) if nodes
    native = Native.rdc_options_new
    begin
      # What is wrong with an option, the client says.
      { url: url, **options }.each do |name, value|
        Native.rdc_options_set(native, name.to_s, Convert.option(value)) unless value.nil?
      end
      adopt { Native.rdc_create_with(native) }
    ensure
      Native.rdc_options_free(native)
    end
  end

  # Any command: call("SET", "key", "value", ex: 5). Arrays and hashes among the arguments are flattened. The
  # result is what the server sent: String, Integer, Float, true, false, nil, Array or Hash.
  def call(*args, **options)
    run(args, options, nil)
  end

  # The same, to a place: "slot:N", "key:K", "random" or "host:port"; or to "all", "primaries" or "replicas", whose
  # result is a hash of what each node sent.
  def call_to(where, *args)
    raised(Convert.reply { Convert.argv(args) { |*argv| Native.rdc_command_to(@handle, where, *argv) } })
  end

  # Sends the commands that the block appends all at once, and gives their results in order. If some failed, the
  # first error is raised when all have been answered; with exception: false each error stands in its place.
  #
  #     client.pipelined { |p| p.get("a"); p.incr("b") } # => ["1", 2]
  def pipelined(exception: true)
    pipeline = Pipeline.new
    yield pipeline
    pipeline.send(:execute, :rdc_pipeline_execute, @handle, exception)
  end

  # The same as a transaction: all commands or none, with nothing in between. Their keys lie in one slot.
  def multi(exception: true)
    pipeline = Pipeline.new
    yield pipeline
    pipeline.send(:execute, :rdc_pipeline_execute_atomic, @handle, exception)
  end

  # Another client of the same cluster that reads from primaries and replicas alike, perhaps older data, and
  # refuses to write (ReadonlyError). With a block, gives it that client and closes it afterwards.
  def readonly(&block)
    with(readonly: true, &block)
  end

  # Another client of the same cluster with some options changed, those that CONFIGURATION.md marks as twins. No
  # network, and cheap. With a block, gives it that client and closes it afterwards.
  #
  #     client.with(timeout_ms: 100) { |quick| quick.get("key") }
  def with(**options, &block)
    return block ? yield(self) : self if options.empty?

    twin = options.reduce(self) do |client, (name, value)|
      client.twin { |handle| Native.rdc_with(handle, name.to_s, Convert.option(value)) }
    end
    block ? twin.closing(&block) : twin
  end

  # Another client with one connection of its own, to the primary of this key: WATCH, MULTI and EXEC belong there.
  # With a block, gives it that client and closes it afterwards.
  def pin(key, &block)
    key = Convert.text(key)
    pinned = twin { |handle| Native.rdc_pin(handle, key, key.bytesize) }
    block ? pinned.closing(&block) : pinned
  end

  # Ends this client; calls under way in other threads, and later ones, raise ClosedError.
  def close
    Native.rdc_close(@handle)
  end

  # The cluster as it is known: an array of shards. No network.
  def topology
    raised(Convert.reply { Native.rdc_topology(@handle) })
  end

  # What the client has counted, by name. No network.
  def stats
    raised(Convert.reply { Native.rdc_stats(@handle) })
  end

  # Learns the topology again, now. There is no need to: it is done whenever there is a reason.
  def refresh
    raised(Convert.reply { Native.rdc_refresh(@handle) })
  end

  # What would be done with a command, without doing it. No network.
  def explain(*args)
    raised(Convert.reply { Convert.argv(args) { |*argv| Native.rdc_explain(@handle, *argv) } })
  end

  # The shards that are known, and nothing of what the user gave: there may be a password in it.
  def inspect
    shards = Convert.reply { Native.rdc_topology(@handle) }
    return "#<#{self.class} closed>" if shards.is_a?(Error)

    "#<#{self.class} #{shards.map { |shard| shard.dig("primary", "address") }.join(" ")}>"
  end
  alias to_s inspect

  class << self
    # The version of the library that was loaded.
    def library_version
      Native.rdc_version
    end

    # The slot of a key, 0 to 16383.
    def slot(key)
      key = Convert.text(key)
      Native.rdc_key_slot(key, key.bytesize)
    end
  end

  protected

  # Gives the block this client and closes it.
  def closing
    yield self
  ensure
    close
  end

  # A client of the same class on the handle that the block makes of this one.
  def twin
    handle = @handle
    self.class.allocate.tap { |client| client.adopt { yield handle } }
  end

  # Takes a handle that the block makes. One that is in error answers every command with that error.
  def adopt
    Waiting.undisturbed { @handle = Native::Client.new(yield) }
    call("PING") if Native.rdc_client_error(@handle)
  end

  private

  def run(args, options, reply)
    resp = Convert.encode(args, options)
    value = raised(Convert.reply { Native.rdc_command_resp(@handle, resp, resp.bytesize) })
    reply ? reply.call(value) : value
  end

  def raised(value)
    raise value if value.is_a?(Error)

    value
  end
end
