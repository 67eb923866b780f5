#include "options.h"

#include <string.h>

#define MEMBER(name) offsetof(struct options, name)

enum {
    CORPUS_READERS = COMMAND_RUN | COMMAND_TOKENIZE | COMMAND_PLAN,
    COMPUTERS = COMMAND_RUN | COMMAND_PLAN,
    REPORTERS = COMMAND_RUN | COMMAND_PLAN | COMMAND_VERIFY | COMMAND_INFO,
    EVERY = COMMAND_RUN | COMMAND_TOKENIZE | COMMAND_PLAN | COMMAND_VERIFY | COMMAND_MERGE | COMMAND_INFO | COMMAND_COMPLETION | COMMAND_HELP |
            COMMAND_SLURM_SCRIPT,
    WORKERS = COMMAND_RUN | COMMAND_TOKENIZE | COMMAND_PLAN | COMMAND_VERIFY | COMMAND_MERGE | COMMAND_INFO,
    SLURM = COMMAND_SLURM_SCRIPT,
};

static const double most = 9e15; /* whole numbers that a double holds, and more than any corpus has */

static const char *const formats[] = {"auto", "text", "jsonl", NULL};
static const char *const too_long[] = {"truncate", "window", "skip", NULL};
static const char *const bad_annotations[] = {"strip", "skip", "fail", NULL}; /* in the order of enum cx_bad_annotations */
static const char *const map_types[] = {"float32", "float16", NULL};
static const char *const backends[] = {"auto", "cpu", "cuda", NULL};
static const char *const forward_precisions[] = {"f32", "tf32", "f16", NULL};  /* in the order of enum cx_forward_precision */
static const char *const pair_precisions[] = {"f32", "bf16", "f16", NULL};     /* in the order of enum cx_pair_precision */
static const char *const granularities[] = {"token", "word", NULL};            /* in the order of enum cx_granularity */
static const char *const clusters[] = {"off", "folder", "array", "mpi", NULL}; /* in the order of enum cx_cluster_kind */
static const char *const offset_units[] = {"char", "byte", NULL};

static const char job_group[] = "Job";
static const char input_group[] = "Input", output_group[] = "What is computed and stored", statistics_group[] = "Statistics", machine_group[] = "Machine",
                  report_group[] = "Report", general_group[] = "General";

/* name, letter, type, member, default, lowest, highest, choices, the value's name, commands that take it, commands that need it, places, several values?,
   group, help */
