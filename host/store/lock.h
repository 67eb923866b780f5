/* One process at a time writes into an output folder. */
#ifndef CONTEXTURE_LOCK_H
#define CONTEXTURE_LOCK_H

#include "contexture/error.h"

struct cx_lock;

/* CX_ERROR_CONFLICT, with who holds it, if another living process does. */
CX_MUST_USE enum cx_status cx_lock_take(const char *directory, struct cx_lock **lock, struct cx_error *error);

/* NULL is allowed. */
void cx_lock_release(struct cx_lock *lock);

#endif
