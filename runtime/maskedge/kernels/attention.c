/* Attention of each text's tokens to all its tokens, head by head, in floats. */
#include <string.h>

#include "vectors.h"

enum {
    GROUP = 2 * WIDTH, /* columns that are summed at once: keys, or dimensions of a head */
    QUERIES = 8,       /* rows of them */
    FEW_QUERIES = 4
};

typedef struct {
    const float *queries, *keys, *values; /* [rows, width] each, the heads side by side */
    const int32_t *query_starts;          /* [texts + 1]: the first query of each text */
    const int32_t *starts;                /* [texts + 1]: the first token of each text */
    size_t texts, heads, width, head_width; /* of a head: a multiple of 32 */
    float scale;
    float *out;      /* [queries, width]; NULL where only levels are wanted */
    float *scratch;  /* (head width + 8) times the longest text, up to the next multiple of 32 */
    Rounding rounding;
} Attention;

/* Sums of rows [rows, inner] times columns [inner, 32]. */
INLINE void sum_rows(const float *rows, size_t row_stride, const float *columns, size_t column_stride, size_t inner,
                     const size_t count, __m512 sums[][2])
{
    for (size_t r = 0; r < count; r++)
        sums[r][0] = sums[r][1] = _mm512_setzero_ps();
    for (size_t at = 0; at < inner; at++) {
        __m512 left = _mm512_loadu_ps(columns + at * column_stride);
        __m512 right = _mm512_loadu_ps(columns + at * column_stride + WIDTH);
#pragma GCC unroll 8
        for (size_t r = 0; r < count; r++) {
            __m512 number = _mm512_set1_ps(rows[r * row_stride + at]);
            sums[r][0] = _mm512_fmadd_ps(number, left, sums[r][0]);
            sums[r][1] = _mm512_fmadd_ps(number, right, sums[r][1]);
        }
    }
}

/* Shares [count, stride] before they are divided by their sum, which is returned for each query. */
INLINE void share_out(float *shares, size_t stride, size_t tokens, const size_t count, float *totals)
{
    for (size_t r = 0; r < count; r++) {
        float *row = shares + r * stride;
        for (size_t token = tokens; token < stride; token++)
            row[token] = -INFINITY;
        __m512 most = _mm512_loadu_ps(row), total = _mm512_setzero_ps();
        for (size_t at = WIDTH; at < stride; at += WIDTH)
            most = _mm512_max_ps(most, _mm512_loadu_ps(row + at));
        most = _mm512_set1_ps(_mm512_reduce_max_ps(most));
        for (size_t at = 0; at < stride; at += WIDTH) {
            __m512 share = exp_of_negative(_mm512_sub_ps(_mm512_loadu_ps(row + at), most));
            _mm512_storeu_ps(row + at, share);
            total = _mm512_add_ps(total, share);
        }
        totals[r] = _mm512_reduce_add_ps(total);
    }
}

/* What so many queries of a text's head see. */
INLINE void attend(const Attention *a, size_t query, size_t wanted, size_t head, size_t first, size_t tokens,
                   const float *keys, float *shares, const size_t count)
{
    size_t stride = (tokens + GROUP - 1) / GROUP * GROUP, offset = head * a->head_width;
    __m512 sums[QUERIES][2];
    float totals[QUERIES];
    for (size_t key = 0; key < stride; key += GROUP) {
        sum_rows(a->queries + query * a->width + offset, a->width, keys + key, stride, a->head_width, count, sums);
        for (size_t r = 0; r < count; r++)
            for (size_t half = 0; half < 2; half++)
                _mm512_storeu_ps(shares + r * stride + key + half * WIDTH,
                                 _mm512_mul_ps(sums[r][half], _mm512_set1_ps(a->scale)));
    }
    share_out(shares, stride, tokens, count, totals);
    for (size_t column = offset; column < offset + a->head_width; column += GROUP) {
        sum_rows(shares, stride, a->values + first * a->width + column, a->width, tokens, count, sums);
        for (size_t r = 0; r < wanted; r++)
            for (size_t half = 0; half < 2; half++) {
                __m512 seen = _mm512_div_ps(sums[r][half], _mm512_set1_ps(totals[r]));
                size_t at = column + half * WIDTH;
                if (a->out)
                    _mm512_storeu_ps(a->out + (query + r) * a->width + at, seen);
                else
                    store_levels(&a->rounding, seen, query + r, at);
            }
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

/* Keys [tokens, head width] -> [head width, stride], 0 beyond the tokens. */
INLINE void transpose(const float *keys, size_t width, size_t head_width, size_t tokens, size_t stride, float *turned)
{
    for (size_t token = 0; token < stride; token += WIDTH)
        for (size_t column = 0; column < head_width; column += WIDTH) {
            __m512 square[WIDTH];
#pragma GCC unroll 16
            for (size_t row = 0; row < WIDTH; row++)
                square[row] = token + row < tokens ? _mm512_loadu_ps(keys + (token + row) * width + column)
                                                   : _mm512_setzero_ps();
            turn_square(square);
#pragma GCC unroll 16
            for (size_t row = 0; row < WIDTH; row++)
                _mm512_storeu_ps(turned + (column + row) * stride + token, square[row]);
        }
}

EXPORTED void attend_texts(const Attention *a)
{
    for (size_t text = 0; text < a->texts; text++) {
        size_t first = a->starts[text], tokens = a->starts[text + 1] - first;
        size_t stride = (tokens + GROUP - 1) / GROUP * GROUP;
        float *keys = a->scratch, *shares = keys + a->head_width * stride;
        for (size_t head = 0; head < a->heads; head++) {
            transpose(a->keys + first * a->width + head * a->head_width, a->width, a->head_width, tokens, stride, keys);
            size_t query = a->query_starts[text], last = a->query_starts[text + 1];
            for (; query + FEW_QUERIES < last; query += QUERIES)
                attend(a, query, last - query < QUERIES ? last - query : QUERIES, head, first, tokens, keys, shares, QUERIES);
            if (query < last)
                attend(a, query, last - query, head, first, tokens, keys, shares, FEW_QUERIES);
        }
    }
}

SIZE_OF(attend_texts, Attention)
