/* Everything that decides the values in the datasets, as JSON: what a folder is begun with, and must be gone on with. */
#ifndef CONTEXTURE_RUN_IDENTITY_H
#define CONTEXTURE_RUN_IDENTITY_H

#include <jansson.h>

#include "setup.h"

/* Release with json_decref(). Threads, paths and the compression level are not part of it. */
CX_MUST_USE enum cx_status identity_create(const struct setup *setup, const char *model_fingerprint, const char *corpus_fingerprint, const char *backend,
                                           json_t **identity, struct cx_error *error);

/* {"HDF5": "1.10.8", …} */
CX_MUST_USE enum cx_status libraries_create(json_t **libraries, struct cx_error *error);

#endif
