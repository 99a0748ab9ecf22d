/* What the kernels share: how levels of 8 bits lie in memory, how numbers become levels, and two functions.
 *
 * All of it computes in vectors of 16 floats, in an order that no batch, thread or CPU changes. */
#ifndef MASKEDGE_VECTORS_H
#define MASKEDGE_VECTORS_H

#include <immintrin.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#define EXPORTED __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))
/* What would take registers from the code around it: attention's sums took a third longer. */
#define APART static __attribute__((noinline))
/* Bytes of what a kernel takes, by which its caller sees that it was compiled from the same sources. */
#define SIZE_OF(kernel, type) EXPORTED size_t size_of_##kernel(void) { return sizeof(type); }

enum {
    LINE = 64,         /* bytes of a line of the caches */
    WIDTH = 16,        /* floats in a vector */
    BLOCK_ROWS = 16,   /* of a block of levels, */
    BLOCK_COLUMNS = 64 /* and its columns: what a tile of AMX holds */
};

INLINE size_t smaller(size_t one, size_t other)
{
    return one < other ? one : other;
}

/* Levels lie in blocks of 16 rows by 64 columns, those of a row of blocks one after another. */
INLINE uint8_t *level_at(uint8_t *levels, size_t row, size_t column, size_t columns)
{
    size_t block = row / BLOCK_ROWS * (columns / BLOCK_COLUMNS) + column / BLOCK_COLUMNS;
    return levels + (block * BLOCK_ROWS + row % BLOCK_ROWS) * BLOCK_COLUMNS + column % BLOCK_COLUMNS;
}

/* The numbers that levels stand for: (level - zero point) * scale, for levels from the lowest to the highest. */
typedef struct {
    float scale, inverse_scale;
    int32_t zero_point, lowest, highest;
} Grid;

/* How floats become levels, in one term or two. */
typedef struct {
    uint8_t *levels;      /* in blocks; NULL where no levels are wanted */
    uint8_t *rest;        /* levels of what the levels leave of each number; NULL where one term is enough */
    const float *factors; /* of each column, by which it is multiplied first; NULL: all are 1 */
    size_t columns;       /* of a row of levels: a multiple of 64 */
    Grid grid, rest_grid;
} Rounding;

INLINE __m512i level_of(__m512 number, const Grid *grid)
{
    /* What is no number becomes the least integer, and so the lowest level. */
    __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(number, _mm512_set1_ps(grid->inverse_scale)));
    __m512i level = _mm512_add_epi32(whole, _mm512_set1_epi32(grid->zero_point));
    level = _mm512_max_epi32(level, _mm512_set1_epi32(grid->lowest));
    return _mm512_min_epi32(level, _mm512_set1_epi32(grid->highest));
}

INLINE void store_level(uint8_t *levels, __m512i level, size_t row, size_t column, size_t columns)
{
    _mm_storeu_si128((__m128i *)level_at(levels, row, column, columns), _mm512_cvtepi32_epi8(level));
}

/* Levels of four vectors, one after another: as each by itself, but that they are packed together. */
INLINE __m512i levels_of_four(const __m512 numbers[4], const Grid *grid)
{
    const __m512i in_order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    const __m512 inverse = _mm512_set1_ps(grid->inverse_scale);
    __m512i whole[4];
    for (int each = 0; each < 4; each++)
        whole[each] = _mm512_cvtps_epi32(_mm512_mul_ps(numbers[each], inverse));
    const __m512i zero_point = _mm512_set1_epi16((short)grid->zero_point);
    __m512i left = _mm512_adds_epi16(_mm512_packs_epi32(whole[0], whole[1]), zero_point);
    __m512i right = _mm512_adds_epi16(_mm512_packs_epi32(whole[2], whole[3]), zero_point);
    __m512i levels = _mm512_permutexvar_epi32(in_order, _mm512_packus_epi16(left, right));
    levels = _mm512_max_epu8(levels, _mm512_set1_epi8((char)grid->lowest));
    return _mm512_min_epu8(levels, _mm512_set1_epi8((char)grid->highest));
}

INLINE void store_levels(const Rounding *to, __m512 numbers, size_t row, size_t column)
{
    if (to->factors)
        numbers = _mm512_mul_ps(numbers, _mm512_loadu_ps(to->factors + column));
    __m512i level = level_of(numbers, &to->grid);
    store_level(to->levels, level, row, column, to->columns);
    if (to->rest) {
        __m512 steps = _mm512_cvtepi32_ps(_mm512_sub_epi32(level, _mm512_set1_epi32(to->grid.zero_point)));
        __m512 left = _mm512_sub_ps(numbers, _mm512_mul_ps(steps, _mm512_set1_ps(to->grid.scale)));
        store_level(to->rest, level_of(left, &to->rest_grid), row, column, to->columns);
    }
}

