/* What becomes of a product's sums while they are near. */
#ifndef MASKEDGE_FINISHING_H
#define MASKEDGE_FINISHING_H

#include "product.h"

enum {
    TILE = 32,            /* rows and columns of sums that are made at once */
    PANEL = TILE / WIDTH, /* vectors in a row of them */
    AT_ONCE = 2           /* rows that are finished */
};

/* The sums of a tile, and where what they become goes. */
typedef struct {
    const int32_t *sums; /* [PANEL, TILE, 16] */
    __m512 scales[PANEL], bias[PANEL], shifts[PANEL];
    const float *row_factors, *added; /* at the tile's first row and column, as are the others */
    float *out;
    uint8_t *levels;
    size_t added_stride, out_stride; /* floats between rows */
    size_t rows, row, column, next_block; /* bytes between blocks of rows of levels */
} Tile;

/* What is made: floats, levels, or levels that are multiplied by factors first or have a second term. Where one loop
 * asked which levels they are, GELU's product took a tenth longer. */
enum { TO_FLOATS, TO_LEVELS, TO_TERMS };

INLINE Tile tile_at(const Product *p, const int32_t *sums, size_t first, size_t row, size_t column)
{
    size_t at = row * p->outer + column;
    Tile tile = {.sums = sums, .row = row, .column = column, .added_stride = p->outer, .out_stride = p->outer};
    tile.rows = smaller(TILE, *p->rows - row);
    for (size_t half = 0; half < PANEL; half++) {
        tile.scales[half] = _mm512_loadu_ps(p->scales + column + half * WIDTH);
        tile.bias[half] = _mm512_loadu_ps(p->bias + column + half * WIDTH);
        tile.shifts[half] = _mm512_loadu_ps(p->shifts + column + half * WIDTH);
    }
    tile.row_factors = p->row_factors ? p->row_factors + row : NULL;
    tile.added = p->added ? p->added + at : NULL;
    tile.out = p->out ? p->out + at - (p->normalization ? first * p->outer : 0) : NULL;
    tile.levels = level_at(p->rounding.levels, row, column, p->rounding.columns);
    tile.next_block = BLOCK_ROWS * p->rounding.columns;
    return tile;
}

/* What the product gives for 16 of a row's sums. A plain tile has no factors of rows, and nothing is added. */
INLINE __m512 number_of(const Tile *tile, size_t r, size_t half, const GeluTable *table, const int is_plain)
{
    __m512 sums = _mm512_cvtepi32_ps(_mm512_load_si512(tile->sums + (half * TILE + r) * WIDTH)), number;
    if (!is_plain && tile->row_factors) {
        number = _mm512_fmadd_ps(sums, tile->scales[half], tile->shifts[half]);
        number = _mm512_fmadd_ps(number, _mm512_set1_ps(tile->row_factors[r]), tile->bias[half]);
    } else
        number = _mm512_fmadd_ps(sums, tile->scales[half], tile->bias[half]);
    if (!is_plain && tile->added)
        number = _mm512_add_ps(number, _mm512_loadu_ps(tile->added + r * tile->added_stride + half * WIDTH));
    return table ? gelu(number, table) : number;
}

/* Two rows' levels, of which the first row is even. */
INLINE void finish_levels(const Tile *tile, size_t r, const Grid *grid, const GeluTable *table, const int is_plain)
{
    uint8_t *levels = tile->levels + r / BLOCK_ROWS * tile->next_block + r % BLOCK_ROWS * BLOCK_COLUMNS;
    const __m512 numbers[4] = {number_of(tile, r, 0, table, is_plain), number_of(tile, r, 1, table, is_plain),
                               number_of(tile, r + 1, 0, table, is_plain), number_of(tile, r + 1, 1, table, is_plain)};
    __m512i both = levels_of_four(numbers, grid);
    _mm256_storeu_si256((__m256i *)levels, _mm512_castsi512_si256(both));
    _mm256_storeu_si256((__m256i *)(levels + BLOCK_COLUMNS), _mm512_extracti64x4_epi64(both, 1));
}

/* Makes two rows of a tile's sums what the product gives; of the second there may be memory only. */
INLINE void finish_rows(const Tile *tile, size_t r, const Rounding *rounding, const GeluTable *table, const int to,
                        const int is_plain)
{
    if (to == TO_LEVELS) {
        finish_levels(tile, r, &rounding->grid, table, is_plain);
        return;
    }
    for (size_t row = r; row < smaller(r + AT_ONCE, tile->rows); row++)
        for (size_t half = 0; half < PANEL; half++) {
            __m512 number = number_of(tile, row, half, table, is_plain);
            if (to == TO_FLOATS)
                _mm512_storeu_ps(tile->out + row * tile->out_stride + half * WIDTH, number);
            else
                store_levels(rounding, number, tile->row + row, tile->column + half * WIDTH);
        }
}

/* A tile that is finished in small parts, while the next one is summed. */
typedef struct {
    const Tile *tile;
    const Rounding *rounding;
    const GeluTable *table;
    size_t row;        /* the next one */
    size_t calls, due; /* calls that all parts are spread over, each as far from the next; parts that are due, in calls */
} Finishing;

INLINE Finishing finishing_in(size_t calls, const Tile *tile, const Rounding *rounding, const GeluTable *table)
{
    return (Finishing){tile, rounding, table, .calls = calls};
}

INLINE void finish_part(Finishing *f, const int to, const int is_plain)
{
    for (f->due += TILE / AT_ONCE; f->due >= f->calls; f->due -= f->calls)
        if (f->row < f->tile->rows) {
            finish_rows(f->tile, f->row, f->rounding, f->table, to, is_plain);
            f->row += AT_ONCE;
        }
}

INLINE void finish_rest(Finishing *f, const int to, const int is_plain)
{
    for (; f->row < f->tile->rows; f->row += AT_ONCE)
        finish_rows(f->tile, f->row, f->rounding, f->table, to, is_plain);
}

#endif
