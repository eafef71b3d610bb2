# frozen_string_literal: true

class RedisCluster
  # Conversion between Ruby values and the C interface: commands to RESP, replies to strings, numbers, arrays and
  # hashes.
  module Convert
    # The number of elements that one call reads.
    CHUNK = 1_000

    # The whole address space, read by offset: a Pointer object per string of a reply would cost more than the
    # string. It begins at 1 because Pointer treats 0 as NULL.
    MEMORY = FFI::Pointer.new(1)

    module_function

    # Appends an encoded command to `resp`. Arrays and hashes among the arguments are flattened. The option `ex: 5`
    # adds "EX" "5", `nx: true` adds "NX", and `nx: false` or `nil` adds nothing.
    def encode(args, options, resp = String.new(encoding: Encoding::BINARY))
      args = flatten(args) if args.any?(Array) || args.any?(Hash)
      unless options.empty?
        args = args.dup
        options.each { |name, value| add_option(args, name, value) }
      end
      raise ArgumentError, "the command is empty; pass at least its name" if args.empty?

      start = resp.bytesize
      resp << "*#{args.length}\r\n"
      args.each do |arg|
        arg = text(arg)
        resp << "$#{arg.bytesize}\r\n" << arg << "\r\n"
      end
      resp
    rescue TypeError
      # Remove the incomplete command from the buffer of a pipeline.
      resp.slice!(start..) if start
      raise
    end

    def add_option(flat, name, value)
      return unless value

      flat << name.to_s.upcase
      flatten([value], flat) unless value == true
    end

    def flatten(args, flat = [])
      args.each do |arg|
        case arg
        when Array then flatten(arg, flat)
        when Hash then arg.each_pair { |key, value| flatten([key, value], flat) }
        else flat << arg
        end
      end
      flat
    end

    def text(arg)
      case arg
      when String then arg.ascii_only? ? arg : arg.b
      when Symbol then text(arg.to_s)
      when Integer, Float then arg.to_s
      else raise TypeError, "an argument of a command is of type #{arg.class}; pass a String, Symbol, Integer or Float"
      end
    end

    # Calls the block for a reply and converts the reply. An error is returned, not raised.
    def reply
      WaitCallback.defer_interrupts do |state|
        pointer = yield
        begin
          value(pointer, state.out)
        ensure
          Native.rdc_reply_free(pointer)
        end
      end
    end

    def value(reply, out)
      return EXTENSION.read(reply.address) if EXTENSION

      type = Native.rdc_reply_read(reply, out, out + 8)
      scalar(type, out.get_uint64(0), out.get_int64(8)) { reply }
    end

    # Converts one value, given by its type, the address of its text, and its number or length. The block returns
    # the reply itself, which few types need.
    def scalar(type, address, number)
      case type
      when Native::STRING, Native::STATUS, Native::VERBATIM then string(address, number)
      when Native::INTEGER then number
      when Native::NIL then nil
      when Native::DOUBLE then Native.rdc_reply_double(yield)
      when Native::BOOL then number == 1
      when Native::MAP then elements(yield, number).each_slice(2).to_h
      when Native::BIGNUM then Integer(string(address, number))
      when Native::ERROR then Error.from(yield, string(address, number))
      # ARRAY, SET, PUSH, and types of a later library, which may have elements.
      else elements(yield, number)
      end
    end

    # In UTF-8; as in redis-client, binary if the bytes are not UTF-8.
    def string(address, length)
      text = MEMORY.get_bytes(address - 1, length).force_encoding(Encoding::UTF_8)
      text.valid_encoding? ? text : text.force_encoding(Encoding::BINARY)
    end

    def elements(reply, count)
      values = Array.new(count)
      return values if count.zero?

      size = [count, CHUNK].min
      FFI::MemoryPointer.new(20, size) do |memory|
        addresses = memory
        numbers = memory + 8 * size
        types = memory + 16 * size
        first = 0
        while first < count
          read = Native.rdc_reply_read_array(reply, first, size, types, addresses, numbers)
          address = addresses.read_array_of_uint64(read)
          number = numbers.read_array_of_int64(read)
          types.read_array_of_int32(read).each_with_index do |type, i|
            at = first + i
            values[at] =
              # The most frequent type first.
              if type == Native::STRING
                string(address[i], number[i])
              else
                scalar(type, address[i], number[i]) { Native.rdc_reply_at(reply, at) }
              end
          end
          first += read
        end
      end
      values
    end

    # Calls the block with a command as C arguments: the count, the arguments and their lengths.
    def argv(args)
      texts = flatten(args).map { |arg| text(arg) }
      strings = texts.map { |text| FFI::MemoryPointer.from_string(text.b) }
      pointers = FFI::MemoryPointer.new(:pointer, [texts.length, 1].max).write_array_of_pointer(strings)
      lengths = FFI::MemoryPointer.new(:size_t, [texts.length, 1].max)
      lengths.write_array_of_uint64(texts.map(&:bytesize))
      yield texts.length, pointers, lengths
    end

    # The URL for nodes, each "host:port", a URL, or { host:, port: }. The first URL gives the scheme and the
    # credentials.
    def url(nodes)
      nodes = nodes.is_a?(Array) ? nodes : [nodes]
      scheme, credentials = nodes.first.to_s.match(%r{\A(?:(\w+://))?(.*@)?}).captures unless nodes.first.is_a?(Hash)
      names = nodes.map do |node|
        next node.to_s.sub(%r{\A\w+://}, "").sub(/.*@/, "").sub(%r{/0?\z}, "") unless node.is_a?(Hash)

        host, port = node.transform_keys(&:to_sym).values_at(:host, :port)
        host = host.to_s
        host = "[#{host}]" if host.include?(":")
        port ? "#{host}:#{port}" : host
      end
      "#{scheme || "redis://"}#{credentials}#{names.join(",")}"
    end

    # The URL of a unix socket. Characters that mean something else in a URL are encoded.
    def socket_url(path)
      "unix://#{File.expand_path(path).b.gsub(%r{[^\w.~/-]}n) { |byte| format("%%%02X", byte.ord) }}"
    end

    # An option's value as text.
    def option(value)
      case value
      when true then "yes"
      when false then "no"
      else value.to_s
      end
    end
  end
end
