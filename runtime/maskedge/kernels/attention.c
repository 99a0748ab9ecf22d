/* Attention of each text's tokens to all its tokens, head by head, in floats. */
#include <float.h>
#include <string.h>

#include "batch.h"
#include "product.h"

enum {
    GROUP = 2 * WIDTH, /* columns that are summed at once: keys, or dimensions of a head */
    QUERIES = 8,       /* rows of them */
    FEW_QUERIES = 4
};

/* What took registers from the sums before it was kept apart, and later: a third of their time. */
#define APART static __attribute__((noinline))
#define LATER() __asm__ volatile("" ::: "memory") /* what follows is not read before */

/* Queries, keys or values of all heads side by side; or of one at a time, from a product. */
typedef struct {
    const float *numbers;   /* [rows, stride] */
    size_t stride;          /* the width of all heads, or of one */
    const Product *product; /* NULL: all heads are there */
} Projection;

typedef struct {
    Projection queries, keys, values;
    const Batch *batch;
    int32_t at_masks;                /* whether queries are masks, and not tokens */
    size_t heads, width, head_width; /* of a head: a multiple of 32 */
    float scale;
    float *out;      /* [queries, width]; NULL where only levels are wanted */
    float *scratch;  /* (2 * head width + 8) times the longest text, up to the next multiple of 32 */
    Rounding rounding;
} Attention;

/* Sums of rows [rows, inner] times columns [inner, 32], or the first 16 of them. */
INLINE void sum_rows(const float *rows, size_t row_stride, const float *columns, size_t column_stride, size_t inner,
                     const size_t count, const size_t halves, __m512 sums[][2])
{
    for (size_t r = 0; r < count; r++)
        sums[r][0] = sums[r][1] = _mm512_setzero_ps();
    for (size_t at = 0; at < inner; at++) {
        __m512 left = _mm512_loadu_ps(columns + at * column_stride), right = left;
        if (halves == 2)
            right = _mm512_loadu_ps(columns + at * column_stride + WIDTH);
#pragma GCC unroll 8
        for (size_t r = 0; r < count; r++) {
            __m512 number = _mm512_set1_ps(rows[r * row_stride + at]);
            sums[r][0] = _mm512_fmadd_ps(number, left, sums[r][0]);
            if (halves == 2)
                sums[r][1] = _mm512_fmadd_ps(number, right, sums[r][1]);
        }
    }
}

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

/* Shares [count, stride] before they are divided by their sum, which is returned for each query. */
APART void share_out(float *shares, size_t stride, size_t count, float *totals)
{
    for (size_t r = 0; r < count; r++) {
        float *row = shares + r * stride;
        __m512 most = _mm512_loadu_ps(row), total = _mm512_setzero_ps();
        for (size_t at = WIDTH; at < stride; at += WIDTH)
            most = _mm512_max_ps(most, _mm512_loadu_ps(row + at));
        most = _mm512_set1_ps(_mm512_reduce_max_ps(most));
        for (size_t at = 0; at < stride; at += WIDTH) {
            __m512 share = power_of_two(_mm512_sub_ps(_mm512_loadu_ps(row + at), most));
            _mm512_storeu_ps(row + at, share);
            total = _mm512_add_ps(total, share);
        }
        totals[r] = _mm512_reduce_add_ps(total);
    }
}

/* A head's keys and values of a text, in the order in which they are read: of 32 tokens the first dimension, the second;
 * of 32 dimensions the first token, the second. Where they lie first, rows are so far apart that few of them fit into the
 * nearest cache. */
typedef struct {
    float *keys, *values;  /* [stride / 32 rounded up, head width, 32], [head width / 32, stride, 32] */
    float *shares;         /* [8, stride] */
    size_t tokens, stride; /* stride: tokens up to the next multiple of 16 */
} HeadOfText;

/* Scores of 32 keys or 16, as powers of 2; of no token, one whose share is 0. What was stored alone could not be read in
 * a vector at once. */
