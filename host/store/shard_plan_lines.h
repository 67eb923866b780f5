/*
 * The lines of plan.json, each with its CRC-32 as those of manifest.json (manifest_lines.h).
 *
 * Line 1:        {"format":"contexture plan","format_version":1,"corpus":"fingerprint","rule":{…},"files":[{"path","bytes","changed"}],…}
 * A checkpoint:  {"checkpoint":0,"offset":…,"compressed":…,"bits":…,"window":"hexadecimal digits of the deflated text",…}   0: the file's number
 * A shard:       {"shard":42,"document":…,"source":…,"line":…,"offset":…,"documents":…,"pairs":…,"content_hash":"16 digits",…}
 * Its end:       {"shards":43,…}
 */
#ifndef CONTEXTURE_SHARD_PLAN_LINES_H
#define CONTEXTURE_SHARD_PLAN_LINES_H

#include <jansson.h>

#include "contexture/shard_plan.h"

#define CX_PLAN_FORMAT "contexture plan"

enum { CX_PLAN_VERSION = 1, CX_PLAN_WINDOW_BYTES = 32 * 1024 };

/* {"documents":…,"work":…, …}: everything that decides which documents there are and where shards end, but for the files. */
CX_MUST_USE enum cx_status cx_plan_rule_json(const struct cx_corpus_options *options, const struct cx_shard_rule *rule, json_t **json, struct cx_error *error);

/* [{"path","bytes","changed"}]: what tells without reading them whether files are those of the plan. */
CX_MUST_USE enum cx_status cx_plan_files_json(const struct cx_corpus *corpus, json_t **json, struct cx_error *error);

#endif
