# A session in Perl, by FFI::Platypus.  Run as: perl session.pl redis://127.0.0.1:7000  (or the URL in RDC_URL)
use strict;
use warnings;
use FFI::Platypus 2.00;
use FFI::Platypus::Buffer qw(buffer_to_scalar scalar_to_buffer);

# Declarations of rediscluster.h. Handles are opaque pointers.
my $ffi = FFI::Platypus->new(api => 2, lib => $ENV{RDC_LIBRARY} // 'librediscluster.so.0');
$ffi->attach(rdc_create => ['string'] => 'opaque');
$ffi->attach(rdc_client_error => ['opaque'] => 'string');
$ffi->attach(rdc_readonly => ['opaque'] => 'opaque');
$ffi->attach(rdc_close => ['opaque']);
$ffi->attach(rdc_command_resp => ['opaque', 'opaque', 'size_t'] => 'opaque');
$ffi->attach(rdc_pipeline_new => ['opaque'] => 'opaque');
$ffi->attach(rdc_pipeline_resp => ['opaque', 'opaque', 'size_t']);
$ffi->attach(rdc_pipeline_execute => ['opaque'] => 'opaque');
$ffi->attach(rdc_pipeline_free => ['opaque']);
$ffi->attach(rdc_reply_str => ['opaque'] => 'opaque');
$ffi->attach(rdc_reply_len => ['opaque'] => 'size_t');
$ffi->attach(rdc_reply_int => ['opaque'] => 'sint64');
$ffi->attach(rdc_reply_at => ['opaque', 'size_t'] => 'opaque');
$ffi->attach(rdc_reply_error => ['opaque'] => 'sint32');
$ffi->attach(rdc_reply_sent => ['opaque'] => 'sint32');
$ffi->attach(rdc_reply_free => ['opaque'] => 'sint32');
$ffi->attach(rdc_error_name => ['sint32'] => 'string');

# The arguments are strings of bytes: encode characters beyond Latin-1 before.
sub encode { return join '', '*', scalar @_, "\r\n", map { ('$', length, "\r\n", $_, "\r\n") } @_ }

# The text of a reply or of an element, copied, or undef if it has no text.
sub text {
    my $string = rdc_reply_str($_[0]);
    return defined $string ? buffer_to_scalar($string, rdc_reply_len($_[0])) : undef;
}

# Runs a command, applies $read to its reply, and frees the reply.
sub command {
    my ($client, $read, @arguments) = @_;
    my $resp = encode(@arguments);
    my $reply = rdc_command_resp($client, scalar_to_buffer($resp));
    my $result = $read->($reply);
    rdc_reply_free($reply);
    return $result;
}

sub checked {
    my $error = rdc_client_error($_[0]);
    die "$error\n" if defined $error;
    return $_[0];
}

my $rc = checked(rdc_create($ARGV[0] // $ENV{RDC_URL}));
print 'set: ', command($rc, \&text, 'SET', 'foo16706', 'bar'), "\n";
command($rc, \&text, 'SET', 'foo81', 'foo');
command($rc, \&text, 'DEL', 'counter');

# Reads go to primaries and replicas. A replica may lag behind its primary: repeat until it has the key.
my $readonly = checked(rdc_readonly($rc));
my $value;
$value = command($readonly, \&text, 'GET', 'foo16706') until defined $value;
print "readonly get: $value\n";

my $pipeline = rdc_pipeline_new($rc);
for (['GET', 'foo81'], ['GET', 'foo16706'], ['INCRBY', 'counter', 2]) {
    my $resp = encode(@$_);
    rdc_pipeline_resp($pipeline, scalar_to_buffer($resp));
}
my $all = rdc_pipeline_execute($pipeline);
print 'pipeline: ', text(rdc_reply_at($all, 0)), ' ', text(rdc_reply_at($all, 1)), ' ',
    rdc_reply_int(rdc_reply_at($all, 2)), "\n";
rdc_reply_free($all);
rdc_pipeline_free($pipeline);

my $refusal = sub {
    return rdc_error_name(rdc_reply_error($_[0])) . (rdc_reply_sent($_[0]) ? ', sent' : ', not sent');
};
print 'refused: ', command($readonly, $refusal, 'SET', 'foo', 'bar'), "\n";
print 'error: ', command($rc, \&text, 'LPUSH', 'foo81', 'x') =~ /^(\S+)/, "\n";
rdc_close($readonly);
rdc_close($rc);
