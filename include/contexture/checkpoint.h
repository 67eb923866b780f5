/*
 * An unmodified Hugging Face model directory: config.json and model.safetensors (or model.safetensors.index.json and its
 * shards), read strictly. Files are mapped, never copied whole.
 *
 * What is not known is refused where it could change the result, and ignored where it cannot:
 *   - a key of config.json must be on a list of keys that are read, that must be off, or that are bookkeeping (config_keys.c); null is always "not set";
 *   - a tensor of the embeddings or the encoder that the family's table does not name (a further layer, an adapter) is refused;
 *   - a tensor elsewhere (pooler, language model head, classifier) only reads the encoder's output, and is ignored, whatever its type and numbers.
 * Tensors that are not aligned to their element size, which safetensors allows, are copied into aligned memory; all others stay in the mapped file.
 */
#ifndef CONTEXTURE_CHECKPOINT_H
#define CONTEXTURE_CHECKPOINT_H

#include <stddef.h>

#include "contexture/error.h"
#include "contexture/model.h"

struct cx_checkpoint; /* owns the mappings and the weight table */

/* Reads config.json alone and checks that every value is one that contexture computes correctly; an unsupported or unknown value is an error that names it.
 * Cheap: no weight is touched. */
CX_MUST_USE enum cx_status cx_checkpoint_read_config(const char *directory, struct cx_model_config *config, struct cx_error *error);

/*
 * Opens the directory: config, weight table with every shape checked, and no NaN or infinity in any weight that is used.
 * `directory` may also be the path of a file inside it (config.json or model.safetensors).
 */
CX_MUST_USE enum cx_status cx_checkpoint_open(const char *directory, struct cx_checkpoint **checkpoint, struct cx_error *error);

/* The same without a look at the weights' numbers: for a process that gets them from another. */
CX_MUST_USE enum cx_status cx_checkpoint_open_unread(const char *directory, struct cx_checkpoint **checkpoint, struct cx_error *error);

/* NULL is allowed. Views from cx_checkpoint_weights() end here. */
void cx_checkpoint_close(struct cx_checkpoint *checkpoint);

const struct cx_model_config *cx_checkpoint_config(const struct cx_checkpoint *checkpoint);
const struct cx_model_weights *cx_checkpoint_weights(const struct cx_checkpoint *checkpoint);

/* "bert", and the number of parameters in the tensors that are used. */
const char *cx_checkpoint_family(const struct cx_checkpoint *checkpoint);
size_t cx_checkpoint_parameters(const struct cx_checkpoint *checkpoint);

/* Tells the kernel that mapped pages of the embeddings and other rarely used weights need not stay in memory. */
void cx_checkpoint_release_pages(const struct cx_checkpoint *checkpoint);

/*
 * Names the model by content: 32 hexadecimal digits of XXH3-128 over config.json, the weight files and the tokenizer's files, names
 * and bytes, in a fixed order. Reads the files with a small buffer; does not need an open checkpoint.
 */
CX_MUST_USE enum cx_status cx_checkpoint_fingerprint(const char *directory, char fingerprint[33], struct cx_error *error);

/* The same over everything but the weights' numbers: of the weight files the headers alone. */
CX_MUST_USE enum cx_status cx_checkpoint_outline(const char *directory, char outline[33], struct cx_error *error);

#endif
