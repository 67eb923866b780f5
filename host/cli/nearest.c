#include <stdio.h>
#include <string.h>

#include "options.h"

enum { longest_word = 40 };

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Edit distance with swaps of neighbours, row by row; words that are too long are far from everything. */
static size_t distance(const char *a, const char *b) {
    size_t rows[3][longest_word + 1], *before = rows[0], *above = rows[1], *row = rows[2];
    const size_t a_length = strlen(a), b_length = strlen(b);
    if (a_length > longest_word || b_length > longest_word)
        return longest_word;
    for (size_t j = 0; j <= b_length; j++)
        above[j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            row[j] = least(least(above[j], row[j - 1]) + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], before[j - 2] + 1);
        }
        size_t *reused = before;
        before = above;
        above = row;
        row = reused;
    }
    return above[b_length];
}

void suggest_nearest(const char *word, const char *(*name)(size_t index, char *buffer, size_t size), size_t count, const char *prefix, char *text,
                     size_t size) {
    char buffer[longest_word + 1];
    const size_t bound = 1 + strlen(word) / 3;
    size_t nearest = bound + 1;
    text[0] = '\0';
    for (size_t k = 0; k < count; k++) {
        const char *candidate = name(k, buffer, sizeof buffer);
        if (!candidate)
            continue;
        size_t found = distance(word, candidate);
        /* Somebody who stops in the middle of a name means that name: --hidden for --hidden-states. */
        if (found > bound && strlen(word) >= 3 && strncmp(word, candidate, strlen(word)) == 0)
            found = bound;
        if (found < nearest) {
            nearest = found;
            (void)snprintf(text, size, "; did you mean %s%s?", prefix, candidate);
        }
    }
}
