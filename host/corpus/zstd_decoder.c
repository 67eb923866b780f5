#include <inttypes.h>
#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "byte_source.h"
#include "contexture/memory.h"

/* RFC 8878: a zstd file is any number of frames, skippable ones among them. */
struct zstd_state {
    ZSTD_DCtx *context;
    uint64_t frame;     /* from 1; 0 before the first */
    bool inside;        /* a frame has begun and is not finished */
    uint64_t out_bytes; /* of the frame, so far */
    size_t first_hint;  /* bytes to offer at the beginning of a frame */
    size_t hint;        /* bytes to offer next: one block's worth, so that a fault loses none of the blocks before it */
};

static bool zstd_recognises(const unsigned char *bytes, size_t count) {
    if (count < 4 || bytes[3] != (bytes[0] == 0x28 ? 0xfd : 0x18))
        return false;
    bool frame = bytes[0] == 0x28 && bytes[1] == 0xb5 && bytes[2] == 0x2f;
    bool skippable = (bytes[0] & 0xf0) == 0x50 && bytes[1] == 0x2a && bytes[2] == 0x4d;
    return frame || skippable;
}

static void zstd_close(void *state_pointer) {
    struct zstd_state *state = state_pointer;
    ZSTD_freeDCtx(state->context);
    free(state);
}

static enum cx_status zstd_open(void **state_pointer, struct cx_error *error) {
    struct zstd_state *state;
    *state_pointer = NULL;
    enum cx_status status = cx_allocate(1, sizeof *state, "a zstd decoder", &state, error);
    if (status != CX_OK)
        return status;
    state->context = ZSTD_createDCtx();
    if (!state->context) {
        free(state);
        return cx_fail_memory(error, "a zstd decoder", ZSTD_DStreamInSize());
    }
    state->first_hint = ZSTD_initDStream(state->context);
    if (ZSTD_isError(state->first_hint)) {
        zstd_close(state);
        return cx_fail(error, CX_ERROR_INTERNAL, "the zstd decoder cannot be set up (zstd: %s)", ZSTD_getErrorName(state->first_hint));
    }
    *state_pointer = state;
    return CX_OK;
}

static enum cx_status describe_fault(const struct zstd_state *state, const struct cx_raw_input *input, size_t result, struct cx_error *error) {
    switch (ZSTD_getErrorCode(result)) {
    case ZSTD_error_memory_allocation:
        return cx_fail_memory(error, "decompressing zstd", ZSTD_DStreamOutSize());
    case ZSTD_error_frameParameter_windowTooLarge:
        return cx_fail(error, CX_ERROR_UNSUPPORTED,
                       "%s: zstd frame %" PRIu64 " needs a window of more than 128 MiB (zstd --long or --ultra): compress the file without these options",
                       input->path, state->frame);
    default:
        return cx_fail(error, CX_ERROR_INPUT, "%s: the zstd data is corrupt at byte %" PRIu64 " of the file, in frame %" PRIu64 " (zstd: %s)", input->path,
                       cx_raw_input_offset(input), state->frame, ZSTD_getErrorName(result));
    }
}

static enum cx_status ended_early(const struct zstd_state *state, const struct cx_raw_input *input, size_t missing, struct cx_error *error) {
    return cx_fail(error, CX_ERROR_INPUT,
                   "%s: the zstd data ends early, at byte %" PRIu64 " of the file: at least %zu bytes of frame %" PRIu64 " are missing (%" PRIu64
                   " bytes of it decompressed); copy the file again",
                   input->path, input->read, missing, state->frame, state->out_bytes);
}

static enum cx_status zstd_read(void *state_pointer, struct cx_raw_input *input, unsigned char *buffer, size_t capacity, size_t *count,
                                struct cx_error *error) {
    struct zstd_state *state = state_pointer;
    *count = 0;
    while (*count == 0) {
        if (input->begin == input->end && !input->at_end) {
            enum cx_status status = cx_raw_input_fill(input, error);
            if (status != CX_OK)
                return status;
        }
        bool drained = input->begin == input->end;
        if (drained && !state->inside) {
            if (input->at_end)
                return CX_OK;
            continue;
        }
        if (!state->inside) {
            struct cx_decoder_start start = {.decoded = input->decoded};
            if (cx_raw_input_wants_start(input)) {
                enum cx_status status = cx_raw_input_tell_start(input, &start, error);
                if (status != CX_OK)
                    return status;
            }
            state->inside = true;
            state->out_bytes = 0;
            state->frame++;
            state->hint = state->first_hint;
        }
        size_t available = input->end - input->begin;
        ZSTD_inBuffer in = {input->data + input->begin, available < state->hint ? available : state->hint, 0};
        ZSTD_outBuffer out = {buffer, capacity, 0};
        size_t result = ZSTD_decompressStream(state->context, &out, &in);
        if (ZSTD_isError(result))
            return describe_fault(state, input, result, error);
        input->begin += in.pos;
        state->hint = result;
        *count = out.pos;
        state->out_bytes += out.pos;
        if (result == 0)
            state->inside = false;
        else if (drained && *count == 0) /* nothing left to read, nothing left to write, and the frame wants more */
            return ended_early(state, input, result, error);
    }
    return CX_OK;
}

const struct cx_stream_decoder cx_zstd_decoder = {.recognises = zstd_recognises, .open = zstd_open, .read = zstd_read, .close = zstd_close};
