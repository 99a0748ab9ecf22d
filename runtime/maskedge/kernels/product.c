/* Products of levels of 8 bits and weights of 8 bits, and what is done with each sum while it is near: scales, bias,
 * what is added, GELU, and rounding to the next product's levels. */
#include <string.h>

#include "amx.h"
#include "finishing.h"

enum {
    ROWS_AT_ONCE = 8,          /* of which sums stay in registers, without AMX */
    CACHED_LEVELS = 800 << 10, /* bytes of levels that stay in a core's cache, of 2 MB where there is AMX, while all
                                  weights pass */
    STEP = 1024, /* levels of a row whose weights stay in the nearest cache while rows pass */
    TILES_TOGETHER = CACHED_LEVELS / STEP / TILE /* of rows with more levels */
};

/* Weights [inner, outer] as products read them: 64 rows of 16 columns make a tile of 1 kB, in which four rows' weights
 * of a column lie side by side. Rows and columns beyond the last are 0. `sums` [outer] are those of the columns. */
EXPORTED void pack_weights(const int8_t *weights, size_t inner, size_t outer, size_t row_stride, size_t column_stride,
                           int8_t *packed, int32_t *sums)
{
    size_t rows = (inner + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS * BLOCK_COLUMNS;
    memset(packed, 0, rows * ((outer + TILE - 1) / TILE * TILE));
    memset(sums, 0, outer * sizeof *sums);
    for (size_t first = 0; first < outer; first += WIDTH) {
        size_t columns = smaller(WIDTH, outer - first);
        for (size_t row = 0; row < inner; row++) {
            const int8_t *from = weights + row * row_stride + first * column_stride;
            int8_t *to = packed + first * rows + row / 4 * 4 * WIDTH + row % 4;
            for (size_t column = 0; column < columns; column++) {
                to[4 * column] = from[column * column_stride];
                sums[first + column] += from[column * column_stride];
            }
        }
    }
}

/* The sums of 32 rows and columns, over some of the inner levels or all: those before are there, if it is not the first. */
typedef struct {
    const Product *product;
    int32_t *sums;
    size_t row, column, first, count;
} Step;

/* Asks for the weights of the next columns, while these are multiplied: so many lines of the caches for each 64 levels. */
typedef struct {
    const int8_t *next;
    size_t lines;
} Prefetching;

/* Those that a step asks for, which is one of so many with the same levels. */
INLINE Prefetching weights_after(const Step *s, size_t part, size_t parts)
{
    size_t lines = (TILE + parts - 1) / parts, before = part * lines;
    const int8_t *columns = s->product->weights + (s->column + TILE) * s->product->inner;
    return (Prefetching){columns + s->first * TILE + before * s->count, before < TILE ? lines : 0};
}

INLINE void prefetch_part(Prefetching *weights)
{
    for (size_t line = 0; line < weights->lines; line++, weights->next += LINE)
        _mm_prefetch((const char *)weights->next, _MM_HINT_T1);
}

INLINE void begin_sums(const Step *s)
{
    if (s->first == 0) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        return;
    }
    _tile_loadd(0, s->sums, BLOCK_COLUMNS);
    _tile_loadd(2, s->sums + BLOCK_ROWS * WIDTH, BLOCK_COLUMNS);
    _tile_loadd(1, s->sums + TILE * WIDTH, BLOCK_COLUMNS);
    _tile_loadd(3, s->sums + (TILE + BLOCK_ROWS) * WIDTH, BLOCK_COLUMNS);
}

INLINE void keep_sums(const Step *s)
{
    _tile_stored(0, s->sums, BLOCK_COLUMNS);
    _tile_stored(2, s->sums + BLOCK_ROWS * WIDTH, BLOCK_COLUMNS);
    _tile_stored(1, s->sums + TILE * WIDTH, BLOCK_COLUMNS);
    _tile_stored(3, s->sums + (TILE + BLOCK_ROWS) * WIDTH, BLOCK_COLUMNS);
}

/* Sums a tile, while another is finished. The CPU multiplies tiles beside its vectors, if the instructions of both are
 * mixed: with what is finished after each instruction of AMX, GELU's product took 0.7 of the time that it took when all
 * of a step's came together. Levels are streamed, for they would drive the columns' weights, which the next rows need
 * again, out of the nearest cache: products of 768 levels took 0.8 of the time. */
