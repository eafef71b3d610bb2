# frozen_string_literal: true

# The Makefile of the C extension. With RDC_RUBY_EXTENSION=yes, warnings are errors.

abort "it is for CRuby 3.0 and later" if RUBY_ENGINE != "ruby" || RUBY_VERSION < "3.0"

require "mkmf"

# In the repository, the header is in its folder; in a gem, beside this file.
header = [__dir__, File.expand_path("../../../../include", __dir__)].find do |folder|
  File.exist?(File.join(folder, "rediscluster.h"))
end
abort "rediscluster.h is missing" unless header

$INCFLAGS << " -I#{header}"
$warnflags = "-Wall -Wextra#{" -Werror" if ENV["RDC_RUBY_EXTENSION"] == "yes"}"
$CFLAGS << " -std=gnu11 -fvisibility=hidden"
$LDFLAGS << " -s" unless RUBY_PLATFORM.include?("darwin") # its linker says that it ignores it
have_func("rb_fiber_scheduler_current", "ruby/fiber/scheduler.h")
create_makefile("rediscluster/extension")
