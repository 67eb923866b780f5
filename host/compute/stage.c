#include "contexture/stage.h"

#include <string.h>

static const char *const names[CX_MAPS] = {
#define CX_STAGE_NAME(enumerator, name, meaning) [enumerator] = name,
    CX_STAGE_LIST(CX_STAGE_NAME)
#undef CX_STAGE_NAME
        [CX_MAP_ATTN_WEIGHT] = "attn_weight",
};

const enum cx_stage cx_norm_stages[CX_NORMS][CX_NORM_SIDES] = {{CX_STAGE_ATTN_RES, CX_STAGE_ATTN_RES_LN}, {CX_STAGE_FF_RES, CX_STAGE_FF_RES_LN}};

const char *cx_map_name(unsigned map) {
    return map < CX_MAPS ? names[map] : "unknown";
}

unsigned cx_map_by_name(const char *name, unsigned long length) {
    for (unsigned map = 0; map < CX_MAPS; map++)
        if (strlen(names[map]) == length && memcmp(names[map], name, length) == 0)
            return map;
    return CX_MAPS;
}
