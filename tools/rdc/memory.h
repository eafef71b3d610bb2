/* Memory that is there, or the end of the program. */
#ifndef RDC_TOOL_MEMORY_H
#define RDC_TOOL_MEMORY_H

#include <stddef.h>

/* As realloc(), but ends the program instead of returning NULL. */
void *resize(void *memory, size_t size);
/* Zeroed memory for `n` elements. */
void *allocate(size_t n, size_t size);

#endif
