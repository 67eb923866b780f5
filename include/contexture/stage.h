/*
 * The stages of a layer, in the order in which a token's vector passes them. Their names are a contract: they are the names
 * of datasets, of command line arguments and of the Python reader's keys.
 */
#ifndef CONTEXTURE_STAGE_H
#define CONTEXTURE_STAGE_H

/* enumerator, name, what the norm is of */
#define CX_STAGE_LIST(X)                                                                                                                                       \
    X(CX_STAGE_ATTN, "attn", "attention's output, split by source token")                                                                                      \
    X(CX_STAGE_ATTN_RES, "attn_res", "after the first residual connection")                                                                                    \
    X(CX_STAGE_ATTN_RES_LN, "attn_res_ln", "after the first layer norm")                                                                                       \
    X(CX_STAGE_FF, "ff", "the feed-forward block's output")                                                                                                    \
    X(CX_STAGE_FF_RES, "ff_res", "after the second residual connection")                                                                                       \
    X(CX_STAGE_FF_RES_LN, "ff_res_ln", "after the second layer norm: the layer's output")

#define CX_STAGE_ENUMERATOR(enumerator, name, meaning) enumerator,
enum cx_stage { CX_STAGE_LIST(CX_STAGE_ENUMERATOR) CX_STAGES };
#undef CX_STAGE_ENUMERATOR

/* The stages before and after a layer's two layer norms. */
enum cx_norm_side { CX_BEFORE_NORM, CX_AFTER_NORM, CX_NORM_SIDES };
enum { CX_NORMS = 2 };
extern const enum cx_stage cx_norm_stages[CX_NORMS][CX_NORM_SIDES];

/* A set of stages: bit `1u << stage`. Bit CX_STAGES stands for the map "attn_weight", α itself averaged over the heads. */
#define CX_STAGE_BIT(stage) (1u << (stage))
#define CX_MAPS             (CX_STAGES + 1)
#define CX_MAP_ATTN_WEIGHT  CX_STAGES
#define CX_ALL_MAPS         (CX_STAGE_BIT(CX_MAPS) - 1u)

/* "attn" … "ff_res_ln", and "attn_weight" for CX_MAP_ATTN_WEIGHT. */
const char *cx_map_name(unsigned map);

/* The map of that name, or CX_MAPS if there is none. */
unsigned cx_map_by_name(const char *name, unsigned long length);

#endif
