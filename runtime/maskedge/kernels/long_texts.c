/* Attention in long texts, whose products AMX makes from three terms of 8 bits, several times as fast as from floats. */
#include <float.h>
#include <string.h>

#include "attention.h"
#include "terms.h"

typedef struct {
    size_t tokens, stride, parts, token_parts; /* stride: tokens up to the next multiple of 64 */
    size_t apart; /* scores of a query from those of the next: were it a multiple of 64, they would take each other's place
                     in the nearest cache */
    float key_steps, value_steps;
    int8_t *keys, *values;     /* columns [stride / 16, parts], [parts * 4, token parts] */
    int8_t *queries, *shares;  /* rows [2, parts], [2, token parts], of 32 queries */
    float *scores;             /* [32, apart] */
} LongText;

/* Tokens among 16 places from one on: there may be none left. */
INLINE size_t tokens_from(const LongText *text, size_t place)
{
    return text->tokens > place ? smaller(text->tokens - place, WIDTH) : 0;
}

/* The largest size of any number of some rows. */
INLINE float largest_of(const float *rows, size_t count, size_t stride, size_t width)
{
    enum { LARGEST = 3, WITHOUT_SIGN = 2 << 2 };
    __m512 largest = _mm512_setzero_ps(), other = _mm512_setzero_ps();
    for (size_t row = 0; row < count; row++)
        for (size_t at = 0; at < width; at += 2 * WIDTH) {
            const float *numbers = rows + row * stride + at;
            largest = _mm512_range_ps(largest, _mm512_loadu_ps(numbers), LARGEST | WITHOUT_SIGN);
            other = _mm512_range_ps(other, _mm512_loadu_ps(numbers + WIDTH), LARGEST | WITHOUT_SIGN);
        }
    return _mm512_reduce_max_ps(_mm512_max_ps(largest, other));
}

/* The terms of a row's next 64 numbers, 0 beyond its last. */
INLINE void split_row(const float *row, size_t left, __m512 steps, __m512i terms[TERMS])
{
    __m512 numbers[4];
#pragma GCC unroll 4
    for (size_t each = 0; each < 4; each++)
        numbers[each] = each * WIDTH < left ? _mm512_loadu_ps(row + each * WIDTH) : _mm512_setzero_ps();
    split(numbers, steps, terms);
}

/* Keys as columns, 0 beyond the tokens. */
APART void order_keys(LongText *text, const float *keys, size_t stride, size_t width)
{
    text->key_steps = steps_of(largest_of(keys, text->tokens, stride, width));
    const __m512 steps = _mm512_set1_ps(text->key_steps);
    int8_t *columns = text->keys;
    for (size_t token = 0; token < text->stride; token += WIDTH)
        for (size_t part = 0; part < text->parts; part++, columns += PART_BYTES) {
            __m512i squares[TERMS][WIDTH];
            memset(squares, 0, sizeof squares);
            for (size_t row = 0; row < tokens_from(text, token); row++) {
                __m512i terms[TERMS];
                split_row(keys + (token + row) * stride + part * PART, width - part * PART, steps, terms);
                for (size_t term = 0; term < TERMS; term++)
                    squares[term][row] = terms[term];
            }
            for (size_t term = 0; term < TERMS; term++) {
                turn_square(squares[term]);
                for (size_t row = 0; row < WIDTH; row++)
                    _mm512_store_si512(columns + term * TILE_BYTES + row * LINE, squares[term][row]);
            }
        }
}

/* Four rows of 64 bytes become 4 of which each four bytes are one column's. */
INLINE void weave(const __m512i rows[4], __m512i woven[4])
{
    __m512i one = _mm512_unpacklo_epi8(rows[0], rows[1]), two = _mm512_unpacklo_epi8(rows[2], rows[3]);
    __m512i three = _mm512_unpackhi_epi8(rows[0], rows[1]), four = _mm512_unpackhi_epi8(rows[2], rows[3]);
    woven[0] = _mm512_unpacklo_epi16(one, two);
    woven[1] = _mm512_unpackhi_epi16(one, two);
    woven[2] = _mm512_unpacklo_epi16(three, four);
    woven[3] = _mm512_unpackhi_epi16(three, four);
}