/* The levels of 32 columns of two rows. */
INLINE void store_two_rows(const Rounding *to, __m512 numbers[4], size_t row, size_t column)
{
    if (to->rest || to->factors) {
        for (size_t each = 0; each < 4; each++)
            store_levels(to, numbers[each], row + each / 2, column + each % 2 * WIDTH);
        return;
    }
    __m512i both = levels_of_four(numbers, &to->grid);
    uint8_t *upper = level_at(to->levels, row, column, to->columns), *lower = level_at(to->levels, row + 1, column, to->columns);
    _mm256_storeu_si256((__m256i *)upper, _mm512_castsi512_si256(both));
    _mm256_storeu_si256((__m256i *)lower, _mm512_extracti64x4_epi64(both, 1));
}

/* The levels of 64 columns of a row, from a multiple of 64 on. */
INLINE void store_block_row(const Rounding *to, __m512 numbers[4], size_t row, size_t column)
{
    if (to->rest) {
        for (size_t each = 0; each < 4; each++)
            store_levels(to, numbers[each], row, column + each * WIDTH);
        return;
    }
    for (size_t each = 0; to->factors && each < 4; each++)
        numbers[each] = _mm512_mul_ps(numbers[each], _mm512_loadu_ps(to->factors + column + each * WIDTH));
    _mm512_storeu_si512(level_at(to->levels, row, column, to->columns), levels_of_four(numbers, &to->grid));
}

/* e to the power of numbers from -87 to 0, within 2 units of the last place; 0 for -infinity. The polynomial is that of
 * Cephes' expf (https://netlib.org/cephes). */
INLINE __m512 exp_of_negative(__m512 x)
{
    __mmask16 is_number = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-INFINITY), _CMP_NEQ_UQ);
    x = _mm512_max_ps(_mm512_set1_ps(-87.0f), x); /* of a number and NaN it is the second: NaN stays */
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504088896341f)), _MM_FROUND_TO_NEAREST_INT);
    x = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    x = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), x);
    __m512 p = _mm512_set1_ps(1.9875691500e-4f);
    p = _mm512_fmadd_ps(p, x, _mm512_set1_ps(1.3981999507e-3f));
    p = _mm512_fmadd_ps(p, x, _mm512_set1_ps(8.3334519073e-3f));
    p = _mm512_fmadd_ps(p, x, _mm512_set1_ps(4.1665795894e-2f));
    p = _mm512_fmadd_ps(p, x, _mm512_set1_ps(1.6666665459e-1f));
    p = _mm512_fmadd_ps(p, x, _mm512_set1_ps(5.0000001201e-1f));
    p = _mm512_fmadd_ps(_mm512_mul_ps(p, x), x, _mm512_add_ps(x, _mm512_set1_ps(1.0f)));
    return _mm512_maskz_scalef_ps(is_number, p, n);
}

/* The normal distribution's share between 0 and |x|: cubics for each of 32 parts of [0, GELU_LIMIT], in the distance from
 * the part's middle, which is a whole number of parts from 0. */
#define GELU_PARTS 32
#define GELU_LIMIT 5.5f
#define GELU_SCALE ((GELU_PARTS - 1) / GELU_LIMIT)

typedef struct {
    __m512 low[4], high[4]; /* of the powers 0 to 3: parts 0 to 15, and 16 to 31 */
} GeluTable;

extern float gelu_coefficients[4][GELU_PARTS];

INLINE GeluTable gelu_table(void)
{
    GeluTable table;
    for (int power = 0; power < 4; power++) {
        table.low[power] = _mm512_loadu_ps(gelu_coefficients[power]);
        table.high[power] = _mm512_loadu_ps(gelu_coefficients[power] + WIDTH);
    }
    return table;
}

INLINE __m512 gelu_power(const GeluTable *table, int power, __m512i part)
{
    return _mm512_permutex2var_ps(table->low[power], part, table->high[power]);
}

/* x times the normal distribution's share below x, within 4e-7 (tests/runtime/kernels/test_kernels.py). */
INLINE __m512 gelu(__m512 x, const GeluTable *table)
{
    const __m512 scale = _mm512_set1_ps(GELU_SCALE), whole = _mm512_set1_ps(0x1p23f); /* no float above has a fraction */
    __m512 size = _mm512_abs_ps(x), near = _mm512_min_ps(_mm512_set1_ps(GELU_LIMIT), size);
    __m512 rounded = _mm512_fmadd_ps(near, scale, whole); /* its last bits number the part */
    __m512i part = _mm512_castps_si512(rounded);
    __m512 off = _mm512_fmsub_ps(near, scale, _mm512_sub_ps(rounded, whole));
    __m512 share = gelu_power(table, 3, part);
    for (int power = 2; power >= 0; power--)
        share = _mm512_fmadd_ps(share, off, gelu_power(table, power, part));
    return _mm512_fmadd_ps(size, share, _mm512_mul_ps(x, _mm512_set1_ps(0.5f)));
}

#endif