INLINE void sum_with_amx(const Step *s, Prefetching ahead, Finishing f, const int to, const int is_plain)
{
    const size_t size = s->count * BLOCK_ROWS, next = TILE_BYTES, below = s->product->inner * BLOCK_ROWS;
    const uint8_t *upper = s->product->levels + s->row * s->product->inner + s->first * BLOCK_ROWS, *lower = upper + below;
    const int8_t *left = s->product->weights + s->column * s->product->inner + s->first * WIDTH, *right = left + below;
    begin_sums(s);
    _tile_stream_loadd(4, upper, BLOCK_COLUMNS);
    _tile_loadd(6, left, BLOCK_COLUMNS);
    _tile_loadd(7, right, BLOCK_COLUMNS);
    _tile_stream_loadd(5, lower, BLOCK_COLUMNS);
    for (size_t at = next; at < size; at += next) {
        _tile_dpbusd(0, 4, 6);
        prefetch_part(&ahead);
        finish_part(&f, to, is_plain);
        _tile_dpbusd(1, 4, 7);
        _tile_stream_loadd(4, upper + at, BLOCK_COLUMNS);
        finish_part(&f, to, is_plain);
        _tile_dpbusd(2, 5, 6);
        _tile_loadd(6, left + at, BLOCK_COLUMNS);
        finish_part(&f, to, is_plain);
        _tile_dpbusd(3, 5, 7);
        _tile_loadd(7, right + at, BLOCK_COLUMNS);
        _tile_stream_loadd(5, lower + at, BLOCK_COLUMNS);
        finish_part(&f, to, is_plain);
    }
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(1, 4, 7);
    _tile_dpbusd(2, 5, 6);
    _tile_dpbusd(3, 5, 7);
    prefetch_part(&ahead);
    finish_rest(&f, to, is_plain);
    keep_sums(s);
}

/* Sums a tile, four levels of a row and four weights of 16 columns at a time. What is known of a block's addresses costs
 * nothing: where the innermost loop was unrolled less than all of it, products took up to a quarter longer. */
APART void sum_with_vnni(const Step *s)
{
    const Product *p = s->product;
    size_t steps = p->inner / BLOCK_COLUMNS, block = BLOCK_ROWS * BLOCK_COLUMNS;
    const int8_t *left = p->weights + s->column / WIDTH * steps * block, *right = left + steps * block;
    for (size_t row = 0; row < TILE; row += ROWS_AT_ONCE) {
        const uint8_t *levels = level_at((uint8_t *)p->levels, s->row + row, 0, p->inner);
        __m512i sums[ROWS_AT_ONCE][PANEL];
        memset(sums, 0, sizeof sums);
        for (size_t at = 0; at < steps * block; at += block)
#pragma GCC unroll 16
            for (size_t four = 0; four < BLOCK_COLUMNS; four += 4) {
                __m512i weights[PANEL] = {_mm512_loadu_si512(left + at + four * WIDTH),
                                          _mm512_loadu_si512(right + at + four * WIDTH)};
#pragma GCC unroll 8
                for (size_t r = 0; r < ROWS_AT_ONCE; r++) {
                    int32_t bytes;
                    memcpy(&bytes, levels + at + r * BLOCK_COLUMNS + four, sizeof bytes);
                    for (size_t half = 0; half < PANEL; half++)
                        sums[r][half] = _mm512_dpbusd_epi32(sums[r][half], _mm512_set1_epi32(bytes), weights[half]);
                }
            }
        for (size_t r = 0; r < ROWS_AT_ONCE; r++)
            for (size_t half = 0; half < PANEL; half++)
                _mm512_store_si512(s->sums + (half * TILE + row + r) * WIDTH, sums[r][half]);
    }
}

/* Rows that are made before the next: as many as stay in a cache. */
INLINE size_t rows_together(const Product *p)
{
    size_t most = CACHED_LEVELS / p->inner / TILE * TILE;
    if (p->normalization)
        most = smaller(most, p->out_rows);
    return most < TILE ? TILE : most;
}

/* Levels of a row that are summed before the next rows' are: so many that their columns' weights stay in the nearest cache.
 * A product of 3,072 levels took 0.9 of the time. */
INLINE size_t levels_in_step(size_t inner)
{
    size_t steps = (inner + STEP - 1) / STEP, blocks = inner / BLOCK_COLUMNS;
    return (blocks + steps - 1) / steps * BLOCK_COLUMNS;
}

/* Sums a tile, after the one before has been finished; with AMX at the same time. */
INLINE void sum_and_finish(const Step *s, Prefetching ahead, const Tile *before, const Rounding *rounding,
                           const GeluTable *table, const int to, const int is_plain, const int has_amx)
{
    size_t calls = has_amx ? 4 * (s->count / BLOCK_COLUMNS - 1) : 0;
    Finishing finishing = finishing_in(calls, before, rounding, table);
    if (has_amx) {
        sum_with_amx(s, ahead, finishing, to, is_plain);
        return;
    }
    finish_rest(&finishing, to, is_plain);
    sum_with_vnni(s);
}

/* Sums a tile of a product's first term, whose numbers stay near until those of the second are added: as the second's
 * tile does from then on. */
INLINE Tile sum_first_term(const Step *second, float *numbers, size_t part, size_t parts, const Tile *before,
                           const Rounding *rounding, const GeluTable *table, const int to, const int is_plain,
                           const int has_amx)
{
    Step first = *second;
    first.product = second->product->first;
    sum_and_finish(&first, weights_after(&first, part, parts), before, rounding, table, to, is_plain, has_amx);
    Tile tile = tile_at(first.product, first.sums, 0, first.row, first.column);
    tile.out = numbers;
    tile.out_stride = TILE;
    return tile;
}

