/* Standard output and standard error: what is written is checked, for a closed pipe or a full disk is an error like any other. */
#ifndef CONTEXTURE_CLI_OUTPUT_H
#define CONTEXTURE_CLI_OUTPUT_H

#include <stddef.h>
#include <stdint.h>

#include "contexture/error.h"

CX_PRINTF(2, 3) CX_MUST_USE enum cx_status output_print(struct cx_error *error, const char *format, ...);
CX_MUST_USE enum cx_status output_bytes(const char *bytes, size_t length, struct cx_error *error);
CX_MUST_USE enum cx_status output_flush(struct cx_error *error);

/* Numbers for people: "1,234,567", "1,234,567 tokens", "3.2 GiB", "2 h 05 min". */
void write_grouped(uint64_t number, char *text, size_t size);
void write_counted(uint64_t count, const char *noun, char *text, size_t size);
void write_memory(uint64_t bytes, char *text, size_t size);
void write_duration(double seconds, char *text, size_t size);

/* A text as a JSON string, quotes included; invalid UTF-8 is repaired. Release with free(). NULL: no memory. */
char *json_text(const char *text, size_t length);

#endif
