/* Templates say where the texts and the special tokens of a sequence stand, and their types. */
#include "contexture/memory.h"
#include "tokenizer_parts.h"

enum cx_status cx_template_add(struct cx_template *list, int sequence, int32_t id, int32_t type_id, struct cx_error *error) {
    enum cx_status status = cx_reserve(&list->parts, &list->capacity, list->count + 1, sizeof *list->parts, "the post-processor's template", error);
    if (status == CX_OK)
        list->parts[list->count++] = (struct cx_template_part){.sequence = sequence, .id = id, .type_id = type_id};
    return status;
}

enum cx_status cx_template_bert(struct cx_template *single, struct cx_template *pair, int32_t cls_id, int32_t sep_id, struct cx_error *error) {
    static const struct {
        int sequence;
        bool is_cls, is_for_single;
        int32_t type_id;
    } parts[] = {{-1, true, true, 0}, {0, false, true, 0}, {-1, false, true, 0}, {1, false, false, 1}, {-1, false, false, 1}};
    enum cx_status status = CX_OK;
    for (size_t i = 0; status == CX_OK && i < sizeof parts / sizeof parts[0]; i++) {
        int32_t id = parts[i].is_cls ? cls_id : sep_id;
        if (parts[i].is_for_single)
            status = cx_template_add(single, parts[i].sequence, id, parts[i].type_id, error);
        if (status == CX_OK)
            status = cx_template_add(pair, parts[i].sequence, id, parts[i].type_id, error);
    }
    return status;
}

enum cx_status cx_template_plain(struct cx_template *single, struct cx_template *pair, struct cx_error *error) {
    enum cx_status status = cx_template_add(single, 0, 0, 0, error);
    if (status == CX_OK)
        status = cx_template_add(pair, 0, 0, 0, error);
    return status == CX_OK ? cx_template_add(pair, 1, 0, 1, error) : status;
}
