/* config.json: every value that is computed is read, every other one is refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contexture/checkpoint.h"
#include "contexture/json.h"
#include "model_files.h"

static char *folder;

/* What bert-base-uncased and files like it say, with the keys that transformers 5 and 4 write and older versions wrote. */
static const char good[] =
    "{\"_name_or_path\": \"x/y\", \"architectures\": [\"BertForMaskedLM\"], \"attention_probs_dropout_prob\": 0.1, \"hidden_act\": \"gelu\","
    " \"hidden_dropout_prob\": 0.1, \"hidden_size\": 768, \"initializer_range\": 0.02, \"intermediate_size\": 3072,"
    " \"layer_norm_eps\": 1e-12, \"max_position_embeddings\": 512, \"model_type\": \"bert\", \"num_attention_heads\": 12,"
    " \"num_hidden_layers\": 12, \"pad_token_id\": 0, \"position_embedding_type\": \"absolute\","
    " \"transformers_version\": \"4.6.0.dev0\", \"type_vocab_size\": 2, \"use_cache\": true, \"vocab_size\": 30522,"
    " \"torch_dtype\": \"float32\", \"dtype\": null, \"gradient_checkpointing\": false, \"classifier_dropout\": null,"
    " \"directionality\": \"bidi\", \"pooler_type\": \"first_token_transform\", \"id2label\": {\"0\": \"a\"}, \"label2id\": {\"a\": 0},"
    " \"is_decoder\": false, \"add_cross_attention\": false, \"tie_word_embeddings\": true, \"bos_token_id\": null,"
    " \"eos_token_id\": null, \"pruned_heads\": {}, \"output_past\": true, \"max_length\": 20, \"chunk_size_feed_forward\": 0,"
    " \"something_unset\": null}";

/* `good` with one member put in, replaced, or (value NULL) taken out. */
static char *changed(const char *key, const char *value) {
    struct cx_error error = {0};
    json_t *config = NULL, *member = NULL;
    if (cx_json_parse(good, sizeof good - 1, "good", &config, &error) != CX_OK)
        fail_msg("%s", error.message);
    if (value) {
        if (cx_json_parse(value, strlen(value), "value", &member, &error) != CX_OK)
            fail_msg("%s", error.message);
        assert_int_equal(json_object_set_new(config, key, member), 0);
    } else {
        assert_int_equal(json_object_del(config, key), 0);
    }
    char *text = json_dumps(config, 0);
    json_decref(config);
    assert_non_null(text);
    return text;
}

static enum cx_status read_config(const char *text, struct cx_model_config *config, struct cx_error *error) {
    test_write_text(folder, "config.json", text);
    return cx_checkpoint_read_config(folder, config, error);
}

static void a_good_config_is_read(void **state) {
    (void)state;
    struct cx_model_config config;
    struct cx_error error = {0};
    if (read_config(good, &config, &error) != CX_OK)
        fail_msg("%s", error.message);
    assert_int_equal(config.layers, 12);
    assert_int_equal(config.heads, 12);
    assert_int_equal(config.head_size, 64);
    assert_int_equal(config.hidden_size, 768);
    assert_int_equal(config.intermediate_size, 3072);
    assert_int_equal(config.vocabulary_size, 30522);
    assert_int_equal(config.max_positions, 512);
    assert_int_equal(config.token_types, 2);
    assert_true(config.norm_epsilon == 1e-12);
    assert_int_equal(config.activation, CX_GELU);

    /* A file inside the folder names it too. */
    assert_int_equal(cx_checkpoint_read_config(test_path(folder, "config.json"), &config, &error), CX_OK);
    assert_int_equal(config.layers, 12);
}

