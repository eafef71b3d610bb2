# frozen_string_literal: true

class RedisCluster
  module Commands
    # Consumer groups of streams.
    module StreamGroups
      CLAIMED = lambda do |reply|
        { "next" => reply[0], "entries" => ENTRIES.call(reply[1]) }
      end
      CLAIMED_IDS = ->(reply) { { "next" => reply[0], "entries" => reply[1] } }
      PENDING = lambda do |reply|
        count, first, last, consumers = reply
        { "size" => count, "min_entry_id" => first, "max_entry_id" => last, "consumers" => consumers.to_a.to_h }
      end
      PENDING_ENTRIES = ->(reply) { reply.map { |entry| %w[entry_id consumer elapsed count].zip(entry).to_h } }

      Commands.define(self, nil, %i[xack])

      # xgroup("CREATE", key, group, id, mkstream: true), xgroup("DESTROY", key, group) and so on.
      def xgroup(subcommand, key, group, id_or_consumer = nil, mkstream: false)
        run(["XGROUP", subcommand, key, group, *id_or_consumer], { mkstream: mkstream }, nil)
      end

      # xread for a consumer of a consumer group.
      def xreadgroup(group, consumer, keys, ids, count: nil, block: nil, noack: nil)
        options = Streams.limits(count, block)
        Convert.add_option(options, :noack, noack)
        run(["XREADGROUP", "GROUP", group, consumer, options, "STREAMS", keys, ids], {}, STREAMS)
      end

      # Makes entries of other consumers those of this one: the entries, or their ids with justid: true. Other options
      # are idle:, time:, retrycount: and force:.
      def xclaim(key, group, consumer, min_idle_time, *ids, justid: nil, **options)
        run(["XCLAIM", key, group, consumer, min_idle_time, ids], options.merge(justid: justid),
            justid ? nil : ENTRIES)
      end

      # The same for all entries from an id on: {"next" => id, "entries" => [...]}.
      def xautoclaim(key, group, consumer, min_idle_time, start, count: nil, justid: false)
        run(["XAUTOCLAIM", key, group, consumer, min_idle_time, start], { count: count, justid: justid },
            justid ? CLAIMED_IDS : CLAIMED)
      end

      # The summary of what was delivered and not acknowledged; with a range and a count, each of these entries:
      # xpending(key, group, "-", "+", 10, consumer, idle: 1000).
      def xpending(key, group, *range, idle: nil)
        unless [0, 3, 4].include?(range.length)
          raise ArgumentError, "xpending takes no range, or two ids and a count, and then possibly a consumer"
        end

        run(["XPENDING", key, group, *(["IDLE", Integer(idle)] if idle), *range], {},
            range.empty? ? PENDING : PENDING_ENTRIES)
      end
    end
  end
end
