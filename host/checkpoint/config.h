/* config.json of a Hugging Face model folder, as shapes and constants; see checkpoint.h for what is refused. */
#ifndef CONTEXTURE_CONFIG_H
#define CONTEXTURE_CONFIG_H

#include "contexture/error.h"
#include "contexture/model.h"
#include "family.h"

/* Reads the file `path`. On success *family is the row of its model_type. */
CX_MUST_USE enum cx_status cx_config_read(const char *path, struct cx_model_config *config, const struct cx_family **family, struct cx_error *error);

#endif
