//go:build go1.21

package rediscluster

/*
#include <rediscluster.h>
#include <stdint.h>

extern void rdcgoLog(void *arg, int32_t level, char *message);

static void rdcgo_set_logger(int32_t level) {
	rdc_set_logger(level == 0 ? NULL : (rdc_log_fn)rdcgoLog, NULL, level);
}
*/
import "C"

// nativeSetLogger calls rdcgoLog for messages up to a level, or for none if it is 0.
func nativeSetLogger(level int) { C.rdcgo_set_logger(C.int32_t(level)) }
