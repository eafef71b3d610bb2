# frozen_string_literal: true

class RedisCluster
  # The common commands with the arguments and results of redis-rb, for clients, pipelines and transactions alike.
  # Every other command goes by `call`, whose result is what the server sent.
  #
  # Who includes this has `run(args, options, reply)`: the command, its options (`ex: 5` is "EX" "5", `nx: true`
  # is "NX"), and what turns the server's reply into redis-rb's.
  module Commands
    BOOLEAN = ->(reply) { reply.is_a?(Integer) ? reply.positive? : reply }
    BOOLEANS = ->(reply) { reply.map(&BOOLEAN) }
    # OK or nothing.
    DONE = ->(reply) { reply == "OK" || (reply.nil? ? false : reply) }
    # RESP3 has doubles, RESP2 their text.
    FLOAT = lambda do |reply|
      case reply
      when String then { "inf" => Float::INFINITY, "-inf" => -Float::INFINITY }.fetch(reply) { Float(reply) }
      when Integer then reply.to_f
      else reply
      end
    end
    FLOATS = ->(reply) { reply.map(&FLOAT) }
    # RESP3 has pairs and maps, RESP2 their elements one behind the other.
    PAIRS = ->(reply) { reply.first.is_a?(Array) ? reply : reply.each_slice(2).to_a }
    SCORES = ->(reply) { PAIRS.call(reply).map { |member, score| [member, FLOAT.call(score)] } }
    SCORE = ->(reply) { SCORES.call(reply).first }
    HASH = ->(reply) { reply.is_a?(Array) ? reply.each_slice(2).to_h : reply }
    INTEGERS = ->(reply) { reply.map(&:to_i) }
    LINES = ->(text) { text.each_line(chomp: true).grep(/\A[^#]+:/).to_h { |line| line.split(":", 2) } }
    INFO = ->(reply) { reply.transform_values(&LINES) }
    ENTRIES = ->(reply) { reply.map { |id, fields| [id, HASH.call(fields)] } }
    STREAMS = ->(reply) { reply.to_a.to_h { |stream, entries| [stream, ENTRIES.call(entries)] } }
    SCANNED_PAIRS = ->(reply) { [reply[0], PAIRS.call(reply[1])] }
    SCANNED_SCORES = ->(reply) { [reply[0], SCORES.call(reply[1])] }

    # Commands whose arguments are those of the server, by what becomes of their reply.
    TABLE = {
      nil => %i[
        ping echo dbsize publish flushall randomkey
        get mget mset setex psetex getset getdel getex append strlen incr decr incrby decrby getrange setrange
        getbit setbit bitcount bitpos
        del unlink touch exists ttl pttl type rename dump restore object bitop
        hget hset hmset hmget hdel hkeys hvals hlen hincrby hstrlen
        lpush rpush lpushx rpushx lpop rpop llen lrange lindex lset lrem ltrim linsert lmove lpos rpoplpush
        sadd srem smembers scard spop srandmember sinter sunion sdiff sinterstore sunionstore sdiffstore sscan
        zcard zcount zlexcount zrank zrevrank zrangebylex zrevrangebylex
        zremrangebyrank zremrangebyscore zremrangebylex
        pfcount xlen xdel xtrim xack xgroup
      ],
      BOOLEAN => %i[
        setnx msetnx renamenx copy expire pexpire expireat pexpireat persist hsetnx hexists sismember smove pfadd
      ],
      BOOLEANS => %i[smismember],
      DONE => %i[pfmerge],
      FLOAT => %i[incrbyfloat hincrbyfloat zscore zincrby],
      FLOATS => %i[zmscore],
      HASH => %i[hgetall],
      INTEGERS => %i[time],
      ENTRIES => %i[xrange xrevrange],
      SCANNED_PAIRS => %i[hscan],
      SCANNED_SCORES => %i[zscan]
    }.freeze

    TABLE.each do |reply, names|
      names.each do |name|
        command = name.to_s.upcase.freeze
        define_method(name) { |*args, **options| run([command, *args], options, reply) }
      end
    end

    # The same, where a question mark asks for true or false instead of a count.
    %i[exists sadd srem].each do |name|
      command = name.to_s.upcase.freeze
      define_method(:"#{name}?") { |*args| run([command, *args], {}, BOOLEAN) }
    end

    # Ranges, of which with_scores: true makes pairs.
    %i[zrange zrevrange zrangebyscore zrevrangebyscore].each do |name|
      command = name.to_s.upcase.freeze
      define_method(name) do |key, first, last, **options|
        options = options.transform_keys { |option| option.to_s.delete("_") }
        run([command, key, first, last], options, options["withscores"] ? SCORES : nil)
      end
    end

    # One pair, or as many as count says.
    %i[zpopmin zpopmax].each do |name|
      command = name.to_s.upcase.freeze
      define_method(name) do |key, count = nil|
        run([command, key, *count], {}, count.to_i > 1 ? SCORES : SCORE)
      end
    end

    # Waits until a list has an element, at most timeout seconds, 0 for as long as it takes.
    %i[blpop brpop].each do |name|
      command = name.to_s.upcase.freeze
      define_method(name) { |*keys, timeout: 0| run([command, *keys, timeout], {}, nil) }
    end

    %i[eval evalsha].each do |name|
      command = name.to_s.upcase.freeze
      define_method(name) do |script, keys = [], argv = []|
        keys, argv = keys.values_at(:keys, :argv).map(&:to_a) if keys.is_a?(Hash)
        run([command, script, keys.length, keys, argv], {}, nil)
      end
    end

    # The keys that match, of the whole cluster: for small ones. Others have scan_each.
    def keys(pattern = "*")
      run(["KEYS", pattern], {}, nil)
    end

    # What each primary says of itself: {"127.0.0.1:7000"=>{"redis_version"=>"7.0.15", ...}, ...}.
    def info(*sections)
      run(["INFO", *sections], {}, INFO)
    end

    # The elements of a list, set or sorted set, in order; with store: their number.
    def sort(key, by: nil, limit: nil, get: [], order: nil, store: nil)
      options = []
      Convert.add_option(options, :by, by)
      Convert.add_option(options, :limit, limit)
      Array(get).each { |pattern| Convert.add_option(options, :get, pattern) }
      options.concat(order.to_s.upcase.split)
      Convert.add_option(options, :store, store)
      run(["SORT", key, options], {}, nil)
    end

    # The number of members in the destination.
    %i[zunionstore zinterstore].each do |name|
      command = name.to_s.upcase.freeze
      define_method(name) do |destination, keys, weights: nil, aggregate: nil|
        options = []
        Convert.add_option(options, :weights, weights)
        Convert.add_option(options, :aggregate, aggregate)
        run([command, destination, Array(keys).length, keys, options], {}, nil)
      end
    end

    # Each stream's entries, of streams of one slot; block waits so many milliseconds for some, 0 for as long as it
    # takes.
    def xread(keys, ids, count: nil, block: nil)
      options = []
      Convert.add_option(options, :count, count)
      Convert.add_option(options, :block, block)
      run(["XREAD", options, "STREAMS", keys, ids], {}, STREAMS)
    end

    # The same for a consumer of a group.
    def xreadgroup(group, consumer, keys, ids, count: nil, block: nil, noack: nil)
      options = []
      Convert.add_option(options, :count, count)
      Convert.add_option(options, :block, block)
      Convert.add_option(options, :noack, noack)
      run(["XREADGROUP", "GROUP", group, consumer, options, "STREAMS", keys, ids], {}, STREAMS)
    end

    # "OK"; with nx or xx whether it was set; with get: true the former value.
    def set(key, value, **options)
      asked = (options[:nx] || options[:xx]) && !options[:get]
      run(["SET", key, value], options, asked ? DONE : nil)
    end

    # zadd(key, score, member) is true if the member is new; zadd(key, [[score, member], ...]) counts those that
    # are; incr: true gives the score.
    def zadd(key, *args, incr: nil, **options)
      flags = []
      options.merge(incr: incr).each { |name, value| Convert.add_option(flags, name, value) }
      reply = args.length == 1 ? nil : BOOLEAN
      run(["ZADD", key, flags, args], {}, incr ? FLOAT : reply)
    end

    # Whether the member was there; how many of an array of members.
    def zrem(key, member)
      run(["ZREM", key, member], {}, member.is_a?(Array) ? nil : BOOLEAN)
    end

    # The entry's id.
    def xadd(key, entry, id: "*", approximate: nil, maxlen: nil, nomkstream: nil)
      options = []
      Convert.add_option(options, :nomkstream, nomkstream)
      Convert.add_option(options, :maxlen, maxlen && [*("~" if approximate), maxlen])
      run(["XADD", key, options, id, entry], {}, nil)
    end

    def mapped_mget(*keys)
      run(["MGET", *keys], {}, ->(values) { keys.flatten.zip(values).to_h })
    end

    def mapped_mset(hash)
      mset(hash)
    end

    def mapped_hmget(key, *fields)
      run(["HMGET", key, *fields], {}, ->(values) { fields.flatten.zip(values).to_h })
    end

    def mapped_hmset(key, hash)
      hmset(key, hash)
    end
  end
end
