# frozen_string_literal: true

class RedisCluster
  # The conversions of replies to redis-rb's results, and how the modules of this folder define methods. Replies have
  # maps, pairs and doubles in RESP3, and flat lists and texts instead in RESP2.
  module Commands
    BOOLEAN = ->(reply) { reply.is_a?(Integer) ? reply.positive? : reply }
    BOOLEANS = ->(reply) { reply.map(&BOOLEAN) }
    # OK or nil.
    DONE = ->(reply) { reply == "OK" || (reply.nil? ? false : reply) }
    NOT_FINITE = {
      "inf" => Float::INFINITY, "-inf" => -Float::INFINITY, "nan" => Float::NAN, "-nan" => Float::NAN
    }.freeze
    FLOAT = lambda do |reply|
      case reply
      when String then NOT_FINITE.fetch(reply) { Float(reply) }
      when Integer then reply.to_f
      else reply
      end
    end
    FLOATS = ->(reply) { reply.map(&FLOAT) }
    PAIRS = lambda do |reply|
      next reply.to_a if reply.is_a?(Hash)

      reply.nil? || reply.first.is_a?(Array) ? reply : reply.each_slice(2).to_a
    end
    SCORES = ->(reply) { PAIRS.call(reply)&.map { |member, score| [member, FLOAT.call(score)] } }
    SCORE = ->(reply) { SCORES.call(reply).first }
    HASH = ->(reply) { reply.is_a?(Array) ? reply.each_slice(2).to_h : reply }
    HASHES = ->(reply) { reply.map(&HASH) }
    INTEGERS = ->(reply) { reply.map(&:to_i) }
    LINES = ->(text) { text.each_line(chomp: true).grep(/\A[^#]+:/).to_h { |line| line.split(":", 2) } }
    ENTRIES = ->(reply) { reply.compact.map { |id, fields| [id, HASH.call(fields)] } }
    STREAMS = ->(reply) { reply.to_a.to_h { |stream, entries| [stream, ENTRIES.call(entries)] } }
    SCANNED_PAIRS = ->(reply) { [reply[0], PAIRS.call(reply[1])] }
    SCANNED_SCORES = ->(reply) { [reply[0], SCORES.call(reply[1])] }

    # Defines methods that take the arguments of the server, and run the command of their name.
    def self.define(group, convert, names)
      names.each do |name|
        (EXTENSION || RubyDispatch).define_command(group, name, name.to_s.upcase.freeze, convert)
      end
    end

    # The words of a switch that is one of a few, such as "LEFT" and "RIGHT". Raises ArgumentError for another one.
    def self.one_of(words, value, name)
      text = value.to_s.upcase
      return text if words.include?(text)

      raise ArgumentError, "#{name} is #{value.inspect}; pass #{words.join(" or ")}"
    end

    # The options by their names in the protocol: with_scores: and withscores: are both WITHSCORES.
    def self.without_underscores(options)
      options.transform_keys { |option| option.to_s.delete("_") }
    end
  end
end
