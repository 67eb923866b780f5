#include <signal.h>
#include <string.h>

#include "contexture/run.h"

/* A signal handler can reach nothing but a static object: the one place where the program has one. */
static volatile sig_atomic_t caught_signal;

static void note_signal(int number) {
    caught_signal = number;
    if (number != SIGUSR1) {
        (void)signal(SIGINT, SIG_DFL);
        (void)signal(SIGTERM, SIG_DFL);
    }
}

enum cx_status cx_signals_catch(struct cx_error *error) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGUSR1};
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = note_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++)
        if (sigaction(numbers[k], &action, NULL) != 0)
            return cx_fail_errno(error, "catch", strsignal(numbers[k]));
    return CX_OK;
}

const char *cx_signal_caught(void) {
    switch (caught_signal) {
    case 0:
        return NULL;
    case SIGINT:
        return "SIGINT";
    case SIGTERM:
        return "SIGTERM";
    default:
        return "SIGUSR1";
    }
}
