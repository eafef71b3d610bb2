# frozen_string_literal: true

require "redis_client"
require_relative "../rediscluster"
require_relative "redis_client/errors"
require_relative "redis_client/command_list"

class RedisCluster
  # A client with the interface of the gem redis-client, for libraries that expect one, such as Sidekiq:
  #
  #     RedisClient.config(url: "redis://127.0.0.1:7000", client_implementation: RedisCluster::Client).new_client
  #
  # It raises redis-client's errors, whose cause is the RedisCluster::Error. As redis-client, it connects when it is
  # first used, and again after close. The options of this gem are in custom:, as in
  # `custom: { nodes: %w[a:7000 b:7000] }`.
  class Client
    include RedisClientErrors
    include CallForms

    attr_reader :config, :id, :connect_timeout, :read_timeout, :write_timeout

    class << self
      # As RedisClient.config: new_client and new_pool of its result make clients of this class.
      def config(**options)
        RedisClient.config(client_implementation: self, **options)
      end

      # Client.new(config), or Client.new(url: "redis://127.0.0.1:7000") as RedisClient.new.
      def new(config = nil, **options)
        config.is_a?(RedisClient::Config::Common) ? super : super(self.config(**(config || {}), **options))
      end
    end

    def initialize(config, id: config.id, connect_timeout: config.connect_timeout, read_timeout: config.read_timeout,
                   write_timeout: config.write_timeout)
      @config = config
      @id = id&.to_s
      @connect_timeout = connect_timeout
      @read_timeout = read_timeout
      @write_timeout = write_timeout
      @middlewares = config.middlewares_stack.new(self)
    end

    %i[server_url db username password host port path].each do |name|
      define_method(name) { config.public_send(name) }
    end

    def timeout
      read_timeout
    end

    # Both are the time limit of one attempt.
    def read_timeout=(seconds)
      @read_timeout = seconds
      @cluster = @cluster&.with(**attempt_limits)
    end

    def write_timeout=(seconds)
      @write_timeout = seconds
      @cluster = @cluster&.with(**attempt_limits)
    end

    # Concerns the connections that are opened after the next close.
    attr_writer :connect_timeout

    def timeout=(seconds)
      self.connect_timeout = self.write_timeout = self.read_timeout = seconds
    end

    # As a pool of one client.
    def size
      1
    end

    def with(_options = nil)
      yield self
    end
    alias then with

    def call(*command, **options)
      command = RedisClient::CommandBuilder.generate(command, options)
      result = translating { @middlewares.call(command, config) { |sent| cluster.call(*sent) } }
      block_given? ? yield(result) : result
    end

    def pipelined(exception: true)
      list = CommandList.new
      yield list
      results = run(list) { cluster.pipelined(exception: exception) { |pipeline| list.append_to(pipeline) } }
      results.map { |result| result.is_a?(Error) ? RedisClientErrors.of(result) : result }
    end

    # The results; nil if a watched key was changed.
    def multi(watch: nil)
      list = CommandList.new
      return translating { watched(list, watch) { yield list } } if watch

      yield list
      run(list) { cluster.multi { |transaction| list.append_to(transaction) } }
    end

    def pubsub
      cluster.pubsub
    end

    # Yield each key or element; without a block, an Enumerator.
    def scan(*args, **options, &block)
      each_page(["SCAN"], args, options, block, 1)
    end

    def sscan(key, *args, **options, &block)
      each_page(["SSCAN", key], args, options, block, 1)
    end

    def hscan(key, *args, **options, &block)
      each_page(["HSCAN", key], args, options, block, 2)
    end

    def zscan(key, *args, **options, &block)
      each_page(["ZSCAN", key], args, options, block, 2)
    end

    # Whether there is a connection now: it is opened by the next command.
    def connected?
      !@cluster.nil? && @cluster.connected?
    end

    def close
      @cluster&.close
      @cluster = nil
      self
    end

    # The seconds of a PING.
    def measure_round_trip_delay
      started = Process.clock_gettime(Process::CLOCK_MONOTONIC)
      call("PING")
      Process.clock_gettime(Process::CLOCK_MONOTONIC) - started
    end

    def disable_reconnection
      message = "INVALID disable_reconnection: the library connects again by itself; writes are not sent twice"
      raise RedisClientErrors.of(InvalidError.new(message, code: "INVALID"))
    end

    def inspect
      "#<#{self.class} #{server_url}#{" id=#{id}" if id}>"
    end

    private

    def cluster
      @cluster ||= translating { RedisCluster.new(**options) }
    end

    def options
      custom = config.custom.transform_keys(&:to_sym)
      address = custom[:nodes] || custom[:url] ? {} : { url: config.server_url }
      given = { user: config.password && config.username, password: config.password, protocol: config.protocol,
                client_name: id, connect_timeout: connect_timeout, ssl_params: config.ssl_params, lazy: true }
      address.merge(given.compact, attempt_limits, custom)
    end

    # The library's limits, of the longer timeout: it has one for both directions.
    def attempt_limits
      milliseconds = ([read_timeout, write_timeout].compact.max.to_f * 1000).ceil
      return {} unless milliseconds.positive?

      { attempt_timeout_ms: milliseconds, timeout_ms: [milliseconds, 5_000].max }
    end

    def run(list, &block)
      return [] if list.empty?

      translating { @middlewares.call_pipelined(list.commands, config, &block) }
    end

    def watched(list, keys)
      cluster.watch(*keys) do |watching|
        yield
        watching.multi { |transaction| list.append_to(transaction) }
      end
    end

    # Calls the block for the elements of each page of a scan, `width` at a time.
    def each_page(command, args, options, block, width)
      pages = Enumerator.new do |found|
        cursor = 0
        loop do
          cursor, elements = call(*command, cursor, *args, **options)
          elements.flatten.each_slice(width) { |values| found.yield(*values) }
          break if cursor == "0"
        end
      end
      block ? pages.each(&block) && nil : pages
    end
  end
end
