/* Attention of each text's tokens to all its tokens. */
#ifndef MASKEDGE_ATTENTION_H
#define MASKEDGE_ATTENTION_H

#include "batch.h"
#include "product.h"

/* Queries, keys or values of all heads side by side; or of one at a time, from a product. */
typedef struct {
    const float *numbers;   /* [rows, stride] */
    size_t stride;          /* the width of all heads, or of one */
    const Product *product; /* NULL: all heads are there */
    size_t room;            /* floats for a head; each member has its own behind the one before */
} Projection;

typedef struct {
    Projection queries, keys, values;
    const Batch *batch;
    int32_t at_masks, has_amx;       /* whether queries are masks, and not tokens; and there is AMX */
    size_t heads, width, head_width; /* of a head: a multiple of 32 */
    float scale;
    float *out;           /* [queries, width]; NULL where only levels are wanted */
    uint8_t *scratch;     /* of as many bytes as `scratch_of_attention` says, for each member */
    size_t scratch_bytes; /* those */
    Rounding rounding;
} Attention;

/* A head of a text. */
typedef struct {
    const float *queries, *keys, *values; /* of all texts */
    size_t head, first, tokens; /* first: of the text's rows */
    size_t query, last;         /* of its queries the first, and the one behind the last */
    uint8_t *scratch;           /* to work in */
} TextHead;

/* 2 to the power of numbers that are not above 0, within 3e-7 of it: of the lowest it is 0, and of NaN it is NaN. Of the
 * power's fraction, from -0.5 to 0.5, it is the polynomial whose largest error is least. */
INLINE __m512 power_of_two(__m512 x)
{
    __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT), off = _mm512_sub_ps(x, whole);
    __m512 power = _mm512_set1_ps(1.32647273e-3f);
    power = _mm512_fmadd_ps(power, off, _mm512_set1_ps(9.67151299e-3f));
    power = _mm512_fmadd_ps(power, off, _mm512_set1_ps(5.55073358e-2f));
    power = _mm512_fmadd_ps(power, off, _mm512_set1_ps(2.40222424e-1f));
    power = _mm512_fmadd_ps(power, off, _mm512_set1_ps(6.93147004e-1f));
    power = _mm512_fmadd_ps(power, off, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(power, whole);
}

/* The largest of so many scores, a multiple of 16, in all of a vector. */
INLINE __m512 largest_score(const float *scores, size_t count)
{
    __m512 largest = _mm512_loadu_ps(scores);
    for (size_t at = WIDTH; at < count; at += WIDTH)
        largest = _mm512_max_ps(largest, _mm512_loadu_ps(scores + at));
    return _mm512_set1_ps(_mm512_reduce_max_ps(largest));
}

/* 16 rows become 16 columns: rows and columns change places in squares of 1, 2, 4 and 8. */
INLINE void turn_square(__m512i rows[WIDTH])
{
    const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
#pragma GCC unroll 4
    for (int side = 1; side < WIDTH; side *= 2) {
        const __m512i sides = _mm512_set1_epi32(side), other = _mm512_set1_epi32(WIDTH);
        const __mmask16 far = _mm512_test_epi32_mask(lanes, sides);
        const __m512i upper = _mm512_mask_add_epi32(lanes, far, lanes, _mm512_sub_epi32(other, sides));
        const __m512i lower = _mm512_mask_add_epi32(_mm512_add_epi32(lanes, sides), far, lanes, other);
#pragma GCC unroll 16
        for (int row = 0; row < WIDTH; row++)
            if (!(row & side)) {
                __m512i one = rows[row], two = rows[row + side];
                rows[row] = _mm512_permutex2var_epi32(one, upper, two);
                rows[row + side] = _mm512_permutex2var_epi32(one, lower, two);
            }
    }
}

/* What so many queries see, in 32 columns. */
INLINE void store_seen(const Attention *a, __m512 seen[][2], size_t query, size_t count, size_t column)
{
    for (size_t r = 0; a->out && r < count; r++)
        for (size_t half = 0; half < 2; half++)
            _mm512_storeu_ps(a->out + (query + r) * a->width + column + half * WIDTH, seen[r][half]);
    if (a->out)
        return;
    for (size_t r = 0; r + 1 < count; r += 2)
        store_two_rows(&a->rounding, seen[r], query + r, column);
    for (size_t half = 0; count % 2 && half < 2; half++)
        store_levels(&a->rounding, seen[count - 1][half], query + count - 1, column + half * WIDTH);
}

/* Of a long text, with AMX: from so many numbers in a head's keys on it is faster. */
enum { LONG = 128 * 64 };

void attend_long_text(const Attention *a, const TextHead *text);

/* Bytes that it works in. */
size_t scratch_of_long_text(size_t head_width, size_t tokens);

#endif