/* Values that are accepted, and what they change. */
static void values_are_understood(void **state) {
    (void)state;
    static const struct {
        const char *key, *value;
        enum cx_activation activation;
        double epsilon;
        size_t token_types;
        bool causal;
    } cases[] = {
        {"hidden_act", "\"gelu_new\"", CX_GELU_TANH, 1e-12, 2, false},
        {"hidden_act", "\"gelu_pytorch_tanh\"", CX_GELU_TANH, 1e-12, 2, false},
        {"hidden_act", "\"relu\"", CX_RELU, 1e-12, 2, false},
        {"hidden_act", "\"silu\"", CX_SILU, 1e-12, 2, false},
        {"hidden_act", "\"swish\"", CX_SILU, 1e-12, 2, false},
        {"hidden_act", NULL, CX_GELU, 1e-12, 2, false},
        {"layer_norm_eps", "1e-5", CX_GELU, 1e-5, 2, false},
        {"layer_norm_eps", "1", CX_GELU, 1, 2, false},
        {"layer_norm_eps", NULL, CX_GELU, 1e-12, 2, false},
        {"type_vocab_size", "1", CX_GELU, 1e-12, 1, false},
        {"type_vocab_size", NULL, CX_GELU, 1e-12, 2, false},
        {"position_embedding_type", NULL, CX_GELU, 1e-12, 2, false},
        {"embedding_size", "768", CX_GELU, 1e-12, 2, false},
        {"is_decoder", "false", CX_GELU, 1e-12, 2, false},
        {"is_decoder", NULL, CX_GELU, 1e-12, 2, false},
        {"is_decoder", "true", CX_GELU, 1e-12, 2, true},
        {"add_cross_attention", "false", CX_GELU, 1e-12, 2, false},
        {"auto_map", "{}", CX_GELU, 1e-12, 2, false},
        {"quantization_config", "null", CX_GELU, 1e-12, 2, false},
        {"architectures", "[\"BertModel\", 5]", CX_GELU, 1e-12, 2, false},
        {"unknown", "null", CX_GELU, 1e-12, 2, false},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct cx_model_config config;
        struct cx_error error = {0};
        char *text = changed(cases[k].key, cases[k].value);
        if (read_config(text, &config, &error) != CX_OK)
            fail_msg("%s = %s: %s", cases[k].key, cases[k].value, error.message);
        assert_int_equal(config.activation, cases[k].activation);
        assert_true(config.norm_epsilon == cases[k].epsilon);
        assert_int_equal(config.token_types, cases[k].token_types);
        assert_int_equal(config.causal, cases[k].causal);
        free(text);
    }
}

