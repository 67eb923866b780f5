#include "pair_count.h"

#include <string.h>

#include "reader.h"

enum cx_status pair_count(const struct cx_run_settings *settings, const struct cx_run_observer *observer, const char *corpus_fingerprint,
                          struct cx_pair_filter **filter, struct cx_error *error) {
    const struct cx_run_observer quiet = {.context = observer ? observer->context : NULL, .stop = observer ? observer->stop : NULL};
    struct setup setup = {0};
    struct window window = {0};
    *filter = NULL;
    if (strcmp(corpus_fingerprint, "stdin") == 0)
        return cx_fail(error, CX_ERROR_USAGE,
                       "--analyses pair_amplification reads the corpus twice, and standard input or a pipe can be read once; give files");
    enum cx_status status = setup_open(&setup, settings, &quiet, error);
    struct reader reader = {.setup = &setup, .observer = &quiet};
    if (status == CX_OK)
        status = cx_pair_filter_create(filter, error);
    while (status == CX_OK && (status = reader_next(&reader, &window, error)) == CX_OK)
        for (size_t k = 0; k < window.sequences.count; k++)
            cx_pair_filter_add(*filter, &window.sequences.items[k]);
    window_free(&window);
    reader_free(&reader);
    setup_close(&setup);
    if (status == CX_END)
        return CX_OK;
    cx_pair_filter_destroy(*filter);
    *filter = NULL;
    return status;
}
