/* Attention of each text's tokens to all its tokens, head by head, in floats, but for long texts where there is AMX. */
#include <float.h>
#include <string.h>

#include "attention.h"

enum {
    GROUP = 2 * WIDTH, /* columns that are summed at once: keys, or dimensions of a head */
    QUERIES = 8,       /* rows of them */
    FEW_QUERIES = 4
};

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

/* Shares [count, stride] before they are divided by their sum, which is returned for each query. */
APART void share_out(float *shares, size_t stride, size_t count, float *totals)
{
    for (size_t r = 0; r < count; r++) {
        float *row = shares + r * stride;
        __m512 most = largest_score(row, stride), total = _mm512_setzero_ps();
        for (size_t at = 0; at < stride; at += WIDTH) {
            __m512 share = power_of_two(_mm512_sub_ps(_mm512_loadu_ps(row + at), most));
            _mm512_storeu_ps(row + at, share);
            total = _mm512_add_ps(total, share);
        }
        totals[r] = _mm512_reduce_add_ps(total);
    }
}

/* A head of a text. Keys are in the order in which they are read: of 32 tokens the first dimension, the second. */
typedef struct {
    float *keys;           /* [stride / 32 rounded up, head width, 32] */
    float *shares;         /* [8, stride] */
    const float *values;   /* of the first token */
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
        sum_rows(text->shares, text->stride, text->values + column, a->values.stride, text->tokens, count, 2, sums);
        __asm__ volatile("" ::: "memory"); /* what is only needed from here on is not read before, as in APART */
        for (size_t r = 0; r < count; r++)
            for (size_t half = 0; half < 2; half++)
                sums[r][half] = _mm512_mul_ps(sums[r][half], _mm512_set1_ps(1.0f / totals[r]));
        store_seen(a, sums, query, wanted, offset + column);
    }
}

/* Keys as HeadOfText has them, 0 beyond the tokens. */
APART void order_keys(const float *keys, size_t width, size_t head_width, size_t tokens, size_t stride, float *ordered)
{
    for (size_t token = 0; token < stride; token += WIDTH)
        for (size_t column = 0; column < head_width; column += WIDTH) {
            __m512i square[WIDTH];
            float *to = ordered + token / GROUP * GROUP * head_width + token % GROUP;
#pragma GCC unroll 16
            for (size_t row = 0; row < WIDTH; row++)
                square[row] = token + row < tokens ? _mm512_loadu_si512(keys + (token + row) * width + column)
                                                   : _mm512_setzero_si512();
            turn_square(square);
#pragma GCC unroll 16
            for (size_t row = 0; row < WIDTH; row++)
                _mm512_storeu_si512(to + (column + row) * GROUP, square[row]);
        }
}

/* The numbers of a head, whose first row this is. */
INLINE const float *of_head(const Projection *p, size_t head, size_t head_width, const Member *m)
{
    if (!p->product)
        return p->numbers + head * head_width;
    multiply_columns(p->product, head * head_width, head_width, m->number * p->room);
    return p->numbers + m->number * p->room;
}

/* Where a text's keys and shares are. */
INLINE HeadOfText head_of_text(float *scratch, size_t head_width, size_t tokens)
{
    size_t stride = (tokens + WIDTH - 1) / WIDTH * WIDTH, size = head_width * ((stride + GROUP - 1) / GROUP * GROUP);
    return (HeadOfText){.keys = scratch, .shares = scratch + size, .tokens = tokens, .stride = stride};
}

/* Bytes that attention works in, of texts that are not longer. */
EXPORTED size_t scratch_of_attention(size_t head_width, size_t longest)
{
    HeadOfText text = head_of_text(NULL, head_width, longest);
    size_t floats = (size_t)(text.shares + QUERIES * text.stride), terms = scratch_of_long_text(head_width, longest);
    return floats > terms ? floats : terms;
}

INLINE void attend_text(const Attention *a, const TextHead *of)
{
    HeadOfText text = head_of_text((float *)of->scratch, a->head_width, of->tokens);
    order_keys(of->keys + of->first * a->keys.stride, a->keys.stride, a->head_width, of->tokens, text.stride, text.keys);
    text.values = of->values + of->first * a->values.stride;
    size_t query = of->query;
    for (; query + FEW_QUERIES < of->last; query += QUERIES)
        attend(a, of->queries, query, smaller(of->last - query, QUERIES), of->head, &text, QUERIES);
    if (query < of->last)
        attend(a, of->queries, query, of->last - query, of->head, &text, FEW_QUERIES);
}

/* Head by head: what products make of one stays in a core's cache until it has been attended to. */
EXPORTED void attend_texts(const Attention *a, const Member *m)
{
    const int64_t *starts = a->batch->starts, *query_starts = a->at_masks ? a->batch->mask_starts : starts;
    const size_t end = own_end(m, a->heads, 1);
    for (size_t head = own_first(m, a->heads, 1); head < end; head++) {
        TextHead of = {.head = head, .scratch = a->scratch + m->number * a->scratch_bytes};
        of.queries = of_head(&a->queries, head, a->head_width, m);
        of.keys = of_head(&a->keys, head, a->head_width, m);
        of.values = of_head(&a->values, head, a->head_width, m);
        for (size_t number = 0; number < a->batch->texts; number++) {
            of.first = (size_t)starts[number], of.tokens = (size_t)starts[number + 1] - of.first;
            of.query = (size_t)query_starts[number], of.last = (size_t)query_starts[number + 1];
            if (a->has_amx && of.tokens * a->head_width >= LONG)
                attend_long_text(a, &of);
            else
                attend_text(a, &of);
        }
    }
}

SIZE_OF(attend_texts, Attention)
