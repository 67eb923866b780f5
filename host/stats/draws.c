/*
 * The bootstrap by sequence: a replicate draws each sequence a number of times that is Poisson distributed with mean 1. Every number comes from the sequence's
 * place in the corpus and the replicate's number alone, so that replicates of shards add up, whoever computed them.
 */
#include "mix.h"
#include "view.h"

/* 2^32 times the probability of at most k draws; 12 draws and more have 6e-11. */
static const uint32_t at_most[] = {1580030169u, 3160060337u, 3950075422u, 4213413783u, 4279248374u, 4292415292u,
                                   4294609778u, 4294923276u, 4294962463u, 4294966817u, 4294967253u, 4294967292u};

void draw_replicates(uint64_t document, uint64_t window, uint8_t *draws, size_t count) {
    const uint64_t step = 0x9e3779b97f4a7c15u, key = mix(mix(document + step) + window * step);
    for (size_t k = 0; k < count; k++) {
        const uint32_t number = (uint32_t)(mix(key + (k + 1) * step) >> 32);
        uint8_t drawn = 0;
        while (drawn < sizeof at_most / sizeof at_most[0] && number >= at_most[drawn])
            drawn++;
        draws[k] = drawn;
    }
}
