#include "byte_source.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "contexture/memory.h"

/* Large enough to keep the disk busy, small enough for the second-level cache. */
enum { block_bytes = 256 * 1024 };

/* The longest magic number among the decoders. */
enum { magic_bytes = 4 };

struct cx_byte_source {
    struct cx_raw_input input;
    const struct cx_stream_decoder *decoder; /* NULL: plain */
    void *decoder_state;
};

static const struct cx_stream_decoder *const decoders[] = {&cx_gzip_decoder, &cx_zstd_decoder};

static enum cx_status read_block(const struct cx_raw_input *input, void *buffer, size_t capacity, size_t *count, struct cx_error *error) {
    ssize_t got;
    do
        got = read(input->descriptor, buffer, capacity < SSIZE_MAX ? capacity : SSIZE_MAX);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return cx_fail_errno(error, "read", input->path);
    *count = (size_t)got;
    return CX_OK;
}

enum cx_status cx_raw_input_fill(struct cx_raw_input *input, struct cx_error *error) {
    if (input->begin == input->end)
        input->begin = input->end = 0;
    if (input->end == input->capacity)
        return cx_fail(error, CX_ERROR_INTERNAL, "%s: the read buffer is full", input->path);
    size_t count = 0;
    enum cx_status status = read_block(input, input->data + input->end, input->capacity - input->end, &count, error);
    if (status != CX_OK)
        return status;
    input->at_end = count == 0;
    input->end += count;
    input->read += count;
    return CX_OK;
}

uint64_t cx_raw_input_offset(const struct cx_raw_input *input) {
    return input->read - (input->end - input->begin);
}

bool cx_raw_input_wants_start(const struct cx_raw_input *input) {
    return input->sink && cx_raw_input_offset(input) - input->latest_start >= input->sink->spacing;
}

enum cx_status cx_raw_input_tell_start(struct cx_raw_input *input, struct cx_decoder_start *start, struct cx_error *error) {
    start->offset = input->latest_start = cx_raw_input_offset(input);
    return input->sink->found(input->sink->context, start, error);
}

static enum cx_status open_descriptor(struct cx_raw_input *input, const char *path, struct cx_error *error) {
    if (strcmp(path, "-") == 0) {
        input->path = "standard input";
        input->descriptor = STDIN_FILENO;
        return CX_OK;
    }
    input->path = path;
    input->descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (input->descriptor < 0)
        return cx_fail_errno(error, "open", path);
    struct stat facts;
    if (fstat(input->descriptor, &facts) != 0)
        return cx_fail_errno(error, "look up", path);
    if (S_ISDIR(facts.st_mode))
        return cx_fail(error, CX_ERROR_IO, "%s is a folder: expected a file; give its files, for example as '%s/*.txt'", path, path);
    return CX_OK;
}

static enum cx_status choose_decoder(struct cx_byte_source *source, struct cx_error *error) {
    struct cx_raw_input *input = &source->input;
    while (input->end < magic_bytes && !input->at_end) {
        enum cx_status status = cx_raw_input_fill(input, error);
        if (status != CX_OK)
            return status;
    }
    for (size_t k = 0; k < sizeof decoders / sizeof *decoders; k++)
        if (decoders[k]->recognises(input->data, input->end)) {
            source->decoder = decoders[k];
            return source->decoder->open(&source->decoder_state, error);
        }
    return CX_OK;
}

enum cx_status cx_byte_source_open(const char *path, const struct cx_start_sink *sink, struct cx_byte_source **source, struct cx_error *error) {
    struct cx_byte_source *opened;
    *source = NULL;
    enum cx_status status = cx_allocate(1, sizeof *opened, "an input file", &opened, error);
    if (status != CX_OK)
        return status;
    opened->input.descriptor = -1;
    opened->input.capacity = block_bytes;
    opened->input.sink = sink;
    status = cx_allocate(1, block_bytes, "an input file's buffer", &opened->input.data, error);
    if (status == CX_OK)
        status = open_descriptor(&opened->input, path, error);
    if (status == CX_OK)
        status = choose_decoder(opened, error);
    if (status != CX_OK) {
        cx_byte_source_close(opened);
        return status;
    }
    *source = opened;
    return CX_OK;
}

