/* Files that are neither text nor JSONL, but are likely to be given as a corpus: the message names what they are and how to convert them. */
#ifndef CONTEXTURE_CORPUS_NOT_TEXT_H
#define CONTEXTURE_CORPUS_NOT_TEXT_H

#include <stddef.h>

#include "contexture/error.h"

/* How many bytes of a file's beginning cx_refuse_what_is_no_text() wants to see, if the file has them. */
#define CX_SIGNATURE_BYTES 262

/* CX_ERROR_UNSUPPORTED if bytes[0 .. count), the beginning of the decompressed file, is the signature of such a format. */
CX_MUST_USE enum cx_status cx_refuse_what_is_no_text(const char *path, const char *bytes, size_t count, struct cx_error *error);

#endif
