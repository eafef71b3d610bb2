# frozen_string_literal: true

class RedisCluster
  # Iteration over keys and elements. Clients have it and pipelines do not: a step needs the result of the previous
  # one.
  module Scan
    # One step of a scan of the whole cluster: [cursor, keys]. Begin with cursor 0; the scan ends when the returned
    # cursor is "0".
    def scan(cursor, match: nil, count: nil, type: nil)
      run(["SCAN", cursor], { match: match, count: count, type: type }, nil)
    end

    # Yields every key that exists in the cluster during the whole scan, even while slots migrate and primaries fail
    # over. A key may be yielded twice. Without a block, returns an Enumerator.
    def scan_each(**options, &block)
      each_step(block) { |cursor| scan(cursor, **options) }
    end

    # Each field and value of a hash.
    def hscan_each(key, **options, &block)
      each_step(block) { |cursor| hscan(key, cursor, **options) }
    end

    # Each member of a set.
    def sscan_each(key, **options, &block)
      each_step(block) { |cursor| sscan(key, cursor, **options) }
    end

    # Each member and score of a sorted set.
    def zscan_each(key, **options, &block)
      each_step(block) { |cursor| zscan(key, cursor, **options) }
    end

    private

    def each_step(block)
      steps = Enumerator.new do |found|
        cursor = 0
        loop do
          cursor, elements = yield cursor
          elements.each { |element| found << element }
          break if cursor == "0"
        end
      end
      block ? steps.each(&block) && nil : steps
    end
  end
end
