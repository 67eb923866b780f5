#include "config_keys.h"

#include <stddef.h>
#include <string.h>

static const char *const read_keys[] = {
    "model_type",      "hidden_size",    "num_hidden_layers", "num_attention_heads",     "intermediate_size", "vocab_size", "max_position_embeddings",
    "type_vocab_size", "layer_norm_eps", "hidden_act",        "position_embedding_type", "embedding_size",    "is_decoder",
};

/* Each would change the encoder's mathematics, or say that its weights are not what they seem. */
static const char *const off_keys[] = {
    "is_encoder_decoder",  /* a second stack */
    "add_cross_attention", /* attention to another model's output */
    "cross_attention_hidden_size",
    "tie_encoder_decoder",
    "pruned_heads",        /* fewer heads in some layers */
    "quantization_config", /* weights that are codes, not numbers */
    "auto_map",            /* a model class of the repository's own */
    "adapters",            /* layers added between BERT's own */
    "adapter_config",
    "adapter_fusion_config",
};

static const char *const bookkeeping_keys[] = {
    /* where the model came from, how it was saved and is to be run */
    "_name_or_path",
    "_commit_hash",
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_attn_implementation_internal",
    "attn_implementation",
    "_experts_implementation",
    "architectures",
    "transformers_version",
    "transformers_weights",
    "dtype",
    "torch_dtype",
    "torchscript",
    "use_bfloat16",
    "tf_legacy_loss",
    "name",
    "language",
    "use_cache",
    "output_past",
    "output_attentions",
    "output_hidden_states",
    "output_all_encoded_layers",
    "return_dict",
    "use_return_dict",
    "return_dict_in_generate",
    "output_scores",
    "chunk_size_feed_forward",
    "gradient_checkpointing",
    "tokenizer_class",
    "prefix",
    "vocab_file",
    "do_lower_case",
    "model_max_length",
    "sentence_transformers",
    /* training; dropout does nothing in evaluation */
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "classifier_dropout",
    "classifier_dropout_prob",
    "initializer_range",
    "initializer_factor",
    /* the heads on top of the encoder */
    "directionality",
    "pooler_fc_size",
    "pooler_num_attention_heads",
    "pooler_num_fc_layers",
    "pooler_size_per_head",
    "pooler_type",
    "tie_word_embeddings",
    "id2label",
    "label2id",
    "num_labels",
    "_num_labels",
    "num_choices",
    "problem_type",
    "finetuning_task",
    "task_specific_params",
    /* tokens; the tokenizer's own files decide */
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
    "sep_token_id",
    "cls_token_id",
    "mask_token_id",
    "unk_token_id",
    "decoder_start_token_id",
    /* text generation, which older versions of transformers wrote into every config.json */
    "max_length",
    "min_length",
    "do_sample",
    "early_stopping",
    "num_beams",
    "num_beam_groups",
    "diversity_penalty",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
    "repetition_penalty",
    "length_penalty",
    "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size",
    "bad_words_ids",
    "num_return_sequences",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "remove_invalid_values",
    "exponential_decay_length_penalty",
    "suppress_tokens",
    "begin_suppress_tokens",
};

static int is_among(const char *key, const char *const *keys, size_t count) {
    for (size_t k = 0; k < count; k++)
        if (strcmp(keys[k], key) == 0)
            return 1;
    return 0;
}

enum cx_key_meaning cx_config_key_meaning(const char *key) {
    if (is_among(key, read_keys, sizeof read_keys / sizeof *read_keys))
        return CX_KEY_READ;
    if (is_among(key, off_keys, sizeof off_keys / sizeof *off_keys))
        return CX_KEY_OFF;
    if (is_among(key, bookkeeping_keys, sizeof bookkeeping_keys / sizeof *bookkeeping_keys))
        return CX_KEY_BOOKKEEPING;
    return CX_KEY_UNKNOWN;
}
