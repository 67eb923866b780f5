/* BertPreTokenizer: words stand between blanks, and every punctuation character is a word. */
#include "tokenizer_parts.h"
#include "unicode.h"

bool cx_next_word(const char *text, size_t end, size_t *at, struct cx_word *word) {
    *word = (struct cx_word){.start = *at, .end = *at};
    size_t here = *at;
    while (here < end) {
        size_t bytes;
        unsigned class = cx_unicode_class(cx_utf8_decode(text + here, &bytes));
        if (class & (CX_UNICODE_BLANK | CX_UNICODE_PUNCTUATION)) {
            if (word->characters > 0)
                break;
            if (class & CX_UNICODE_PUNCTUATION) {
                *word = (struct cx_word){.start = here, .end = here + bytes, .characters = 1};
                *at = here + bytes;
                return true;
            }
        } else if (word->characters++ == 0) {
            word->start = here;
        }
        here += bytes;
    }
    word->end = here;
    *at = here;
    return word->characters > 0;
}
