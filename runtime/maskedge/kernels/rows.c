/* What is done with each token's row by itself: its embedding, its rounding. Widths are multiples of 16. */
#include <string.h>

#include "batch.h"
#include "normalization.h"
#include "team.h"

float gelu_coefficients[4][GELU_PARTS];

/* The cubic of each part of GELU's table goes through four points of it (Chebyshev's), as Newton's differences say. */
EXPORTED void make_gelu_table(void)
{
    for (int part = 0; part < GELU_PARTS; part++) {
        double at[4], difference[4], power[4] = {0};
        for (int i = 0; i < 4; i++) {
            at[i] = 0.5 * cos((2 * i + 1) * M_PI / 8);
            difference[i] = 0.5 * erf((part + at[i]) / GELU_SCALE / sqrt(2.0));
        }
        for (int order = 1; order < 4; order++)
            for (int i = 3; i >= order; i--)
                difference[i] = (difference[i] - difference[i - 1]) / (at[i] - at[i - order]);
        for (int i = 3; i >= 0; i--) { /* the polynomial times (x - at[i]), plus the difference */
            for (int higher = 3; higher > 0; higher--)
                power[higher] = power[higher - 1] - at[i] * power[higher];
            power[0] = difference[i] - at[i] * power[0];
        }
        for (int i = 0; i < 4; i++)
            gelu_coefficients[i][part] = (float)power[i];
    }
}

typedef struct {
    const float *numbers; /* [rows, width] */
    float *row_factors;   /* [rows]: the largest size of each row, by which it was divided; NULL: rows are not */
    const size_t *rows;   /* of a batch */
    size_t width;
    float least; /* that a row is divided by */
    Rounding rounding;
} RowRounding;

EXPORTED void round_rows(const RowRounding *r, const Member *m)
{
    const size_t end = own_end(m, *r->rows, 1);
    for (size_t row = own_first(m, *r->rows, 1); row < end; row++) {
        const float *numbers = r->numbers + row * r->width;
        __m512 share = _mm512_set1_ps(1.0f);
        if (r->row_factors) {
            __m512 largest = _mm512_set1_ps(r->least);
            for (size_t at = 0; at < r->width; at += WIDTH)
                largest = _mm512_max_ps(largest, _mm512_abs_ps(_mm512_loadu_ps(numbers + at)));
            r->row_factors[row] = _mm512_reduce_max_ps(largest);
            share = _mm512_set1_ps(1.0f / r->row_factors[row]);
        }
        for (size_t at = 0; at < r->width; at += WIDTH)
            store_levels(&r->rounding, _mm512_mul_ps(_mm512_loadu_ps(numbers + at), share), row, at);
    }
}

typedef struct {
    const Batch *batch;
    const int8_t *tokens;            /* [vocabulary, width] */
    const float *token_scales;       /* [vocabulary] */
    const float *position_rows;      /* [positions, width] */
    float *out;                      /* [tokens, width]; of one token if it is normalized, and nothing else */
    const Normalization *normalization; /* NULL: it is not */
    size_t width;
} Embedding;

enum { ROWS_AHEAD = 8 /* whose tokens are asked for, as they lie anywhere in memory */ };

INLINE void prefetch_token(const Embedding *e, size_t row)
{
    const int8_t *token = e->tokens + (size_t)e->batch->ids[row] * e->width;
    for (size_t at = 0; at < e->width; at += LINE)
        _mm_prefetch((const char *)token + at, _MM_HINT_T0);
}

/* By one member, as are those below: it takes no time beside the rest. */
EXPORTED void embed_rows(const Embedding *e, const Member *m)
{
    if (m->number)
        return;
    for (size_t row = 0; row < e->batch->tokens; row++) {
        if (row + ROWS_AHEAD < e->batch->tokens)
            prefetch_token(e, row + ROWS_AHEAD);
        const int8_t *token = e->tokens + (size_t)e->batch->ids[row] * e->width;
        const float *position = e->position_rows + (size_t)e->batch->positions[row] * e->width;
        float *out = e->normalization ? e->out : e->out + row * e->width;
        __m512 scale = _mm512_set1_ps(e->token_scales[e->batch->ids[row]]);
        for (size_t at = 0; at < e->width; at += WIDTH) {
            __m512i whole = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(token + at)));
            __m512 number = _mm512_mul_ps(_mm512_cvtepi32_ps(whole), scale);
            _mm512_storeu_ps(out + at, _mm512_add_ps(number, _mm512_loadu_ps(position + at)));
        }
        if (e->normalization)
            normalize(e->normalization, out, row, row + 1);
    }
}

typedef struct {
    const Batch *batch;
    const float *numbers; /* [tokens, width] */
    float *out;           /* [masks, width] */
    size_t width;
} Taking;

EXPORTED void take_rows(const Taking *t, const Member *m)
{
    if (m->number)
        return;
    for (size_t mask = 0; mask < t->batch->masks; mask++) {
        size_t row = (size_t)t->batch->rows_of_masks[mask];
        memcpy(t->out + mask * t->width, t->numbers + row * t->width, t->width * sizeof *t->out);
    }
}

typedef struct {
    const size_t *rows, *gathered; /* of a batch, and those before it */
    const uint8_t *from;           /* floats or levels of the batch's rows */
    uint8_t *to;                   /* and of all */
    size_t bytes;                  /* of a row */
    int32_t in_blocks;             /* whether they are levels */
} Gathering;

/* Puts a batch's rows behind those of the batches before it. */
EXPORTED void gather_rows(const Gathering *g, const Member *m)
{
    if (m->number)
        return;
    if (!g->in_blocks) {
        memcpy(g->to + *g->gathered * g->bytes, g->from, *g->rows * g->bytes);
        return;
    }
    for (size_t row = 0; row < *g->rows; row++)
        for (size_t column = 0; column < g->bytes; column += BLOCK_COLUMNS)
            memcpy(level_at(g->to, *g->gathered + row, column, g->bytes),
                   level_at((uint8_t *)g->from, row, column, g->bytes), BLOCK_COLUMNS);
}

SIZE_OF(round_rows, RowRounding)

SIZE_OF(embed_rows, Embedding)
SIZE_OF(take_rows, Taking)
SIZE_OF(gather_rows, Gathering)