INLINE void score(const Attention *a, const float *queries, const HeadOfText *text, size_t key, const size_t count,
                  const size_t halves)
{
    const __m512 scale = _mm512_set1_ps(a->scale * (float)M_LOG2E), none = _mm512_set1_ps(-FLT_MAX);
    __m512 sums[QUERIES][2];
    sum_rows(queries, a->queries.stride, text->keys + key * a->head_width, GROUP, a->head_width, count, halves, sums);
#pragma GCC unroll 2
    for (size_t half = 0; half < halves; half++) {
        size_t first = key + half * WIDTH;
        __mmask16 are_tokens = (__mmask16)((1u << smaller(text->tokens - first, WIDTH)) - 1);
#pragma GCC unroll 8
        for (size_t r = 0; r < count; r++)
            _mm512_storeu_ps(text->shares + r * text->stride + first,
                             _mm512_mask_mul_ps(none, are_tokens, sums[r][half], scale));
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

/* What so many queries of a text's head see. */
INLINE void attend(const Attention *a, const float *queries, size_t query, size_t wanted, size_t head,
                   const HeadOfText *text, const size_t count)
{
    size_t offset = head * a->head_width, stride = a->queries.stride;
    __m512 sums[QUERIES][2];
    float totals[QUERIES];
    size_t key = 0;
    for (; key + WIDTH < text->stride; key += GROUP)
        score(a, queries + query * stride, text, key, count, 2);
    if (key < text->stride)
        score(a, queries + query * stride, text, key, count, 1);
    share_out(text->shares, text->stride, count, totals);
    for (size_t column = 0; column < a->head_width; column += GROUP) {
        sum_rows(text->shares, text->stride, text->values + column * text->stride, GROUP, text->tokens, count, 2, sums);
        LATER();
        for (size_t r = 0; r < count; r++)
            for (size_t half = 0; half < 2; half++)
                sums[r][half] = _mm512_mul_ps(sums[r][half], _mm512_set1_ps(1.0f / totals[r]));
        store_seen(a, sums, query, wanted, offset + column);
    }
}

/* 16 rows become 16 columns: rows and columns change places in squares of 1, 2, 4 and 8. */
INLINE void turn_square(__m512 rows[WIDTH])
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
                __m512 one = rows[row], two = rows[row + side];
                rows[row] = _mm512_permutex2var_ps(one, upper, two);
                rows[row + side] = _mm512_permutex2var_ps(one, lower, two);
            }
    }
}

/* Keys as HeadOfText has them, 0 beyond the tokens. */
APART void order_keys(const float *keys, size_t width, size_t head_width, size_t tokens, size_t stride, float *ordered)
{
    for (size_t token = 0; token < stride; token += WIDTH)
        for (size_t column = 0; column < head_width; column += WIDTH) {
            __m512 square[WIDTH];
            float *to = ordered + token / GROUP * GROUP * head_width + token % GROUP;
#pragma GCC unroll 16
            for (size_t row = 0; row < WIDTH; row++)
                square[row] = token + row < tokens ? _mm512_loadu_ps(keys + (token + row) * width + column)
                                                   : _mm512_setzero_ps();
            turn_square(square);
#pragma GCC unroll 16
            for (size_t row = 0; row < WIDTH; row++)
                _mm512_storeu_ps(to + (column + row) * GROUP, square[row]);
        }
}

APART void order_values(const float *values, size_t width, size_t head_width, size_t tokens, size_t stride, float *ordered)
{
    for (size_t token = 0; token < tokens; token++)
        for (size_t column = 0; column < head_width; column += WIDTH)
            _mm512_storeu_ps(ordered + column / GROUP * GROUP * stride + token * GROUP + column % GROUP,
                             _mm512_loadu_ps(values + token * width + column));
}

/* The numbers of a head, whose first row this is. */
INLINE const float *of_head(const Projection *p, size_t head, size_t head_width)
{
    if (!p->product)
        return p->numbers + head * head_width;
    multiply_columns(p->product, head * head_width, head_width);
    return p->numbers;
}

INLINE void attend_text(const Attention *a, size_t number, size_t head, const float *queries, const float *keys,
                        const float *values)
{
    const int64_t *starts = a->batch->starts, *query_starts = a->at_masks ? a->batch->mask_starts : starts;
    size_t first = (size_t)starts[number], tokens = (size_t)starts[number + 1] - first;
    size_t stride = (tokens + WIDTH - 1) / WIDTH * WIDTH, size = a->head_width * ((stride + GROUP - 1) / GROUP * GROUP);
    HeadOfText text = {a->scratch, a->scratch + size, a->scratch + 2 * size, tokens, stride};
    order_keys(keys + first * a->keys.stride, a->keys.stride, a->head_width, tokens, stride, text.keys);
    order_values(values + first * a->values.stride, a->values.stride, a->head_width, tokens, stride, text.values);
    size_t query = (size_t)query_starts[number], last = (size_t)query_starts[number + 1];
    for (; query + FEW_QUERIES < last; query += QUERIES)
        attend(a, queries, query, smaller(last - query, QUERIES), head, &text, QUERIES);
    if (query < last)
        attend(a, queries, query, last - query, head, &text, FEW_QUERIES);
}

/* Head by head: what products make of one stays in a core's cache until it has been attended to. */
EXPORTED void attend_texts(const Attention *a)
{
    for (size_t head = 0; head < a->heads; head++) {
        const float *queries = of_head(&a->queries, head, a->head_width);
        const float *keys = of_head(&a->keys, head, a->head_width);
        const float *values = of_head(&a->values, head, a->head_width);
        for (size_t number = 0; number < a->batch->texts; number++)
            attend_text(a, number, head, queries, keys, values);
    }
}

SIZE_OF(attend_texts, Attention)
