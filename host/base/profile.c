#include "contexture/profile.h"

const char *cx_operation_name(enum cx_operation operation) {
    static const char *const names[] = {
#define CX_OPERATION_NAME(name) #name,
        CX_OPERATION_LIST(CX_OPERATION_NAME)
#undef CX_OPERATION_NAME
    };
    return operation < CX_OPERATIONS ? names[operation] : "unknown";
}
