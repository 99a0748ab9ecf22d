/* Texts that are computed together. */
#ifndef MASKEDGE_BATCH_H
#define MASKEDGE_BATCH_H

#include <stddef.h>
#include <stdint.h>

/* Texts without padding, one after another. Kernels point to one, which becomes the next. */
typedef struct {
    const int64_t *ids, *positions; /* [tokens] */
    const int64_t *rows_of_masks;   /* [masks], among the tokens */
    const int64_t *starts;          /* [texts + 1]: the first token of each text */
    const int64_t *mask_starts;     /* [texts + 1]: the first mask of each text */
    size_t tokens, masks, texts;
} Batch;

#endif