/* Normalizes a member's share of rows, once all have made their columns; no one goes on before, as `out` is used again. */
INLINE void normalize_together(const Product *p, const Member *m, size_t first, size_t end)
{
    size_t own = own_first(m, end - first, 2);
    wait_for_all(m);
    normalize(p->normalization, p->out + own * p->outer, first + own, first + own_end(m, end - first, 2));
    wait_for_all(m);
}

/* All tiles of some rows in a member's columns, column by column. */
INLINE void multiply_rows(const Product *p, const Member *m, size_t first, size_t end, const GeluTable *table, const int to,
                          const int is_plain, const int has_amx)
{
    int32_t sums[TILES_TOGETHER][TILE * TILE] __attribute__((aligned(64)));
    float numbers[TILE * TILE] __attribute__((aligned(64)));
    const Rounding rounding = p->rounding;
    const size_t terms = p->first ? 2 : 1, parts = terms * ((end - first + TILE - 1) / TILE);
    const size_t most = has_amx && !p->first ? levels_in_step(p->inner) : p->inner;
    const size_t beyond = own_end(m, p->outer, BLOCK_COLUMNS);
    Tile before = {.rows = 0};
    for (size_t column = own_first(m, p->outer, BLOCK_COLUMNS); column < beyond; column += TILE)
        for (size_t at = 0; at < p->inner; at += most)
            for (size_t row = first; row < end; row += TILE) {
                size_t tile = (row - first) / TILE, part = terms * tile;
                Step step = {p, sums[most < p->inner ? tile : 0], row, column, at, smaller(most, p->inner - at)};
                if (p->first) {
                    before = sum_first_term(&step, numbers, part++, parts, &before, &rounding, table, to, is_plain, has_amx);
                    sum_and_finish(&step, weights_after(&step, part, parts), &before, &rounding, NULL, TO_FLOATS, 0, has_amx);
                } else
                    sum_and_finish(&step, weights_after(&step, part, parts), &before, &rounding, table, to, is_plain, has_amx);
                before.rows = 0;
                if (at + step.count < p->inner)
                    continue;
                before = tile_at(p, step.sums, first, row, column);
                if (p->first) {
                    before.added = numbers;
                    before.added_stride = TILE;
                }
            }
    Finishing last = finishing_in(0, &before, &rounding, table);
    finish_rest(&last, to, is_plain);
    if (p->normalization)
        normalize_together(p, m, first, end);
}

INLINE void multiply_tiles(const Product *p, const Member *m, const GeluTable *table, const int to, const int is_plain,
                           const int has_amx)
{
    size_t together = rows_together(p);
    for (size_t first = 0; first < *p->rows; first += together)
        multiply_rows(p, m, first, smaller(*p->rows, first + together), table, to, is_plain, has_amx);
}

INLINE void multiply_to(const Product *p, const Member *m, const int to, const int has_amx)
{
    GeluTable table = gelu_table();
    int is_plain = !p->row_factors && !p->added && !p->first;
    if (p->has_gelu && is_plain)
        multiply_tiles(p, m, &table, to, 1, has_amx);
    else if (p->has_gelu)
        multiply_tiles(p, m, &table, to, 0, has_amx);
    else
        multiply_tiles(p, m, NULL, to, 0, has_amx);
}

INLINE void multiply_with(const Product *p, const Member *m, const int has_amx)
{
    if (p->out)
        multiply_to(p, m, TO_FLOATS, has_amx);
    else if (p->rounding.rest || p->rounding.factors)
        multiply_to(p, m, TO_TERMS, has_amx);
    else
        multiply_to(p, m, TO_LEVELS, has_amx);
}

static void multiply_with_amx(const Product *p, const Member *m)
{
    take_tiles();
    multiply_with(p, m, 1);
    _tile_release();
}

EXPORTED void multiply(const Product *p, const Member *m)
{
    if (p->has_amx)
        multiply_with_amx(p, m);
    else
        multiply_with(p, m, 0);
}

static Product columns_of(const Product *p, size_t first, size_t count)
{
    Product part = *p;
    part.weights += first * p->inner;
    part.scales += first;
    part.shifts += first;
    part.bias += first;
    part.outer = count;
    return part;
}

void multiply_columns(const Product *p, size_t first, size_t count, size_t offset)
{
    Team alone = {.members = 1};
    Member member = {&alone, 0};
    Product part = columns_of(p, first, count);
    part.out += offset;
    if (!p->first) {
        multiply(&part, &member);
        return;
    }
    Product first_term = columns_of(p->first, first, count);
    part.first = &first_term;
    multiply(&part, &member);
}

SIZE_OF(multiply, Product)
