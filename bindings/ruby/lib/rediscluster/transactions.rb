# frozen_string_literal: true

class RedisCluster
  # Pipelines and transactions of clients.
  module Transactions
    # Sends the commands that the block appends in one pipeline, and returns their results in order. If commands
    # failed, raises the first error after all replies have arrived. With exception: false, errors are elements of the
    # results instead.
    #
    #     client.pipelined { |p| p.get("a"); p.incr("b") } # => ["1", 2]
    def pipelined(exception: true)
      pipeline = Pipeline.new(@address)
      yield pipeline
      pipeline.send(:execute, false, @queues.current, exception)
    end

    # The same as a transaction: all commands run or none, without other commands in between. All keys must be in one
    # slot. In the block of watch, the transaction of what is watched: nil if a key was changed, and then nothing ran.
    # watch: does both:
    #
    #     client.multi(watch: "key") { |t| t.set("key", "value") }
    def multi(watch: nil, exception: true, &block)
      return watch(*watch) { |watching| watching.multi(exception: exception, &block) } if watch

      watching = all_watches[self]
      return watching.multi(exception: exception, &block) if watching

      transaction = (@pinned ? PinnedTransaction : Pipeline).new(@address)
      yield transaction
      transaction.send(:execute, true, @queues.current, exception)
    end

    # Watches keys of one slot while the block runs. multi in the block runs nothing if another client has changed one
    # of them. The block gets a client of the connection that watches; multi and unwatch of this client use it too.
    #
    #     client.watch("stock") do |watching|
    #       left = watching.get("stock").to_i
    #       watching.multi { |t| t.set("stock", left - 1) } if left.positive?
    #     end
    def watch(*keys)
      raise ArgumentError, "watch needs a block: other threads use the same connections" unless block_given?

      keys = keys.flatten
      pin(keys.first) do |watching|
        watching.call("WATCH", keys)
        outer = all_watches[self]
        all_watches[self] = watching
        yield watching
      ensure
        outer ? all_watches[self] = outer : all_watches.delete(self)
      end
    end

    # Ends the watching of the block of watch.
    def unwatch
      (all_watches[self] || self).call("UNWATCH")
    end

    private

    # The clients that watch, of this fiber, by the client that they belong to.
    def all_watches
      Thread.current[:rediscluster_watches] ||= {}.compare_by_identity
    end
  end
end
