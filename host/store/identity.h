/* What decides the values of a run's datasets; a folder belongs to one identity. */
#ifndef CONTEXTURE_IDENTITY_H
#define CONTEXTURE_IDENTITY_H

#include <jansson.h>

#include "contexture/error.h"

/* CX_ERROR_CONFLICT names the first key, in byte order, whose values differ, and both of them; inside objects as "options.layers". */
CX_MUST_USE enum cx_status cx_identity_compare(const char *path, const json_t *begun_with, const json_t *now, struct cx_error *error);

#endif
