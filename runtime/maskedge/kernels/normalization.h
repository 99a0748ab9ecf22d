/* Layer normalization. */
#ifndef MASKEDGE_NORMALIZATION_H
#define MASKEDGE_NORMALIZATION_H

#include "vectors.h"

/* Of rows, or as a product makes them. */
typedef struct {
    const float *numbers;       /* [rows, width] */
    const float *added;         /* [rows, width], added to the numbers first; may be NULL, or `out` */
    const float *weight, *bias; /* [width]; a bias of NULL is 0 */
    float *out;                 /* [rows, width]; may be NULL */
    const size_t *rows;         /* of a batch */
    size_t width;
    float epsilon;
    Rounding rounding; /* of what was normalized; its levels may be NULL */
} Normalization;

/* Normalizes rows from the first on, before `end`, whose numbers may lie anywhere, one row after another. */
void normalize(const Normalization *n, const float *numbers, size_t first, size_t end);

#endif
