/* Standard output and standard error: what is written is checked, for a closed pipe or a full disk is an error like any other. */
#ifndef CONTEXTURE_CLI_OUTPUT_H
#define CONTEXTURE_CLI_OUTPUT_H

#include <stddef.h>
#include <stdint.h>

#include "contexture/error.h"

CX_PRINTF(2, 3) CX_MUST_USE enum cx_status output_print(struct cx_error *error, const char *format, ...);
CX_MUST_USE enum cx_status output_bytes(const char *bytes, size_t length, struct cx_error *error);
CX_MUST_USE enum cx_status output_flush(struct cx_error *error);

/*
 * Sentences may quote file names and the corpus' own bytes, which a terminal must not take for commands. hide_control_characters, in place: every C0 and
 * C1 control character and DEL becomes one '?', and so does a part of a character that is no UTF-8. print_sentence: "contexture: …" as one line on
 * standard error, hidden so; what does not fit into 8 KiB is cut.
 */
void hide_control_characters(char *text);
CX_PRINTF(1, 2) void print_sentence(const char *format, ...);

/* Numbers for people: "1,234,567", "1,234,567 tokens", "3.2 GiB", "2 h 05 min". */
void write_grouped(uint64_t number, char *text, size_t size);
void write_counted(uint64_t count, const char *noun, char *text, size_t size);
void write_memory(uint64_t bytes, char *text, size_t size);
void write_duration(double seconds, char *text, size_t size);

/* A text as a JSON string, quotes included; invalid UTF-8 is repaired. Release with free(). NULL: no memory. */
char *json_text(const char *text, size_t length);

#endif
