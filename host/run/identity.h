/* Everything that decides the values in the datasets, as JSON: what a folder is begun with, and must be gone on with. */
#ifndef CONTEXTURE_RUN_IDENTITY_H
#define CONTEXTURE_RUN_IDENTITY_H

#include <jansson.h>

#include "setup.h"

/*
 * Release with json_decref(). Threads, the compression level and the paths of model and output are not part of it. The corpus' files are, by name, for the
 * dataset /sources; under other names the folder may be gone on with all the same.
 */
CX_MUST_USE enum cx_status identity_create(const struct setup *setup, const char *model_fingerprint, const char *corpus_fingerprint, const char *backend,
                                           json_t **identity, struct cx_error *error);

/* The corpus' files as they were given, patterns expanded; NULL without memory. Release with json_decref(). */
json_t *identity_sources(const struct setup *setup);

/* {"HDF5": "1.10.8", …} */
CX_MUST_USE enum cx_status libraries_create(json_t **libraries, struct cx_error *error);

#endif
