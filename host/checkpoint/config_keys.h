/*
 * What each key of config.json means to contexture.
 *
 * transformers ignores a key that its model class does not read; contexture does not, because such a key may ask for other mathematics (a custom
 * model class, a newer version). So every key must be listed here; one that is not is refused, unless its value is null, which everywhere means "not set".
 */
#ifndef CONTEXTURE_CONFIG_KEYS_H
#define CONTEXTURE_CONFIG_KEYS_H

enum cx_key_meaning {
    CX_KEY_UNKNOWN,
    CX_KEY_READ,        /* config.c reads and checks it */
    CX_KEY_BOOKKEEPING, /* does not change what the encoder computes: any value will do */
    CX_KEY_OFF,         /* would change it: only null, false, 0 and empty values will do */
};

enum cx_key_meaning cx_config_key_meaning(const char *key);

#endif