void cx_byte_source_close(struct cx_byte_source *source) {
    if (!source)
        return;
    if (source->decoder_state)
        source->decoder->close(source->decoder_state);
    if (source->input.descriptor > STDIN_FILENO)
        close(source->input.descriptor);
    free(source->input.data);
    free(source);
}

static enum cx_status read_plain(struct cx_raw_input *input, char *buffer, size_t capacity, size_t *count, struct cx_error *error) {
    *count = input->end - input->begin;
    if (*count > 0) { /* what choose_decoder() has read */
        if (*count > capacity)
            *count = capacity;
        memcpy(buffer, input->data + input->begin, *count);
        input->begin += *count;
        return CX_OK;
    }
    if (input->at_end)
        return CX_OK;
    enum cx_status status = read_block(input, buffer, capacity, count, error);
    if (status != CX_OK)
        return status;
    input->at_end = *count == 0;
    input->read += *count;
    return CX_OK;
}

enum cx_status cx_byte_source_read(struct cx_byte_source *source, char *buffer, size_t capacity, size_t *count, struct cx_error *error) {
    *count = 0;
    if (!source->decoder)
        return read_plain(&source->input, buffer, capacity, count, error);
    enum cx_status status = source->decoder->read(source->decoder_state, &source->input, (unsigned char *)buffer, capacity, count, error);
    source->input.decoded += *count;
    return status;
}

/* Nothing that was read ahead counts any more. */
static enum cx_status move_to(struct cx_raw_input *input, uint64_t offset, struct cx_error *error) {
    if (offset > INT64_MAX || lseek(input->descriptor, (off_t)offset, SEEK_SET) < 0)
        return cx_fail_errno(error, "go to a place in", input->path);
    input->begin = input->end = 0;
    input->read = offset;
    input->at_end = false;
    return CX_OK;
}

static enum cx_status begin_at(struct cx_byte_source *source, const struct cx_decoder_start *start, struct cx_error *error) {
    struct cx_raw_input *input = &source->input;
    if (start->offset == 0 || (start->window_length > 0 && !source->decoder->enter))
        return cx_fail(error, CX_ERROR_INTERNAL, "%s: a place to begin at that its format does not have", input->path);
    enum cx_status status = move_to(input, start->offset - (start->bits > 0 ? 1 : 0), error);
    if (status == CX_OK)
        status = cx_raw_input_fill(input, error);
    if (status == CX_OK && start->window_length > 0)
        status = source->decoder->enter(source->decoder_state, input, start, error);
    input->decoded = start->decoded;
    return status;
}

/* Decompresses and drops what lies between the place where decompression could begin and the text that is wanted. */
static enum cx_status pass_over(struct cx_byte_source *source, uint64_t offset, struct cx_error *error) {
    char *block = NULL;
    enum cx_status status = cx_allocate(1, block_bytes, "a block of an input file", &block, error);
    while (status == CX_OK && source->input.decoded < offset) {
        uint64_t missing = offset - source->input.decoded;
        size_t count;
        status = cx_byte_source_read(source, block, missing < block_bytes ? (size_t)missing : block_bytes, &count, error);
        if (status == CX_OK && count == 0)
            status =
                cx_fail(error, CX_ERROR_CONFLICT, "%s: the text ends before the place that the plan of shards names; the file has changed", source->input.path);
    }
    free(block);
    return status;
}

enum cx_status cx_byte_source_go(struct cx_byte_source *source, uint64_t offset, const struct cx_decoder_start *start, struct cx_error *error) {
    if (!source->decoder)
        return move_to(&source->input, offset, error);
    enum cx_status status = start && start->decoded <= offset ? begin_at(source, start, error) : CX_OK;
    return status == CX_OK ? pass_over(source, offset, error) : status;
}

const char *cx_byte_source_path(const struct cx_byte_source *source) {
    return source->input.path;
}

uint64_t cx_byte_source_bytes_read(const struct cx_byte_source *source) {
    return cx_raw_input_offset(&source->input);
}
