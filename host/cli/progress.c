#include "progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "output.h"

enum { named_documents = 10, bar_cells = 24 };
static const double line_seconds = 30, bar_seconds = 0.2;

void progress_begin(struct progress *progress, bool quiet, bool verbose) {
    const char *terminal = getenv("TERM"), *no_color = getenv("NO_COLOR");
    memset(progress, 0, sizeof *progress);
    progress->quiet = quiet;
    progress->verbose = verbose;
    progress->terminal = isatty(STDERR_FILENO) && terminal && strcmp(terminal, "dumb") != 0;
    progress->color = progress->terminal && !(no_color && no_color[0]);
}

static void clear_bar(struct progress *progress) {
    if (progress->bar_is_shown)
        (void)fputs("\r\033[K", stderr);
    progress->bar_is_shown = false;
}

static size_t terminal_width(void) {
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/* "12 min 03 s left, 4,567 tokens/s, 123.4 sequences/s, 1,234 sequences, mixing ratio 0.812": what matters most comes first, for narrow terminals. */
static void describe(const struct cx_run_progress *state, char *text, size_t size) {
    char sequences[32], rate[32], left[32] = "", mixing[32] = "";
    const double seconds = state->seconds > 0 ? state->seconds : 1;
    write_grouped(state->sequences, sequences, sizeof sequences);
    write_grouped((uint64_t)((double)state->tokens / seconds), rate, sizeof rate);
    if (state->seconds_left >= 0)
        write_duration(state->seconds_left, left, sizeof left);
    if (state->mixing_ratio >= 0)
        (void)snprintf(mixing, sizeof mixing, ", mixing ratio %.3f", state->mixing_ratio);
    (void)snprintf(text, size, "%s%s%s tokens/s, %.1f sequences/s, %s sequences%s", left, left[0] ? " left, " : "", rate, (double)state->sequences / seconds,
                   sequences, mixing);
}

static void draw_bar(struct progress *progress, const struct cx_run_progress *state) {
    char text[256], bar[bar_cells + 1];
    describe(state, text, sizeof text);
    const double fraction = state->fraction < 0 ? 0 : state->fraction > 1 ? 1 : state->fraction;
    for (int k = 0; k < bar_cells; k++)
        bar[k] = k < (int)(fraction * bar_cells) ? '#' : '.';
    bar[bar_cells] = '\0';
    const size_t width = terminal_width();
    const int room = width > bar_cells + 12 ? (int)(width - bar_cells - 12) : 0;
    clear_bar(progress);
    (void)fprintf(stderr, "[%s%s%s] %3.0f %%  %.*s", progress->color ? "\033[32m" : "", bar, progress->color ? "\033[0m" : "", 100 * fraction, room, text);
    progress->bar_is_shown = true;
}

static void show(void *context, const struct cx_run_progress *state) {
    struct progress *progress = context;
    if (progress->quiet || state->seconds - progress->last < (progress->terminal ? bar_seconds : line_seconds))
        return;
    flockfile(stderr);
    progress->last = state->seconds;
    if (progress->terminal) {
        draw_bar(progress, state);
    } else {
        char text[256];
        describe(state, text, sizeof text);
        if (state->fraction >= 0)
            print_sentence("%.0f %%: %s", 100 * state->fraction, text);
        else
            print_sentence("%s", text);
    }
    (void)fflush(stderr);
    funlockfile(stderr);
}

static void show_notice(void *context, const char *sentence) {
    struct progress *progress = context;
    if (progress->quiet)
        return;
    flockfile(stderr);
    clear_bar(progress);
    print_sentence("note: %s", sentence);
    funlockfile(stderr);
}

static void show_skipped(void *context, const struct cx_skipped_document *document) {
    struct progress *progress = context;
    flockfile(stderr);
    progress->skipped++;
    progress->stripped += document->stripped;
    const char *fate = document->stripped ? "kept without annotations" : "skipped";
    if (!progress->quiet && (progress->verbose || progress->skipped <= named_documents)) {
        clear_bar(progress);
        /* The corpus' own sentences begin with file and line. */
        if (strncmp(document->reason, document->source, strlen(document->source)) == 0)
            print_sentence("%s: %s", fate, document->reason);
        else
            print_sentence("%s: %s:%" PRIu64 ": %s", fate, document->source, document->line, document->reason);
    }
    funlockfile(stderr);
}

static bool stop_is_wanted(void *context) {
    (void)context;
    return cx_signal_caught() != NULL;
}

struct cx_run_observer progress_observer(struct progress *progress) {
    return (struct cx_run_observer){.context = progress, .progress = show, .notice = show_notice, .skipped = show_skipped, .stop = stop_is_wanted};
}

void progress_end(struct progress *progress) {
    clear_bar(progress);
    if (!progress->quiet && !progress->verbose && progress->skipped > named_documents)
        print_sentence("skipped%s: %" PRIu64 " more documents", progress->stripped > 0 ? " or kept without annotations" : "",
                       progress->skipped - named_documents);
}
