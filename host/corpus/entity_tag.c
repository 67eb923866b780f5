#include <stdbool.h>
#include <string.h>

#include "contexture/corpus.h"

void cx_entity_tag_read(const char *text, struct cx_entity_tag *tag) {
    *tag = (struct cx_entity_tag){0};
    if (!text || text[0] == '\0' || strcmp(text, "O") == 0)
        return;
    bool scheme = strchr("BIESLU", text[0]) && text[1] == '-';
    tag->begins = scheme && strchr("BSU", text[0]);
    tag->label = scheme ? text + 2 : text;
}
