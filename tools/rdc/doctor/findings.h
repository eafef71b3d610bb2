/* What the checks of rdc doctor have found. */
#ifndef RDC_TOOL_FINDINGS_H
#define RDC_TOOL_FINDINGS_H

#include "../text.h"

enum verdict { OK, WARN, FAIL };

struct findings {
    int is_json;
    /* The elements of the JSON array. */
    struct text json;
    unsigned n[3];
};

/* Adds a finding, and prints it if the output is text.  `todo` is NULL if there is nothing to do. */
void found(struct findings *findings, enum verdict verdict, const char *check, const char *todo, const char *format,
           ...);
/* Prints what is left to print. */
void findings_end(struct findings *findings);

#endif
