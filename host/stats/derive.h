/* Parts of cx_stats_derive() that have a file of their own. */
#ifndef STATS_DERIVE_H
#define STATS_DERIVE_H

#include "contexture/stats.h"

/* mixing_ratio/frequency and mixing_ratio/correlation from the merged table of tokens. */
CX_MUST_USE enum cx_status derive_frequency(const struct cx_stats_table *tokens, struct cx_stats_set *merged, struct cx_error *error);

#endif
