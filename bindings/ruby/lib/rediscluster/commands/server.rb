# frozen_string_literal: true

class RedisCluster
  module Commands
    # Servers and connections. call_to runs a command of one server at a chosen one.
    module Server
      # The texts of several servers, of which redis-rb would have one.
      INFO = lambda do |reply|
        LINES.call(reply.is_a?(Hash) ? reply.values.first : reply)
      end
      COMMAND_STATS = lambda do |reply|
        INFO.call(reply).to_h do |name, fields|
          [name.delete_prefix("cmdstat_"), fields.split(",").to_h { |field| field.split("=", 2) }]
        end
      end
      CLIENTS = lambda do |reply|
        reply.each_line(chomp: true).map { |line| line.split(" ").to_h { |field| field.split("=", 2) } }
      end

      Commands.define(self, nil, %i[
        ping echo dbsize publish spublish lastsave acl debug latency memory slaveof sync asking exec discard
      ])
      Commands.define(self, INTEGERS, %i[time])

      # The INFO of a server; in a cluster, of the first primary. call_to("primaries", "INFO") asks all.
      def info(section = nil)
        convert = section.to_s == "commandstats" ? COMMAND_STATS : INFO
        run(["INFO", *section], {}, convert)
      end

      # config(:get, "maxmemory") returns a hash.
      def config(action, *args)
        run(["CONFIG", action, *args], {}, action.to_s.casecmp?("get") ? HASH : nil)
      end

      # client(:list) returns a hash for each connection.
      def client(subcommand, *args)
        run(["CLIENT", subcommand, *args], {}, subcommand.to_s.casecmp?("list") ? CLIENTS : nil)
      end

      def flushall(options = nil)
        run(["FLUSHALL", *("ASYNC" if options && options[:async])], {}, nil)
      end

      def flushdb(options = nil)
        run(["FLUSHDB", *("ASYNC" if options && options[:async])], {}, nil)
      end

      def slowlog(subcommand, length = nil)
        run(["SLOWLOG", subcommand, *(Integer(length) if length)], {}, nil)
      end

      # Commands of Sentinel: the library finds the servers of a cluster by itself.
      def sentinel(subcommand, *args)
        run(["SENTINEL", subcommand, *args], {}, nil)
      end

      def shutdown
        run(["SHUTDOWN"], {}, nil)
      end
    end
  end
end
