<?php
// A session in PHP.  Run as: php -d ffi.enable=1 session.php redis://127.0.0.1:7000  (or the URL in RDC_URL)
declare(strict_types=1);

$rdc = FFI::cdef(
    file_get_contents(getenv('RDC_CDEF') ?: '/usr/local/include/rediscluster.cdef.h'),
    getenv('RDC_LIBRARY') ?: 'librediscluster.so.0',
);

/** The text of a reply or of an element, or null if it has no text. */
function text(?FFI\CData $reply): ?string
{
    global $rdc;
    // PHP converts a const char * to a string up to the first NUL. This reads the whole text.
    $bytes = $rdc->new('const char *[1]');
    $length = $rdc->new('int64_t');
    $rdc->rdc_reply_read($reply, $bytes, FFI::addr($length));
    return FFI::isNull($bytes[0]) ? null : FFI::string($bytes[0], $length->cdata);
}

/** Runs a command and returns its reply, which the caller frees with rdc_reply_free(). */
function command(FFI\CData $client, string ...$args): FFI\CData
{
    global $rdc;
    $resp = resp(...$args);
    return $rdc->rdc_command_resp($client, $resp, strlen($resp));
}

/** Encodes a command. */
function resp(string ...$args): string
{
    $bulk = fn (string $arg): string => '$' . strlen($arg) . "\r\n$arg\r\n";
    return '*' . count($args) . "\r\n" . implode('', array_map($bulk, $args));
}

$rc = $rdc->rdc_create($argv[1] ?? getenv('RDC_URL'));
if (($message = $rdc->rdc_client_error($rc)) !== null) {
    exit("$message\n");
}
$reply = $rdc->rdc_set($rc, 'foo16706', 8, 'bar', 3);
echo 'set: ', text($reply), "\n";
$rdc->rdc_reply_free($reply);
$rdc->rdc_reply_free(command($rc, 'SET', 'foo81', 'foo'));
$rdc->rdc_reply_free(command($rc, 'DEL', 'counter'));

// Reads go to primaries and replicas. A replica may lag behind its primary: repeat until it has the key.
$readonly = $rdc->rdc_readonly($rc);
do {
    $reply = $rdc->rdc_get($readonly, 'foo16706', 8);
    $value = text($reply);
    $rdc->rdc_reply_free($reply);
} while ($value === null);
echo "readonly get: $value\n";

$pipeline = $rdc->rdc_pipeline_new($rc);
$commands = resp('GET', 'foo81') . resp('GET', 'foo16706') . resp('INCRBY', 'counter', '2');
$rdc->rdc_pipeline_resp($pipeline, $commands, strlen($commands));
$all = $rdc->rdc_pipeline_execute($pipeline);
$at = fn (int $i): FFI\CData => $rdc->rdc_reply_at($all, $i);
echo 'pipeline: ', text($at(0)), ' ', text($at(1)), ' ', $rdc->rdc_reply_int($at(2)), "\n";
$rdc->rdc_reply_free($all);
$rdc->rdc_pipeline_free($pipeline);

$refused = $rdc->rdc_set($readonly, 'foo', 3, 'bar', 3);
$sent = $rdc->rdc_reply_sent($refused) ? 'sent' : 'not sent';
echo 'refused: ', $rdc->rdc_error_name($rdc->rdc_reply_error($refused)), ", $sent\n";
$rdc->rdc_reply_free($refused);
$error = command($rc, 'LPUSH', 'foo81', 'x');
echo 'error: ', strtok(text($error), ' '), "\n";
$rdc->rdc_reply_free($error);
$rdc->rdc_close($readonly);
$rdc->rdc_close($rc);
