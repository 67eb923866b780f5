#include "tokenizer_parts.h"
#include "unicode.h"

/* The first of sorted[low .. high) whose byte number `depth` is at least `byte`; all agree before it and are longer than `depth`. */
static size_t lower_bound(const struct cx_added_set *set, size_t low, size_t high, size_t depth, unsigned byte) {
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((unsigned char)set->sorted[middle]->pattern[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest pattern that stands at text[0..length), or NULL: narrows the sorted patterns byte by byte. */
static const struct cx_added_token *longest_match(const struct cx_added_set *set, const char *text, size_t length) {
    const struct cx_added_token *found = NULL;
    size_t low = 0, high = set->count;
    for (size_t depth = 0; depth < length; depth++) {
        unsigned byte = (unsigned char)text[depth];
        low = lower_bound(set, low, high, depth, byte);
        high = lower_bound(set, low, high, depth, byte + 1);
        if (low < high && set->sorted[low]->pattern_length == depth + 1)
            found = set->sorted[low++];
        if (low == high)
            break;
    }
    return found;
}

static bool is_word_before(const char *text, size_t at) {
    size_t bytes;
    return at > 0 && cx_unicode_class(cx_utf8_decode_before(text, at, &bytes)) & CX_UNICODE_WORD;
}

static bool is_word_after(const char *text, size_t length, size_t at) {
    size_t bytes;
    return at < length && cx_unicode_class(cx_utf8_decode(text + at, &bytes)) & CX_UNICODE_WORD;
}

static size_t skip_blanks_before(const char *text, size_t at) {
    size_t bytes;
    while (at > 0 && cx_unicode_class(cx_utf8_decode_before(text, at, &bytes)) & CX_UNICODE_BLANK)
        at -= bytes;
    return at;
}

static size_t skip_blanks_after(const char *text, size_t length, size_t at) {
    size_t bytes;
    while (at < length && cx_unicode_class(cx_utf8_decode(text + at, &bytes)) & CX_UNICODE_BLANK)
        at += bytes;
    return at;
}

void cx_added_scan_start(struct cx_added_scan *scan, const struct cx_added_set *set, const char *text, size_t length) {
    *scan = (struct cx_added_scan){.set = set, .text = text, .length = length, .waiting = {.id = -1}};
}

/* The next accepted match, with the blanks that it takes. */
static bool next_match(struct cx_added_scan *scan, struct cx_split *match) {
    while (scan->search < scan->length) {
        if (!scan->set->begins[(unsigned char)scan->text[scan->search]]) {
            scan->search++;
            continue;
        }
        const struct cx_added_token *token = longest_match(scan->set, scan->text + scan->search, scan->length - scan->search);
        if (!token) {
            scan->search++;
            continue;
        }
        size_t start = scan->search, end = start + token->pattern_length;
        scan->search = end;
        if (token->single_word && (is_word_before(scan->text, start) || is_word_after(scan->text, scan->length, end)))
            continue;
        if (token->lstrip) {
            start = skip_blanks_before(scan->text, start);
            start = start > scan->covered ? start : scan->covered;
        }
        if (token->rstrip)
            end = skip_blanks_after(scan->text, scan->length, end);
        *match = (struct cx_split){.start = start, .end = end, .id = token->id};
        return true;
    }
    return false;
}

/*
 * The search goes on behind the pattern, not behind the blanks that rstrip took, so that a token that begins with a blank may overlap
 * the one before it: so it is in `tokenizers`. (There, lstrip inside such blanks can panic; here that match is left out.)
 */
bool cx_added_scan_next(struct cx_added_scan *scan, struct cx_split *split) {
    *split = scan->waiting;
    if (split->id >= 0) {
        scan->waiting.id = -1;
        return true;
    }
    struct cx_split match;
    while (scan->set->count > 0 && next_match(scan, &match)) {
        *split = (struct cx_split){.start = scan->covered, .end = match.start, .id = -1};
        scan->covered = match.end;
        if (match.start >= match.end)
            continue;
        if (split->start < split->end)
            scan->waiting = match;
        else
            *split = match;
        return true;
    }
    *split = (struct cx_split){.start = scan->covered, .end = scan->length, .id = -1};
    scan->covered = scan->length;
    return split->start < split->end;
}