/* Values as columns, 0 beyond the tokens: each dimension's are for all tokens. */
APART void order_values(LongText *text, const float *values, size_t stride, size_t width)
{
    text->value_steps = steps_of(largest_of(values, text->tokens, stride, width));
    const __m512 steps = _mm512_set1_ps(text->value_steps);
    const size_t next = text->token_parts * PART_BYTES; /* 16 dimensions */
    for (size_t token = 0; token < text->stride; token += 4)
        for (size_t part = 0; part < text->parts; part++) {
            size_t row = token % WIDTH + token % PART / WIDTH; /* where rows' terms have these four */
            int8_t *columns = text->values + 4 * part * next + token / PART * PART_BYTES + row * LINE;
            __m512i terms[4][TERMS];
            memset(terms, 0, sizeof terms);
            for (size_t each = 0; each < 4 && token + each < text->tokens; each++)
                split_row(values + (token + each) * stride + part * PART, width - part * PART, steps, terms[each]);
            for (size_t term = 0; term < TERMS; term++) {
                const __m512i rows[4] = {terms[0][term], terms[1][term], terms[2][term], terms[3][term]};
                __m512i woven[4];
                weave(rows, woven);
                for (size_t each = 0; each < 4; each++)
                    _mm512_store_si512(columns + each * next + term * TILE_BYTES, woven[each]);
            }
        }
}

INLINE void store_row(int8_t *rows, size_t row, size_t part, size_t parts, const __m512i terms[TERMS])
{
    int8_t *to = rows + (row / BLOCK_ROWS * parts + part) * PART_BYTES + row % BLOCK_ROWS * LINE;
    for (size_t term = 0; term < TERMS; term++)
        _mm512_store_si512(to + term * TILE_BYTES, terms[term]);
}

/* Queries as rows, each in steps of its own; and what their sums with keys are multiplied by. */
APART void order_queries(const LongText *text, const float *queries, size_t stride, size_t width, size_t count,
                         float scale, float *factors)
{
    for (size_t row = 0; row < count; row++, queries += stride) {
        float steps = steps_of(largest_of(queries, 1, stride, width));
        factors[row] = scale * (float)M_LOG2E * (PRODUCT_STEPS / steps) / text->key_steps;
        for (size_t part = 0; part < text->parts; part++) {
            __m512i terms[TERMS];
            split_row(queries + part * PART, width - part * PART, _mm512_set1_ps(steps), terms);
            store_row(text->queries, row, part, text->parts, terms);
        }
    }
}

/* Sums that become scores of 16 keys, as powers of 2; of no token, one whose share is 0. */
typedef struct {
    const int32_t *sums;
    const float *factors;
    float *scores;            /* of the first query */
    size_t row, count, apart;
    __mmask16 are_tokens;
} Scoring;

INLINE void score_rows(Scoring *s, size_t end)
{
    for (end = smaller(end, s->count); s->row < end; s->row++)
        _mm512_storeu_ps(s->scores + s->row * s->apart,
                         _mm512_mask_mul_ps(_mm512_set1_ps(-FLT_MAX), s->are_tokens, sum_at(s->sums, s->row),
                                            _mm512_set1_ps(s->factors[s->row])));
}

INLINE void score_some(void *scoring)
{
    Scoring *s = scoring;
    score_rows(s, s->row + (ROWS + PRODUCTS - 1) / PRODUCTS);
}

/* Scores of some queries. */
APART void score(const LongText *text, const float *factors, size_t count)
{
    int32_t sums[2][TERMS * ROWS * WIDTH] __attribute__((aligned(64)));
    Scoring before = {.row = 0, .count = 0};
    for (size_t key = 0; key < text->stride; key += WIDTH) {
        int32_t *made = sums[key / WIDTH % 2];
        __mmask16 are_tokens = (__mmask16)((1u << tokens_from(text, key)) - 1);
        sum_terms(text->queries, text->keys + key / WIDTH * text->parts * PART_BYTES, text->parts, made, score_some, &before);
        score_rows(&before, ROWS);
        before = (Scoring){made, factors, text->scores + key, 0, count, text->apart, are_tokens};
    }
    score_rows(&before, ROWS);
}

/* Queries' scores become rows of shares before they are divided by their sum; and the factors what the sums of values are
 * multiplied by. */
