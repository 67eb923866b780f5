#include "token_layout.h"

static enum cx_status add_segment(struct cx_token_layout *layout, int text, size_t begin, size_t end, struct cx_error *error) {
    if (layout->segment_count == CX_LONGEST_LAYOUT || (text >= 0 && layout->text_tokens[text] > 0))
        return cx_fail(error, CX_ERROR_UNSUPPORTED,
                       "the tokenizer's post-processor puts a text in two places: expected each text once, with special tokens around it");
    layout->segments[layout->segment_count++] = (struct cx_token_segment){text, begin, end};
    if (text >= 0)
        layout->text_tokens[text] = end - begin;
    else
        layout->special_tokens += end - begin;
    return CX_OK;
}

enum cx_status cx_token_layout_find(const struct cx_token_view *view, struct cx_token_layout *layout, struct cx_error *error) {
    *layout = (struct cx_token_layout){0};
    for (size_t begin = 0, end; begin < view->count; begin = end) {
        int text = view->text_index ? view->text_index[begin] : 0;
        end = view->text_index ? begin + 1 : view->count;
        while (end < view->count && view->text_index[end] == text)
            end++;
        if (text < -1 || text > 1)
            return cx_fail(error, CX_ERROR_INTERNAL, "token %zu comes from text %d: expected -1, 0 or 1", begin, text);
        enum cx_status status = add_segment(layout, text, begin, end, error);
        if (status != CX_OK)
            return status;
    }
    return CX_OK;
}