static const struct {
    const char *key, *value;
    enum cx_status status;
    const char *piece;
} bad_values[] = {
    /* the family */
    {"model_type", NULL, CX_ERROR_INPUT, "key \"model_type\": expected a string, found nothing"},
    {"model_type", "7", CX_ERROR_INPUT, "key \"model_type\": expected a string, found an integer"},
    {"model_type", "\"gpt2\"", CX_ERROR_UNSUPPORTED, "\"model_type\": supported is bert, found \"gpt2\""},
    {"model_type", "\"Bert\"", CX_ERROR_UNSUPPORTED, "found \"Bert\""},
    {"model_type", "\"\"", CX_ERROR_UNSUPPORTED, "found \"\""},
    {"model_type", "\"bert\\u0000x\"", CX_ERROR_INPUT, "U+0000"},
    /* the activation and the constants */
    {"hidden_act", "\"quick_gelu\"", CX_ERROR_UNSUPPORTED,
     "\"hidden_act\": expected gelu, gelu_new, gelu_pytorch_tanh, relu, silu or swish, found \"quick_gelu\""},
    {"hidden_act", "\"tanh\"", CX_ERROR_UNSUPPORTED, "found \"tanh\""},
    {"hidden_act", "\"GELU\"", CX_ERROR_UNSUPPORTED, "found \"GELU\""},
    {"hidden_act", "1", CX_ERROR_INPUT, "key \"hidden_act\": expected a string, found an integer"},
    {"layer_norm_eps", "0", CX_ERROR_INPUT, "\"layer_norm_eps\": expected a number above 0 and at most 1, found 0"},
    {"layer_norm_eps", "-1e-12", CX_ERROR_INPUT, "found -1e-12"},
    {"layer_norm_eps", "2", CX_ERROR_INPUT, "found 2"},
    {"layer_norm_eps", "\"1e-12\"", CX_ERROR_INPUT, "key \"layer_norm_eps\": expected a number, found a string"},
    {"layer_norm_eps", "true", CX_ERROR_INPUT, "expected a number, found true"},
    {"position_embedding_type", "\"relative_key\"", CX_ERROR_UNSUPPORTED, "\"position_embedding_type\": expected \"absolute\", found \"relative_key\""},
    {"position_embedding_type", "\"relative_key_query\"", CX_ERROR_UNSUPPORTED, "found \"relative_key_query\""},
    {"position_embedding_type", "\"alibi\"", CX_ERROR_UNSUPPORTED, "found \"alibi\""},
    {"position_embedding_type", "[]", CX_ERROR_INPUT, "expected a string, found an array"},
    /* the sizes */
    {"hidden_size", NULL, CX_ERROR_INPUT, "key \"hidden_size\": expected an integer, found nothing"},
    {"hidden_size", "null", CX_ERROR_INPUT, "key \"hidden_size\": expected an integer, found null"},
    {"hidden_size", "0", CX_ERROR_INPUT, "key \"hidden_size\": expected an integer from 1 to 65536, found 0"},
    {"hidden_size", "-768", CX_ERROR_INPUT, "found -768"},
    {"hidden_size", "768.0", CX_ERROR_INPUT, "key \"hidden_size\": expected an integer, found a real number"},
    {"hidden_size", "\"768\"", CX_ERROR_INPUT, "key \"hidden_size\": expected an integer, found a string"},
    {"hidden_size", "[768]", CX_ERROR_INPUT, "expected an integer, found an array"},
    {"hidden_size", "65537", CX_ERROR_INPUT, "found 65537"},
    {"hidden_size", "770", CX_ERROR_INPUT, "expected a hidden_size that num_attention_heads divides, found 770 and 12"},
    {"num_attention_heads", "5", CX_ERROR_INPUT, "found 768 and 5"},
    {"num_attention_heads", "0", CX_ERROR_INPUT, "key \"num_attention_heads\": expected an integer from 1 to 1024, found 0"},
    {"num_attention_heads", "1025", CX_ERROR_INPUT, "found 1025"},
    {"num_attention_heads", NULL, CX_ERROR_INPUT, "key \"num_attention_heads\": expected an integer, found nothing"},
    {"num_hidden_layers", "0", CX_ERROR_INPUT, "key \"num_hidden_layers\": expected an integer from 1 to 1024, found 0"},
    {"num_hidden_layers", "9223372036854775807", CX_ERROR_INPUT, "found 9223372036854775807"},
    {"num_hidden_layers", "true", CX_ERROR_INPUT, "expected an integer, found true"},
    {"intermediate_size", "0", CX_ERROR_INPUT, "key \"intermediate_size\": expected an integer from 1 to 1048576, found 0"},
    {"intermediate_size", NULL, CX_ERROR_INPUT, "key \"intermediate_size\": expected an integer, found nothing"},
    {"vocab_size", "0", CX_ERROR_INPUT, "key \"vocab_size\": expected an integer from 1 to 2147483647, found 0"},
    {"vocab_size", "2147483648", CX_ERROR_INPUT, "found 2147483648"},
    {"max_position_embeddings", "-1", CX_ERROR_INPUT, "key \"max_position_embeddings\": expected an integer from 1 to 1048576, found -1"},
    {"max_position_embeddings", NULL, CX_ERROR_INPUT, "expected an integer, found nothing"},
    {"type_vocab_size", "0", CX_ERROR_INPUT, "key \"type_vocab_size\": expected an integer from 1 to 65536, found 0"},
    {"embedding_size", "128", CX_ERROR_UNSUPPORTED, "\"embedding_size\": expected hidden_size, 768, found 128"},
    {"embedding_size", "\"768\"", CX_ERROR_INPUT, "key \"embedding_size\": expected an integer, found a string"},
    /* other mathematics */
    {"is_decoder", "1", CX_ERROR_INPUT, "key \"is_decoder\": expected true or false, found an integer"},
    {"is_decoder", "\"false\"", CX_ERROR_INPUT, "key \"is_decoder\": expected true or false, found a string"},
    {"is_encoder_decoder", "true", CX_ERROR_UNSUPPORTED, "\"is_encoder_decoder\": true asks for a model that contexture does not compute"},
    {"add_cross_attention", "true", CX_ERROR_UNSUPPORTED, "\"add_cross_attention\": true asks"},
    {"cross_attention_hidden_size", "768", CX_ERROR_UNSUPPORTED, "\"cross_attention_hidden_size\": 768 asks"},
    {"tie_encoder_decoder", "true", CX_ERROR_UNSUPPORTED, "\"tie_encoder_decoder\": true asks"},
    {"pruned_heads", "{\"1\": [0, 2]}", CX_ERROR_UNSUPPORTED, "\"pruned_heads\": {\"1\":[0,2]} asks"},
    {"quantization_config", "{\"bits\": 4}", CX_ERROR_UNSUPPORTED, "\"quantization_config\": {\"bits\":4} asks"},
    {"auto_map", "{\"AutoModel\": \"modeling.Mine\"}", CX_ERROR_UNSUPPORTED, "\"auto_map\": {\"AutoModel\":\"modeling.Mine\"} asks"},
    {"adapters", "{\"a\": 1}", CX_ERROR_UNSUPPORTED, "\"adapters\": {\"a\":1} asks"},
    /* what nobody has thought of */
    {"rope_theta", "10000.0", CX_ERROR_UNSUPPORTED,
     "1 unknown key, which may change what the model computes: \"rope_theta\": 10000.0. If it does not, leave it out"},
    {"attention_window", "[512]", CX_ERROR_UNSUPPORTED, "\"attention_window\": [512]"},
    {"normalization", "false", CX_ERROR_UNSUPPORTED, "\"normalization\": false"},
    {"Hidden_size", "768", CX_ERROR_UNSUPPORTED, "\"Hidden_size\": 768"},
    {"", "1", CX_ERROR_UNSUPPORTED, "\"\": 1"},
};