const struct option option_table[] = {
    {"model", 'm', OPTION_TEXT, MEMBER(run.model), NULL, 0, 0, NULL, "DIR", CORPUS_READERS | SLURM, CORPUS_READERS | SLURM, PLACE_ALL, false, input_group,
     "Hugging Face model directory: config.json, model.safetensors and the tokenizer's files"},
    {"corpus", 'c', OPTION_LIST, MEMBER(corpus), NULL, 0, 0, NULL, "FILE", CORPUS_READERS | SLURM, CORPUS_READERS | SLURM, PLACE_ALL, true, input_group,
     "text (one document a line) or JSONL, plain, .gz or .zst; a quoted glob, or - for standard input; several may be given"},
    {"format", 0, OPTION_CHOICE, MEMBER(run.corpus.format), "auto", 0, 0, formats, NULL, CORPUS_READERS, 0, PLACE_ALL, false, input_group,
     "format of the corpus; auto goes by the file's name"},
    {"text-field", 0, OPTION_TEXT, MEMBER(run.corpus.text_field), "text", 0, 0, NULL, "NAME", CORPUS_READERS, 0, PLACE_ALL, false, input_group,
     "JSONL member with the text"},
    {"id-field", 0, OPTION_TEXT, MEMBER(run.corpus.id_field), "id", 0, 0, NULL, "NAME", CORPUS_READERS, 0, PLACE_ALL, false, input_group,
     "JSONL member with the document's id"},
    {"pair-field", 0, OPTION_TEXT, MEMBER(run.corpus.pair_field), NULL, 0, 0, NULL, "NAME", CORPUS_READERS, 0, PLACE_ALL, false, input_group,
     "JSONL member with a second text, encoded with the first as a pair"},
    {"words-field", 0, OPTION_TEXT, MEMBER(run.corpus.words_field), "words", 0, 0, NULL, "NAME", COMPUTERS, 0, PLACE_ALL, false, input_group,
     "JSONL member with the text's annotated words; the second text's are in NAME_pair"},
    {"bad-annotations", 0, OPTION_CHOICE, MEMBER(run.bad_annotations), "strip", 0, 0, bad_annotations, NULL, COMPUTERS, 0, PLACE_ALL, false, input_group,
     "what becomes of a document with unusable annotations: kept without them, left out, or the end of the run"},
    {"mask-rate", 0, OPTION_NUMBER, MEMBER(run.mask_rate), "0", 0, 1, NULL, "SHARE", COMPUTERS, 0, PLACE_ALL, false, input_group,
     "share of ordinary tokens that the mask token takes the place of, chosen by --seed"},
    {"seed", 0, OPTION_COUNT, MEMBER(run.seed), "0", 0, most, NULL, "N", COMPUTERS, 0, PLACE_ALL, false, input_group,
     "which tokens --mask-rate chooses; the same for any number of threads and any shards"},
    {"skip", 0, OPTION_COUNT, MEMBER(run.corpus.skip), "0", 0, most, NULL, "N", CORPUS_READERS, 0, PLACE_ALL, false, input_group,
     "leave out the first N documents"},
    {"limit", 'n', OPTION_COUNT, MEMBER(run.corpus.limit), "0", 0, most, NULL, "N", CORPUS_READERS, 0, PLACE_ALL, false, input_group,
     "take at most N documents; 0: all"},
    {"max-tokens", 0, OPTION_COUNT, MEMBER(run.max_tokens), "0", 0, 1e9, NULL, "N", COMPUTERS, 0, PLACE_ALL, false, input_group,
     "longest sequence; 0: as many tokens as the model has positions"},
    {"too-long", 0, OPTION_CHOICE, MEMBER(run.too_long), "truncate", 0, 0, too_long, NULL, COMPUTERS, 0, PLACE_ALL, false, input_group,
     "what becomes of longer documents: cut, several overlapping windows, or left out"},
    {"window-stride", 0, OPTION_COUNT, MEMBER(run.window_stride), "0", 0, 1e9, NULL, "N", COMPUTERS, 0, PLACE_ALL, false, input_group,
     "tokens that neighbouring windows share; 0: a quarter of a window"},

    {"out", 'o', OPTION_TEXT, MEMBER(run.output), NULL, 0, 0, NULL, "DIR", COMPUTERS | SLURM, COMMAND_RUN | SLURM, PLACE_ALL, false, output_group,
     "folder of the results; a second run on the same folder goes on where the first stopped"},
    {"shard-size", 0, OPTION_COUNT, MEMBER(run.shard_size), "0", 0, 1e9, NULL, "N", COMPUTERS, 0, PLACE_ALL, false, output_group,
     "documents a part file holds: the unit of resumption; 0: 1000, or 4000 where statistics alone are stored"},
    {"shard-work", 0, OPTION_COUNT, MEMBER(run.shard_work), "16000000", 0, most, NULL, "N", COMPUTERS, 0, PLACE_ALL, false, output_group,
     "pairs of tokens (squares of lengths, summed) at which a part ends before, so that parts are even in work; lengths are estimated from bytes; 0: no bound"},
    {"stages", 0, OPTION_STAGES, MEMBER(run.maps), "all", 0, 0, NULL, "LIST", COMPUTERS, 0, PLACE_ALL, true, output_group,
     "maps to store: all, none, or some of attn_weight, attn, attn_res, attn_res_ln, ff, ff_res, ff_res_ln"},
    {"layers", 0, OPTION_TEXT, MEMBER(run.layers), "all", 0, 0, NULL, "LIST", COMPUTERS, 0, PLACE_ALL, true, output_group,
     "layers to store: all, or a list as 0,3,5-7; -1 is the last"},
    {"granularity", 0, OPTION_CHOICE, MEMBER(run.granularity), "token", 0, 0, granularities, NULL, COMPUTERS, 0, PLACE_ALL, false, output_group,
     "rows and columns of maps: tokens; or words, annotated or the tokenizer's: the sum of a source word's parts, the mean over a target word's tokens"},
    {"per-head", 0, OPTION_FLAG, MEMBER(run.per_head), "false", 0, 0, NULL, NULL, COMPUTERS, 0, PLACE_ALL, false, output_group,
     "store attention weights and attention norms per head, too"},
    {"hidden-states", 0, OPTION_FLAG, MEMBER(run.hidden_states), "false", 0, 0, NULL, NULL, COMPUTERS, 0, PLACE_ALL, false, output_group,
     "store the hidden states of all layers"},
    {"vectors", 0, OPTION_TEXT, MEMBER(run.vectors), "none", 0, 0, NULL, "LIST", COMPUTERS, 0, PLACE_ALL, true, output_group,
     "layers whose parts themselves are stored: n * n * hidden_size numbers a stage"},
    {"vector-stages", 0, OPTION_STAGES, MEMBER(run.vector_stages), "attn,attn_res,attn_res_ln,ff,ff_res,ff_res_ln", 0, 0, NULL, "LIST", COMPUTERS, 0, PLACE_ALL,
     true, output_group, "stages for --vectors"},
    {"map-type", 0, OPTION_CHOICE, MEMBER(run.map_type), "float32", 0, 0, map_types, NULL, COMPUTERS, 0, PLACE_ALL, false, output_group,
     "type of the maps in the file"},
    {"mantissa-bits", 0, OPTION_COUNT, MEMBER(run.mantissa_bits), "23", 1, 23, NULL, "N", COMPUTERS, 0, PLACE_ALL, false, output_group,
     "mantissa bits that maps keep; 13 halves the files at a relative error of 6e-5"},
    {"compression", 0, OPTION_COUNT, MEMBER(run.compression), "1", 0, 9, NULL, "N", COMPUTERS, 0, PLACE_ALL, false, output_group, "deflate level; 0: none"},

    {"analyses", 0, OPTION_ANALYSES, MEMBER(run.analyses), "none", 0, 0, NULL, "LIST", COMPUTERS, 0, PLACE_ALL, true, statistics_group,
     "statistics of the whole corpus, of any maps: all, none, or some of contextualization_change, mixing_ratio, pair_amplification, categories, cancellation, "
     "norm_dimensions (of which all has the last only with --mask-dims)"},
    {"bootstrap", 0, OPTION_COUNT, MEMBER(run.bootstrap), "100", 0, 100000, NULL, "N", COMPUTERS, 0, PLACE_ALL, false, statistics_group,
     "replicates of the bootstrap by sequence in the statistics of categories; 0: none"},
    {"min-count", 0, OPTION_COUNT, MEMBER(run.min_count), "0", 0, most, NULL, "N", COMPUTERS, 0, PLACE_ALL, false, statistics_group,
     "pairs of token types that stand in the corpus less often are left out of pair_amplification; 0: a count that leaves about 1,000 pairs"},
    {"top-pairs", 0, OPTION_COUNT, MEMBER(run.top_pairs), "100", 0, 1e6, NULL, "N", COMPUTERS, 0, PLACE_ALL, false, statistics_group,
     "pairs that pair_amplification tells for every layer, component and sign"},
    {"raw-maps", 0, OPTION_FLAG, MEMBER(run.raw_maps), "false", 0, 0, NULL, NULL, COMPUTERS, 0, PLACE_ALL, false, statistics_group,
     "take the change of the maps as they are; else each row is divided by its sum first"},
    {"mask-dims", 0, OPTION_TEXT, MEMBER(run.mask_dims), "none", 0, 0, NULL, "CHOICE", COMPUTERS, 0, PLACE_ALL, false, statistics_group,
     "dimensions of each layer norm that norm_dimensions leaves out of the norms: gamma:P, the P with the largest |γ|; activation:P, with the largest mean "
     "|input| over the first 64 sequences; dims:308,381, these. The feed-forward product is computed three times instead of once"},

    {"backend", 0, OPTION_CHOICE, MEMBER(run.backend), "auto", 0, 0, backends, NULL, COMPUTERS, 0, PLACE_ALL, false, machine_group,
     "what computes; auto takes a usable GPU, else the CPU"},
    {"threads", 't', OPTION_COUNT, MEMBER(run.threads), "0", 0, 4096, NULL, "N", COMPUTERS, 0, PLACE_ALL, false, machine_group,
     "threads; 0: all cores. The results do not depend on it"},
    {"forward-precision", 0, OPTION_CHOICE, MEMBER(run.forward_precision), "f32", 0, 0, forward_precisions, NULL, COMPUTERS, 0, PLACE_ALL, false, machine_group,
     "operands of the forward pass's dense products; faster on a GPU: tf32 and f16, which change results by about 1e-3 of their largest element"},
    {"pair-precision", 0, OPTION_CHOICE, MEMBER(run.pair_precision), "f32", 0, 0, pair_precisions, NULL, COMPUTERS, 0, PLACE_ALL, false, machine_group,
     "operands of the feed-forward maps' product; faster: bf16 where the processor has it, rms error about 1e-3, and f16 on a GPU, about 1e-4"},
    {"checks", 0, OPTION_FLAG, MEMBER(run.checks), "true", 0, 0, NULL, NULL, COMPUTERS, 0, PLACE_ALL, false, machine_group,
     "on, unless --no-checks: a product that misses its checksum, or parts that do not add up, end the run with an error; at most 2 % of the time"},
    {"batch-tokens", 0, OPTION_COUNT, MEMBER(run.batch_tokens), "512", 1, 1e6, NULL, "N", COMPUTERS, 0, PLACE_ALL, false, machine_group,
     "tokens that are computed together; a longer sequence is a batch of its own"},
    {"window-memory", 0, OPTION_BYTES, MEMBER(run.window_memory), "16M", 1, most, NULL, "BYTES", COMPUTERS, 0, PLACE_ALL, false, machine_group,
     "results held before they are written; twice as much is needed (on a GPU three times), and at least one sequence's"},
    {"cluster", 0, OPTION_CHOICE, MEMBER(run.cluster), "off", 0, 0, clusters, NULL, COMMAND_RUN, 0, PLACE_ALL, false, machine_group,
     "share the work on one folder: folder, any processes that see it, each claiming parts; array, the tasks of a Slurm job array; mpi, the ranks of a job"},
    {"nccl", 0, OPTION_FLAG, MEMBER(run.nccl), "true", 0, 0, NULL, NULL, COMMAND_RUN, 0, PLACE_ALL, false, machine_group,
     "on, unless --no-nccl: ranks with GPUs get the weights from rank 0, and sum up their progress, by NCCL, where all of them have it"},
    {"patience", 0, OPTION_NUMBER, MEMBER(run.patience), "30", 1, 3600, NULL, "SECONDS", COMMAND_RUN, 0, PLACE_ALL, false, machine_group,
     "with --cluster: how long another process may give no sign of life before it counts as dead"},
    {"gflops", 0, OPTION_NUMBER, MEMBER(gflops), "0", 0, 1e9, NULL, "RATE", COMMAND_PLAN, 0, PLACE_ALL, false, machine_group,
     "matrix product rate to estimate the time with, in GFLOP/s; 0: measure it"},

    {"array", 0, OPTION_COUNT, MEMBER(slurm.array), "0", 0, 1e6, NULL, "N", SLURM, 0, PLACE_FLAG, false, job_group,
     "a job array of N tasks, each with every N-th part; needs no MPI"},
    {"mpi", 0, OPTION_FLAG, MEMBER(slurm.mpi), "false", 0, 0, NULL, NULL, SLURM, 0, PLACE_FLAG, false, job_group,
     "one job of many ranks, to which rank 0 hands out parts; without --array and --mpi a job of one task"},
    {"nodes", 0, OPTION_COUNT, MEMBER(slurm.nodes), "1", 1, 1e5, NULL, "N", SLURM, 0, PLACE_FLAG, false, job_group, "with --mpi: nodes of the job"},
    {"tasks-per-node", 0, OPTION_COUNT, MEMBER(slurm.tasks_per_node), "1", 1, 1e4, NULL, "N", SLURM, 0, PLACE_FLAG, false, job_group,
     "with --mpi: ranks on a node; as many as --gpus-per-node, if that is given"},
    {"cpus-per-task", 0, OPTION_COUNT, MEMBER(slurm.cores), "1", 1, 1e4, NULL, "N", SLURM, 0, PLACE_FLAG, false, job_group, "cores of a rank or task"},
    {"gpus-per-node", 0, OPTION_COUNT, MEMBER(slurm.gpus), "0", 0, 64, NULL, "N", SLURM, 0, PLACE_FLAG, false, job_group, "GPUs of a node; 0: none"},
    {"time", 0, OPTION_TEXT, MEMBER(slurm.time), "04:00:00", 0, 0, NULL, "LIMIT", SLURM, 0, PLACE_FLAG, false, job_group,
     "the job's limit; it is put back into the queue when that comes near"},
    {"warning", 0, OPTION_COUNT, MEMBER(slurm.warning_seconds), "120", 1, 65535, NULL, "SECONDS", SLURM, 0, PLACE_FLAG, false, job_group,
     "how long before the limit the program is told to stop"},
    {"partition", 0, OPTION_TEXT, MEMBER(slurm.partition), NULL, 0, 0, NULL, "NAME", SLURM, 0, PLACE_FLAG, false, job_group, "the cluster's partition"},
    {"memory", 0, OPTION_TEXT, MEMBER(slurm.memory), NULL, 0, 0, NULL, "SIZE", SLURM, 0, PLACE_FLAG, false, job_group, "memory of a node, as 16G"},
    {"job-name", 0, OPTION_TEXT, MEMBER(slurm.job_name), "contexture", 0, 0, NULL, "NAME", SLURM, 0, PLACE_FLAG, false, job_group, "name of the job"},

    {"offsets", 0, OPTION_CHOICE, MEMBER(offsets), "char", 0, 0, offset_units, NULL, COMMAND_TOKENIZE, 0, PLACE_ALL, false, report_group,
     "unit of the offsets"},
    {"completeness-bound", 0, OPTION_NUMBER, MEMBER(completeness_bound), "1e-5", 0, 1e9, NULL, "X", COMMAND_VERIFY, 0, PLACE_ALL, false, report_group,
     "largest completeness error that passes"},
    {"json", 0, OPTION_FLAG, MEMBER(json), "false", 0, 0, NULL, NULL, REPORTERS, 0, PLACE_ALL, false, report_group,
     "print the result on standard output as JSON"},
    {"quiet", 'q', OPTION_FLAG, MEMBER(quiet), "false", 0, 0, NULL, NULL, CORPUS_READERS, 0, PLACE_ALL, false, report_group,
     "no progress, notices or list of skipped documents; errors only"},
    {"verbose", 'v', OPTION_FLAG, MEMBER(verbose), "false", 0, 0, NULL, NULL, CORPUS_READERS, 0, PLACE_ALL, false, report_group,
     "name every skipped document, and say where the time went"},
    {"profile", 0, OPTION_FLAG, MEMBER(run.profile), "false", 0, 0, NULL, NULL, COMMAND_RUN, 0, PLACE_ALL, false, report_group,
     "time every operation and step: profile.json in the folder of the results, and a table on standard error"},

    {"config", 0, OPTION_TEXT, MEMBER(config), NULL, 0, 0, NULL, "FILE", WORKERS | SLURM, SLURM, PLACE_FLAG | PLACE_ENVIRONMENT, false, general_group,
     "YAML file with options, as shard_size: 1000"},
    {"dump-config", 0, OPTION_FLAG, MEMBER(dump_config), "false", 0, 0, NULL, NULL, WORKERS, 0, PLACE_FLAG, false, general_group,
     "print the options in effect as YAML, and do nothing"},
    {"man", 0, OPTION_FLAG, MEMBER(manual), "false", 0, 0, NULL, NULL, COMMAND_HELP, 0, PLACE_FLAG, false, general_group, "print the manual page in troff"},
    {"help", 'h', OPTION_FLAG, MEMBER(help), "false", 0, 0, NULL, NULL, EVERY, 0, PLACE_FLAG, false, general_group, "print help"},
    {"version", 0, OPTION_FLAG, MEMBER(version), "false", 0, 0, NULL, NULL, EVERY, 0, PLACE_FLAG, false, general_group, "print the version"},
};
const size_t option_count = sizeof option_table / sizeof *option_table;

const struct option *option_find(const char *name, size_t length) {
    for (size_t k = 0; k < option_count; k++)
        if (strlen(option_table[k].name) == length && memcmp(option_table[k].name, name, length) == 0)
            return &option_table[k];
    return NULL;
}