APART void share_out(const LongText *text, size_t count, float *factors)
{
    const float factor = PRODUCT_STEPS / MOST_STEPS / text->value_steps;
    for (size_t row = 0; row < count; row++) {
        const float *scores = text->scores + row * text->apart;
        __m512 most = largest_score(scores, text->stride), total = _mm512_setzero_ps();
        for (size_t part = 0; part < text->token_parts; part++) {
            __m512 shares[4];
            __m512i terms[TERMS];
#pragma GCC unroll 4
            for (size_t each = 0; each < 4; each++) {
                shares[each] = power_of_two(_mm512_sub_ps(_mm512_loadu_ps(scores + part * PART + each * WIDTH), most));
                total = _mm512_add_ps(total, shares[each]);
            }
            split(shares, _mm512_set1_ps(MOST_STEPS), terms);
            store_row(text->shares, row, part, text->token_parts, terms);
        }
        factors[row] = factor / _mm512_reduce_add_ps(total);
    }
}

/* Sums that become what queries see, in 32 columns. */
typedef struct {
    const Attention *a;
    const int32_t *sums[2]; /* of 16 columns each */
    const float *factors;
    size_t query, column, row, count;
} Seeing;

INLINE void see_rows(Seeing *s, size_t end)
{
    for (end = smaller(end, s->count); s->row < end; s->row += 2) {
        __m512 seen[2][2];
        for (size_t each = 0; each < 2; each++)
            for (size_t half = 0; half < 2; half++)
                seen[each][half] = _mm512_mul_ps(sum_at(s->sums[half], s->row + each),
                                                 _mm512_set1_ps(s->factors[s->row + each]));
        store_seen(s->a, seen, s->query + s->row, smaller(2, s->count - s->row), s->column);
    }
}

INLINE void see_some(void *seeing)
{
    Seeing *s = seeing;
    see_rows(s, s->row + 2);
}

/* What so many queries see. */
APART void see(const Attention *a, const LongText *text, const float *factors, size_t query, size_t count, size_t head)
{
    int32_t sums[2][2][TERMS * ROWS * WIDTH] __attribute__((aligned(64)));
    const size_t next = text->token_parts * PART_BYTES;
    Seeing before = {.row = 0, .count = 0};
    for (size_t column = 0; column < a->head_width; column += 2 * WIDTH) {
        int32_t (*made)[TERMS * ROWS * WIDTH] = sums[column / WIDTH / 2 % 2];
        for (size_t half = 0; half < 2; half++)
            sum_terms(text->shares, text->values + (column / WIDTH + half) * next, text->token_parts, made[half],
                      see_some, &before);
        see_rows(&before, ROWS);
        before = (Seeing){a, {made[0], made[1]}, factors, query, head * a->head_width + column, 0, count};
    }
    see_rows(&before, ROWS);
}

/* Where a text's terms and scores are. */
INLINE LongText long_text(int8_t *scratch, size_t head_width, size_t tokens)
{
    size_t token_parts = (tokens + PART - 1) / PART, stride = token_parts * PART;
    LongText text = {.tokens = tokens, .stride = stride, .token_parts = token_parts, .apart = stride + WIDTH};
    text.parts = (head_width + PART - 1) / PART;
    text.queries = scratch;
    text.shares = text.queries + 2 * text.parts * PART_BYTES;
    text.keys = text.shares + 2 * token_parts * PART_BYTES;
    text.values = text.keys + stride / WIDTH * text.parts * PART_BYTES;
    text.scores = (float *)(text.values + 4 * text.parts * token_parts * PART_BYTES);
    return text;
}

size_t scratch_of_long_text(size_t head_width, size_t tokens)
{
    LongText text = long_text(NULL, head_width, tokens);
    return (size_t)(text.scores + ROWS * text.apart);
}

void attend_long_text(const Attention *a, const TextHead *of)
{
    LongText text = long_text((int8_t *)of->scratch, a->head_width, of->tokens);
    float factors[ROWS + 1] = {0};
    order_keys(&text, of->keys + of->first * a->keys.stride, a->keys.stride, a->head_width);
    order_values(&text, of->values + of->first * a->values.stride, a->values.stride, a->head_width);
    take_tiles();
    for (size_t query = of->query; query < of->last; query += ROWS) {
        size_t count = smaller(of->last - query, ROWS);
        order_queries(&text, of->queries + query * a->queries.stride, a->queries.stride, a->head_width, count, a->scale,
                      factors);
        score(&text, factors, count);
        share_out(&text, count, factors);
        see(a, &text, factors, query, count, of->head);
    }
    _tile_release();
}
