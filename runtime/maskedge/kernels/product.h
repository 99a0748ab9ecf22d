/* A product of levels of 8 bits and weights of 8 bits, and what becomes of its sums. */
#ifndef MASKEDGE_PRODUCT_H
#define MASKEDGE_PRODUCT_H

#include "normalization.h"
#include "team.h"

typedef struct Product {
    const uint8_t *levels;    /* [rows, inner] in blocks */
    const int8_t *weights;    /* as `pack_weights` laid them */
    const size_t *rows;       /* of a batch; memory is for a multiple of 32 */
    size_t inner, outer;      /* multiples of 64 and 32 */
    const float *scales;      /* [outer]: sum -> number */
    const float *shifts;      /* [outer], added to a number before its row's factor */
    const float *row_factors; /* [rows]; may be NULL */
    const float *bias;        /* [outer] */
    const float *added;       /* [rows, outer], added to what was made; may be NULL */
    const struct Product *first; /* of the same weights and other levels, whose numbers are added; may be NULL */
    float *out;                  /* [rows, outer]; NULL where only levels are wanted */
    size_t out_rows;             /* that `out` holds at once, if what is made is normalized, and nothing else */
    const Normalization *normalization; /* NULL: it is not, and `out` holds all */
    int32_t has_gelu, has_amx;
    Rounding rounding;
} Product;

/* Makes only `count` columns from `first` on, multiples of 32, without anything added: floats [rows, count], so far behind
 * where `out` points to. */
void multiply_columns(const Product *p, size_t first, size_t count, size_t offset);

#endif
