# frozen_string_literal: true

class RedisCluster
  # Walks over keys and elements, for clients alone: a step needs the result of the one before.
  module Scan
    # One step over the keys of the whole cluster: [cursor, keys]. Begin with 0, and end when the cursor is "0".
    def scan(cursor, match: nil, count: nil, type: nil)
      run(["SCAN", cursor], { match: match, count: count, type: type }, nil)
    end

    # Each key of the cluster that is there all the while, also while slots move and primaries fail; some may come
    # twice. Without a block an Enumerator.
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