static void bad_values_are_refused(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof bad_values / sizeof *bad_values; k++) {
        struct cx_model_config config = {.layers = 99};
        struct cx_error error = {0};
        char *text = changed(bad_values[k].key, bad_values[k].value), what[200];
        (void)snprintf(what, sizeof what, "%s = %s", bad_values[k].key, bad_values[k].value ? bad_values[k].value : "(none)");
        test_expect_failure(what, read_config(text, &config, &error), &error, bad_values[k].status, bad_values[k].piece);
        assert_non_null(strstr(error.message, "config.json: "));
        assert_int_equal(config.layers, 0);
        free(text);
    }
}

static void bad_texts_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *piece;
    } cases[] = {
        {"", "not valid JSON"},
        {"[]", "expected a JSON object, found an array"},
        {"null", "expected a JSON object, found null"},
        {"{}", "key \"model_type\": expected a string, found nothing"},
        {"{\"model_type\": \"bert\"}", "expected an integer, found nothing"},
        {"{\"model_type\": \"bert\", \"model_type\": \"bert\"}", "duplicate object key"},
        {"{\"model_type\": \"bert\", \"layer_norm_eps\": NaN}", "invalid token"},
        {"{\"model_type\": \"bert\", \"vocab_size\": 99999999999999999999}", "too big integer"},
        {"{\"model_type\": \"b\xff\"}", "unable to decode byte 0xff"},
        {"{\"model_type\": \"bert\"", "not valid JSON"},
        {"\xef\xbb\xbf{}", "byte order mark"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct cx_model_config config;
        struct cx_error error = {0};
        test_expect_failure(cases[k].text, read_config(cases[k].text, &config, &error), &error, CX_ERROR_INPUT, cases[k].piece);
    }
}

/* All unknown keys are named in one sentence, and however many there are, the sentence says what to do. */
static void unknown_keys_are_listed(void **state) {
    (void)state;
    char text[20000] = "{\"model_type\": \"bert\"";
    struct cx_model_config config;
    struct cx_error error = {0};
    test_expect_failure("two", read_config("{\"model_type\": \"bert\", \"one\": 1, \"two\": \"x\"}", &config, &error), &error, CX_ERROR_UNSUPPORTED,
                        "2 unknown keys, which may change what the model computes: \"one\": 1, \"two\": \"x\". If they do not, leave them out");
    for (int k = 0; k < 300; k++)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), ", \"unknown_%d\": \"a value that is not short\"", k);
    (void)snprintf(text + strlen(text), sizeof text - strlen(text), "}");
    test_expect_failure("many", read_config(text, &config, &error), &error, CX_ERROR_UNSUPPORTED, "…. If they do not, leave them out of config.json in a copy");
    assert_non_null(strstr(error.message, "300 unknown keys"));
}

static void a_missing_folder_is_named(void **state) {
    (void)state;
    struct cx_model_config config;
    struct cx_error error = {0};
    test_expect_failure("absent", cx_checkpoint_read_config("no-such-folder", &config, &error), &error, CX_ERROR_IO, "cannot open the model no-such-folder");
    test_write_text(folder, "config.json", "{}");
    test_unlink(folder, "config.json");
    test_expect_failure("empty", cx_checkpoint_read_config(folder, &config, &error), &error, CX_ERROR_INPUT, "no config.json in it");
}

static int make_folder(void **state) {
    (void)state;
    folder = test_folder_create();
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    test_folder_remove(folder);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_config_is_read), cmocka_unit_test(values_are_understood),   cmocka_unit_test(bad_values_are_refused),
        cmocka_unit_test(bad_texts_are_refused), cmocka_unit_test(unknown_keys_are_listed), cmocka_unit_test(a_missing_folder_is_named),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
