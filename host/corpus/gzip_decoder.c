#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <zlib.h>

#include "byte_source.h"
#include "contexture/memory.h"

/* RFC 1952: a gzip file is any number of members, each with its own header and checksum. */
struct gzip_state {
    z_stream stream;
    uint64_t member; /* from 1; 0 before the first */
    bool inside;     /* a member has begun and is not finished */
    bool raw;        /* the member was entered in its middle: its checksum cannot be told, and is passed over */
    size_t trailer;  /* bytes of it that are still to be passed over */
    bool padding;    /* zero bytes behind a member, as tape programs leave them: nothing else may follow */
};

/* windowBits that ask zlib for the largest window, with a gzip header and without; a header's checksum and length; the window itself. */
enum { gzip_window_bits = 15 + 16, raw_window_bits = -15, trailer_bytes = 8, window_bytes = 32 * 1024 };

static bool gzip_recognises(const unsigned char *bytes, size_t count) {
    return count >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b;
}

static enum cx_status gzip_open(void **state_pointer, struct cx_error *error) {
    struct gzip_state *state;
    *state_pointer = NULL;
    enum cx_status status = cx_allocate(1, sizeof *state, "a gzip decoder", &state, error);
    if (status != CX_OK)
        return status;
    if (inflateInit2(&state->stream, gzip_window_bits) != Z_OK) {
        free(state);
        return cx_fail_memory(error, "a gzip decoder", sizeof *state);
    }
    *state_pointer = state;
    return CX_OK;
}

static void gzip_close(void *state_pointer) {
    struct gzip_state *state = state_pointer;
    inflateEnd(&state->stream);
    free(state);
}

/* RFC 1951: where a block ends, what follows needs the bits left of the current byte and the last 32 KiB of text, and nothing else. */
static enum cx_status tell_block(struct gzip_state *state, struct cx_raw_input *input, size_t given, struct cx_error *error) {
    unsigned char window[window_bytes];
    uInt length = sizeof window;
    bool ended = (state->stream.data_type & 128) != 0, last = (state->stream.data_type & 64) != 0;
    if (!ended || last || !cx_raw_input_wants_start(input))
        return CX_OK;
    if (inflateGetDictionary(&state->stream, window, &length) != Z_OK)
        return cx_fail(error, CX_ERROR_INTERNAL, "%s: the gzip decoder does not tell its window", input->path);
    if (length == 0)
        return CX_OK;
    struct cx_decoder_start start = {
        .decoded = input->decoded + given, .bits = (unsigned)state->stream.data_type & 7, .window = window, .window_length = length};
    return cx_raw_input_tell_start(input, &start, error);
}

static enum cx_status gzip_enter(void *state_pointer, struct cx_raw_input *input, const struct cx_decoder_start *start, struct cx_error *error) {
    struct gzip_state *state = state_pointer;
    bool done = start->window_length <= window_bytes && inflateReset2(&state->stream, raw_window_bits) == Z_OK;
    if (done && start->bits > 0) {
        done = start->bits < 8 && input->begin < input->end &&
               inflatePrime(&state->stream, (int)start->bits, input->data[input->begin] >> (8 - start->bits)) == Z_OK;
        input->begin++;
    }
    done = done && inflateSetDictionary(&state->stream, start->window, (uInt)start->window_length) == Z_OK;
    if (!done)
        return cx_fail(error, CX_ERROR_DAMAGED, "%s: the plan of shards names a place at which its gzip data cannot be entered", input->path);
    state->raw = state->inside = true;
    state->member = 1;
    return CX_OK;
}

/* Between two members: passes over padding; *finished if the file ends here. */
static enum cx_status begin_member(struct gzip_state *state, struct cx_raw_input *input, bool *finished, struct cx_error *error) {
    for (; state->trailer > 0 && input->begin < input->end; state->trailer--)
        input->begin++;
    if (state->member > 0)
        while (input->begin < input->end && input->data[input->begin] == 0) {
            state->padding = true;
            input->begin++;
        }
    *finished = false;
    if (input->begin == input->end) {
        *finished = input->at_end;
        return CX_OK;
    }
    if (state->padding || (state->member > 0 && input->data[input->begin] != 0x1f))
        return cx_fail(error, CX_ERROR_INPUT,
                       "%s: byte %" PRIu64 " of the file, behind gzip member %" PRIu64 ", begins no other gzip member: remove what follows", input->path,
                       cx_raw_input_offset(input), state->member);
    struct cx_decoder_start start = {.decoded = input->decoded};
    if (state->member > 0 && cx_raw_input_wants_start(input)) {
        enum cx_status status = cx_raw_input_tell_start(input, &start, error);
        if (status != CX_OK)
            return status;
    }
    if (inflateReset2(&state->stream, gzip_window_bits) != Z_OK)
        return cx_fail(error, CX_ERROR_INTERNAL, "%s: the gzip decoder cannot be reset", input->path);
    state->inside = true;
    state->member++;
    return CX_OK;
}

static enum cx_status ended_early(const struct gzip_state *state, const struct cx_raw_input *input, struct cx_error *error) {
    return cx_fail(error, CX_ERROR_INPUT,
                   "%s: the gzip data ends early, at byte %" PRIu64 " of the file: the rest of member %" PRIu64
                   " and its checksum are missing (%lu bytes of it decompressed); copy the file again",
                   input->path, input->read, state->member, state->stream.total_out);
}

static enum cx_status gzip_read(void *state_pointer, struct cx_raw_input *input, unsigned char *buffer, size_t capacity, size_t *count,
                                struct cx_error *error) {
    struct gzip_state *state = state_pointer;
    z_stream *stream = &state->stream;
    *count = 0;
    while (*count == 0) {
        enum cx_status status = CX_OK;
        if (input->begin == input->end && !input->at_end)
            status = cx_raw_input_fill(input, error);
        bool finished = false;
        if (status == CX_OK && !state->inside)
            status = begin_member(state, input, &finished, error);
        if (status != CX_OK || finished)
            return status;
        if (!state->inside)
            continue;
        stream->next_in = input->data + input->begin;
        stream->avail_in = (uInt)(input->end - input->begin);
        stream->next_out = buffer;
        stream->avail_out = capacity < UINT_MAX ? (uInt)capacity : UINT_MAX;
        int result = inflate(stream, input->sink ? Z_BLOCK : Z_NO_FLUSH);
        input->begin = input->end - stream->avail_in;
        *count = (size_t)(stream->next_out - buffer);
        if (result == Z_OK && input->sink && (status = tell_block(state, input, *count, error)) != CX_OK)
            return status;
        if (result == Z_STREAM_END) {
            state->trailer = state->raw ? trailer_bytes : 0;
            state->raw = state->inside = false;
        } else if (*count > 0) /* a fault is reported again by the next call, when what came before it has been taken */
            return CX_OK;
        else if (result == Z_BUF_ERROR && input->at_end)
            return ended_early(state, input, error);
        else if (result == Z_MEM_ERROR)
            return cx_fail_memory(error, "decompressing gzip", capacity);
        else if (result != Z_OK && result != Z_BUF_ERROR)
            return cx_fail(error, CX_ERROR_INPUT, "%s: the gzip data is corrupt at byte %" PRIu64 " of the file, in member %" PRIu64 " (zlib: %s)", input->path,
                           cx_raw_input_offset(input), state->member, stream->msg ? stream->msg : zError(result));
    }
    return CX_OK;
}

const struct cx_stream_decoder cx_gzip_decoder = {
    .recognises = gzip_recognises, .open = gzip_open, .read = gzip_read, .close = gzip_close, .enter = gzip_enter};
