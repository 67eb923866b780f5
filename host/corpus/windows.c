#include "windows.h"

/*
 * The shorter text stays whole if the longer one can make room alone; else both get half, and the odd token goes to the longer one (to the
 * second, if they are equally long).
 */
void cx_truncate_pair(size_t room, size_t *first, size_t *second) {
    if (*first <= room && *second <= room - *first)
        return;
    size_t *shorter = *first <= *second ? first : second;
    size_t *longer = shorter == first ? second : first;
    if (*shorter <= room / 2) {
        *longer = room - *shorter;
    } else {
        *shorter = room / 2;
        *longer = room - room / 2;
    }
}

size_t cx_window_count(size_t tokens, size_t room, size_t overlap) {
    if (tokens <= room)
        return 1;
    size_t step = room - overlap;
    return 1 + (tokens - room + step - 1) / step;
}

struct cx_token_range cx_window(size_t tokens, size_t room, size_t overlap, size_t k) {
    size_t begin = k * (room - overlap);
    return (struct cx_token_range){begin, tokens - begin < room ? tokens : begin + room};
}
