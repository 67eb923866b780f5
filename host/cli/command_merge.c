#include <inttypes.h>

#include "commands.h"
#include "contexture/store.h"
#include "output.h"

enum cx_status command_merge(const struct options *options, struct outcome *outcome, struct cx_error *error) {
    uint64_t shards = 0;
    char counted[48];
    (void)outcome;
    enum cx_status status = cx_store_merge(options->argument, &shards, error);
    if (status != CX_OK)
        return status;
    write_counted(shards, "shard", counted, sizeof counted);
    return output_print(error, "%s/run.h5: %s\n", options->argument, counted);
}
